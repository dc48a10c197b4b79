// Fingerprints: XXH3-128 (fast, for identity) and SHA-256 (for those who must
// prove it to others). Both print as lower-case hex in the byte order of
// `xxh128sum` and `sha256sum`, so that users can check ours with theirs.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace wb {

class Hasher {
 public:
  virtual ~Hasher() = default;
  virtual void update(std::span<const std::byte> bytes) = 0;
  virtual std::string hex() const = 0;  // of everything so far
};
std::unique_ptr<Hasher> make_xxh3_128();
std::unique_ptr<Hasher> make_sha256();

std::string xxh3_128_hex(std::span<const std::byte> bytes);

}  // namespace wb
