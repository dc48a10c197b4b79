// An open hash table over views; see piece_cache.h.
#include "tokenizer/piece_cache.h"

#include <cstring>

namespace wb {

namespace {
// Good enough mixing for short words, and much cheaper than a general string hash. Which slot
// a piece lands in never changes a result.
std::uint32_t hash_of(std::string_view piece) {
  constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15U;
  std::uint64_t h = piece.size() * kMix;
  std::size_t i = 0;
  for (; i + 8 <= piece.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, piece.data() + i, 8);
    h = (h ^ word) * kMix;
    h ^= h >> 29;
  }
  std::uint64_t rest = 0;
  std::memcpy(&rest, piece.data() + i, piece.size() - i);
  h = (h ^ rest) * kMix;
  return static_cast<std::uint32_t>(h >> 32);
}
}  // namespace

std::size_t PieceCache::slot_of(std::string_view piece, std::uint32_t hash) const {
  std::size_t slot = hash & (slots_.size() - 1);
  for (;; slot = (slot + 1) & (slots_.size() - 1)) {
    const Slot& s = slots_[slot];
    if (s.data == nullptr) return slot;
    if (s.hash == hash && s.size == piece.size() &&
        std::memcmp(s.data, piece.data(), piece.size()) == 0)
      return slot;
  }
}

void PieceCache::grow() {
  std::vector<Slot> old(slots_.size() * 4);
  old.swap(slots_);
  for (const Slot& s : old)
    if (s.data != nullptr) slots_[slot_of({s.data, s.size}, s.hash)] = s;
}

void PieceCache::encode(std::string_view piece, std::vector<std::uint32_t>& out) {
  if (piece.size() > kMaxPiece) {
    bpe_.encode(piece, out);
    return;
  }
  std::uint32_t hash = hash_of(piece);
  std::size_t slot = slot_of(piece, hash);
  if (slots_[slot].data != nullptr) {
    const Slot& s = slots_[slot];
    for (std::uint32_t i = 0; i < s.count; ++i) out.push_back(ids_[s.first + i]);
    return;
  }
  std::size_t from = out.size();
  bpe_.encode(piece, out);
  if (used_ * 2 >= slots_.size()) {
    if (slots_.size() >= kMaxSlots) return;
    grow();
    slot = slot_of(piece, hash);
  }
  ++used_;
  slots_[slot] = {piece.data(), static_cast<std::uint32_t>(piece.size()), hash,
                  static_cast<std::uint32_t>(ids_.size()),
                  static_cast<std::uint32_t>(out.size() - from)};
  ids_.insert(ids_.end(), out.begin() + static_cast<std::ptrdiff_t>(from), out.end());
}

}  // namespace wb
