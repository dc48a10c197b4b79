// The table and the two joining algorithms; see merge_table.h.
#include "tokenizer/merge_table.h"

#include <algorithm>
#include <array>
#include <queue>

#include "base/error.h"

namespace wb {

namespace {
constexpr std::uint64_t kEmptyKey = ~std::uint64_t{0};
constexpr std::size_t kShortest = 48;  // symbols up to which scanning wins over the heap

std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}
}  // namespace

void MergeTable::reserve(std::size_t count) {
  unsigned bits = 4;
  while ((std::size_t{1} << bits) < count * 2) ++bits;
  slots_.assign(std::size_t{1} << bits, {kEmptyKey, {kNoMerge, 0}});
  shift_ = 64 - bits;
}

std::size_t MergeTable::slot_of(std::uint64_t key) const {
  // Fibonacci hashing takes the well-mixed upper bits; then the next slot that fits.
  std::size_t slot = (key * 0x9E3779B97F4A7C15U) >> shift_;
  while (slots_[slot].key != key && slots_[slot].key != kEmptyKey)
    slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeTable::set(std::uint32_t left, std::uint32_t right, Merge merge) {
  std::uint64_t key = key_of(left, right);
  slots_[slot_of(key)] = {key, merge};
}

MergeTable::Merge MergeTable::find(std::uint32_t left, std::uint32_t right) const {
  return slots_[slot_of(key_of(left, right))].merge;
}

void MergeTable::join(std::vector<std::uint32_t>& ids, std::size_t from) const {
  if (ids.size() - from <= kShortest)
    join_short(ids, from);
  else
    join_long(ids, from);
}

void MergeTable::join_short(std::vector<std::uint32_t>& ids, std::size_t from) const {
  std::size_t count = ids.size() - from;
  if (count < 2) return;
  std::uint32_t* id = ids.data() + from;
  thread_local std::vector<Merge> pairs;  // pairs[i]: the merge of id[i] and id[i + 1]
  pairs.resize(count - 1);
  for (std::size_t i = 0; i + 1 < count; ++i) pairs[i] = find(id[i], id[i + 1]);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i)
      if (pairs[i].rank < pairs[best].rank) best = i;
    if (pairs[best].rank == kNoMerge) break;
    id[best] = pairs[best].id;
    std::copy(id + best + 2, id + count, id + best + 1);
    auto first = pairs.begin() + static_cast<std::ptrdiff_t>(best);
    std::copy(first + 1, pairs.begin() + static_cast<std::ptrdiff_t>(count - 1), first);
    --count;
    if (best > 0) pairs[best - 1] = find(id[best - 1], id[best]);
    if (best + 1 < count) pairs[best] = find(id[best], id[best + 1]);
  }
  ids.resize(from + count);
}

namespace {

// One symbol of a long piece; the list is threaded through the array.
struct Symbol {
  std::uint32_t id;
  std::uint32_t previous, next;  // kEnd at the ends
  bool alive;
};
constexpr std::uint32_t kEnd = 0xFFFFFFFF;

// A pair that could be joined when it was put on the heap. rank in the upper half of `order`,
// place in the lower: the smallest is the next to be joined.
struct Candidate {
  std::uint64_t order;
  std::uint32_t joined;
  bool operator>(const Candidate& other) const { return order > other.order; }
};
using Heap = std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>>;

void offer(Heap& heap, const MergeTable& table, const std::vector<Symbol>& symbols,
           std::uint32_t at) {
  if (at == kEnd || symbols[at].next == kEnd) return;
  auto merge = table.find(symbols[at].id, symbols[symbols[at].next].id);
  if (merge.rank != MergeTable::kNoMerge)
    heap.push({std::uint64_t{merge.rank} << 32 | at, merge.id});
}

}  // namespace

void MergeTable::join_long(std::vector<std::uint32_t>& ids, std::size_t from) const {
  std::size_t count = ids.size() - from;
  WB_CHECK(count < kEnd);
  std::vector<Symbol> symbols(count);
  for (std::uint32_t i = 0; i < count; ++i)
    symbols[i] = {ids[from + i], i == 0 ? kEnd : i - 1, i + 1 == count ? kEnd : i + 1, true};
  Heap heap;
  for (std::uint32_t i = 0; i < count; ++i) offer(heap, *this, symbols, i);
  while (!heap.empty()) {
    Candidate top = heap.top();
    heap.pop();
    auto at = static_cast<std::uint32_t>(top.order);
    Symbol& left = symbols[at];
    if (!left.alive || left.next == kEnd) continue;
    Symbol& right = symbols[left.next];
    // The neighbours may have changed since: only what still has this rank is joined.
    if (find(left.id, right.id).rank != top.order >> 32) continue;
    left.id = top.joined;
    right.alive = false;
    left.next = right.next;
    if (left.next != kEnd) symbols[left.next].previous = at;
    offer(heap, *this, symbols, left.previous);
    offer(heap, *this, symbols, at);
  }
  ids.resize(from);
  for (const Symbol& s : symbols)
    if (s.alive) ids.push_back(s.id);
}

}  // namespace wb
