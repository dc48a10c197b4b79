// Which two neighbours join, in which order, into what: the merges of a BPE model as a hash
// table, and the joining itself.
#pragma once

#include <cstdint>
#include <vector>

namespace wb {

class MergeTable {
 public:
  static constexpr std::uint32_t kNoMerge = 0xFFFFFFFF;
  struct Merge {
    std::uint32_t rank;  // kNoMerge: the pair does not join
    std::uint32_t id;    // what it becomes
  };

  // Room for `count` merges; to be called once, before set.
  void reserve(std::size_t count);
  // A pair that is set again takes the later rank, as in Hugging Face's tokenizers.
  void set(std::uint32_t left, std::uint32_t right, Merge merge);
  Merge find(std::uint32_t left, std::uint32_t right) const;

  // Joins neighbours in `ids[from...]` until no merge applies: always the lowest rank, and of
  // equals the leftmost. At most 2^32 - 1 symbols.
  void join(std::vector<std::uint32_t>& ids, std::size_t from) const;

  // The two ways that join chooses from; equal in result (the tests hold them to it).
  // Scans for the lowest rank each time: best for the short pieces that words are.
  void join_short(std::vector<std::uint32_t>& ids, std::size_t from) const;
  // A heap over a linked list: n log n for long pieces.
  void join_long(std::vector<std::uint32_t>& ids, std::size_t from) const;

 private:
  struct Slot {
    std::uint64_t key;
    Merge merge;
  };
  std::size_t slot_of(std::uint64_t key) const;
  std::vector<Slot> slots_;  // a power of two, at most half full
  unsigned shift_ = 63;
};

}  // namespace wb
