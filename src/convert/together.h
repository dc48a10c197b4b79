// Tensors of one file that are made in one go (a quantised weight, its scales and biases):
// the first of them leads, and a tile of it writes the others' parts as well, wherever they
// stand in the file. So the source is read once. Tensors whose company is in another file are
// made alone. Owns which tile writes what; writes nothing itself.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "convert/layout.h"
#include "tensor/producer.h"

namespace wb {

class Together {
 public:
  Together() = default;
  // `tensors` by offset; must outlive this. Reads no bytes.
  explicit Together(const std::vector<PlacedTensor>& tensors);

  bool leads(std::size_t tensor) const { return roles_[tensor].group >= 0 && roles_[tensor].leads; }
  bool follows(std::size_t tensor) const {
    return roles_[tensor].group >= 0 && !roles_[tensor].leads;
  }
  // Bytes [from, to) of the file, all of them the leader's, into `out`; the others' parts for
  // the units that begin there go to write(file offset, bytes).
  void make(std::size_t leader, std::uint64_t from, std::uint64_t to, std::span<std::byte> out,
            const std::function<void(std::uint64_t, std::span<const std::byte>)>& write) const;

  // How many tasks write into each tile of the file: its own, and those of leaders.
  std::vector<std::uint32_t> writers(std::uint64_t file_bytes, std::uint64_t tile_bytes) const;
  // The tiles that the task of bytes [begin, end) (one tile) writes into, its own among them;
  // each once.
  std::vector<std::uint64_t> tiles_written(std::uint64_t begin, std::uint64_t end,
                                           std::uint64_t tile_bytes) const;

 private:
  struct Role {
    std::ptrdiff_t group = -1;  // -1: made alone
    bool leads = false;
  };
  struct Group {
    const Producer* producer = nullptr;
    std::vector<std::ptrdiff_t> tensors;  // by output; -1: not in this file
    std::size_t leader = 0;
  };
  struct Units {
    std::uint64_t begin, end;
  };
  static unsigned leading_output(const Group& group);
  Units units_beginning_in(const Group& group, std::uint64_t from, std::uint64_t to) const;

  const std::vector<PlacedTensor>* tensors_ = nullptr;
  std::vector<Role> roles_;  // of each tensor
  std::vector<Group> groups_;
  std::vector<std::size_t> leaders_;  // tensors, by offset
};

}  // namespace wb
