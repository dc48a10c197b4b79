// Remembers the ids of pieces within one text: words repeat, and joining them is what encoding
// spends its time on. Bounded; when full it stops learning.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.h"

namespace wb {

class PieceCache {
 public:
  explicit PieceCache(const Bpe& bpe) : bpe_(bpe), slots_(64) {}
  // Appends the ids of `piece`, whose bytes must stay in place as long as the cache lives.
  void encode(std::string_view piece, std::vector<std::uint32_t>& out);

 private:
  static constexpr std::size_t kMaxPiece = 64;        // bytes; longer pieces rarely repeat
  static constexpr std::size_t kMaxSlots = 1U << 18;  // at most half of them used
  struct Slot {
    const char* data = nullptr;  // null: free
    std::uint32_t size = 0, hash = 0;
    std::uint32_t first = 0, count = 0;  // in ids_
  };
  std::size_t slot_of(std::string_view piece, std::uint32_t hash) const;
  void grow();

  const Bpe& bpe_;
  std::vector<Slot> slots_;  // a power of two
  std::size_t used_ = 0;
  std::vector<std::uint32_t> ids_;
};

}  // namespace wb
