// Thin wrappers over libxxhash and libcrypto; see hash.h.
#include "base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>
#ifdef WB_XXH_DISPATCH
#include <xxh_x86dispatch.h>  // the names of xxhash.h then mean the fastest of this processor
#endif

#include <array>
#include <memory>
#include <new>

#include "base/error.h"

namespace wb {

namespace {

std::string to_hex(std::span<const unsigned char> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (unsigned char b : bytes) {
    out += digits[b >> 4];
    out += digits[b & 15];
  }
  return out;
}

std::string to_hex(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  return to_hex(std::span<const unsigned char>(canonical.digest, sizeof canonical.digest));
}

// Both libraries say no only where they find no memory.
void require_memory(bool made) {
  if (!made) throw std::bad_alloc();
}

class Xxh3 final : public Hasher {
 public:
  Xxh3() : state_(XXH3_createState(), XXH3_freeState) {
    require_memory(state_ && XXH3_128bits_reset(state_.get()) == XXH_OK);
  }
  void update(std::span<const std::byte> bytes) override {
    WB_CHECK(XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()) == XXH_OK);
  }
  std::string hex() const override { return to_hex(XXH3_128bits_digest(state_.get())); }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

class Sha256 final : public Hasher {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    require_memory(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }
  void update(std::span<const std::byte> bytes) override {
    WB_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }
  std::string hex() const override {
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> copy(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    std::array<unsigned char, 32> digest{};
    require_memory(copy && EVP_MD_CTX_copy_ex(copy.get(), context_.get()) == 1);
    WB_CHECK(EVP_DigestFinal_ex(copy.get(), digest.data(), nullptr) == 1);
    return to_hex(digest);
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::unique_ptr<Hasher> make_xxh3_128() { return std::make_unique<Xxh3>(); }
std::unique_ptr<Hasher> make_sha256() { return std::make_unique<Sha256>(); }

std::string xxh3_128_hex(std::span<const std::byte> bytes) {
  return to_hex(XXH3_128bits(bytes.data(), bytes.size()));
}

}  // namespace wb
