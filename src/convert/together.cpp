// Which tile writes what; see together.h.
#include "convert/together.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"

namespace wb {

Together::Together(const std::vector<PlacedTensor>& tensors)
    : tensors_(&tensors), roles_(tensors.size()) {
  std::map<const Producer*, Group> found;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const WholeOutput whole = whole_output(tensors[i].tensor->tensor);
    if (whole.producer == nullptr || tensors[i].bytes == 0) continue;
    Group& group = found[whole.producer];
    group.producer = whole.producer;
    group.tensors.resize(whole.producer->outputs(), -1);
    // A tensor that stands in a file twice is made alone the second time.
    auto& place = group.tensors[whole.output];
    if (place < 0) place = static_cast<std::ptrdiff_t>(i);
  }
  for (auto& [producer, group] : found) {
    // The largest leads: its tiles cut the work finest.
    std::ptrdiff_t leader = -1;
    std::size_t members = 0;
    for (std::ptrdiff_t t : group.tensors) {
      if (t < 0) continue;
      ++members;
      const auto bytes = [&](std::ptrdiff_t k) {
        return tensors[static_cast<std::size_t>(k)].bytes;
      };
      if (leader < 0 || bytes(t) > bytes(leader)) leader = t;
    }
    if (members < 2) continue;
    group.leader = static_cast<std::size_t>(leader);
    for (std::ptrdiff_t t : group.tensors) {
      if (t < 0) continue;
      roles_[static_cast<std::size_t>(t)] = {static_cast<std::ptrdiff_t>(groups_.size()),
                                             t == leader};
    }
    groups_.push_back(group);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (leads(i)) leaders_.push_back(i);
  }
}

Together::Units Together::units_beginning_in(const Group& group, std::uint64_t from,
                                             std::uint64_t to) const {
  const PlacedTensor& leader = (*tensors_)[group.leader];
  const std::uint64_t unit = leader.bytes / group.producer->units();
  const auto first_from = [&](std::uint64_t at) { return (at - leader.offset + unit - 1) / unit; };
  return {first_from(from), first_from(to)};
}

void Together::make(
    std::size_t leader, std::uint64_t from, std::uint64_t to, std::span<std::byte> out,
    const std::function<void(std::uint64_t, std::span<const std::byte>)>& write) const {
  const Group& group = groups_[static_cast<std::size_t>(roles_[leader].group)];
  const Producer& producer = *group.producer;
  const PlacedTensor& placed = (*tensors_)[leader];
  const std::uint64_t unit = placed.bytes / producer.units();
  // Units that reach into [from, to); those that begin before it belong to the tile before.
  const std::uint64_t begin = (from - placed.offset) / unit;
  const std::uint64_t end = (to - placed.offset + unit - 1) / unit;
  const Units own = units_beginning_in(group, from, to);
  std::vector<std::vector<std::byte>> made(producer.outputs());
  std::vector<std::byte*> parts(producer.outputs(), nullptr);
  for (unsigned o = 0; o < producer.outputs(); ++o) {
    if (group.tensors[o] < 0) continue;
    made[o].resize((end - begin) * producer.bytes_per_unit(o));
    parts[o] = made[o].data();
  }
  producer.make(begin, end, parts);
  for (unsigned o = 0; o < producer.outputs(); ++o) {
    if (group.tensors[o] < 0) continue;
    const std::uint64_t each = producer.bytes_per_unit(o);
    if (static_cast<std::size_t>(group.tensors[o]) == leader) {
      WB_CHECK(each == unit && out.size() == to - from);
      std::memcpy(out.data(), made[o].data() + (from - placed.offset - begin * unit), to - from);
    } else if (own.begin < own.end) {
      const PlacedTensor& other = (*tensors_)[static_cast<std::size_t>(group.tensors[o])];
      write(other.offset + own.begin * each,
            std::span(made[o]).subspan((own.begin - begin) * each, (own.end - own.begin) * each));
    }
  }
}

std::vector<std::uint64_t> Together::tiles_written(std::uint64_t begin, std::uint64_t end,
                                                   std::uint64_t tile_bytes) const {
  std::set<std::uint64_t> tiles{begin / tile_bytes};
  auto it = std::partition_point(leaders_.begin(), leaders_.end(), [&](std::size_t i) {
    return (*tensors_)[i].offset + (*tensors_)[i].bytes <= begin;
  });
  for (; it != leaders_.end() && (*tensors_)[*it].offset < end; ++it) {
    const PlacedTensor& leader = (*tensors_)[*it];
    const Group& group = groups_[static_cast<std::size_t>(roles_[*it].group)];
    const Units own = units_beginning_in(group, std::max(begin, leader.offset),
                                         std::min(end, leader.offset + leader.bytes));
    if (own.begin >= own.end) continue;
    for (unsigned o = 0; o < group.producer->outputs(); ++o) {
      if (group.tensors[o] < 0 || static_cast<std::size_t>(group.tensors[o]) == *it) continue;
      const PlacedTensor& other = (*tensors_)[static_cast<std::size_t>(group.tensors[o])];
      const std::uint64_t each = group.producer->bytes_per_unit(o);
      const std::uint64_t from = other.offset + own.begin * each,
                          to = other.offset + own.end * each;
      for (std::uint64_t t = from / tile_bytes; t <= (to - 1) / tile_bytes; ++t) tiles.insert(t);
    }
  }
  return {tiles.begin(), tiles.end()};
}

std::vector<std::uint32_t> Together::writers(std::uint64_t file_bytes,
                                             std::uint64_t tile_bytes) const {
  std::vector<std::uint32_t> counts((file_bytes + tile_bytes - 1) / tile_bytes, 0);
  for (std::uint64_t at = 0; at < file_bytes; at += tile_bytes) {
    for (std::uint64_t t : tiles_written(at, std::min(file_bytes, at + tile_bytes), tile_bytes)) {
      ++counts[t];
    }
  }
  return counts;
}

}  // namespace wb
