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
  WB_CHECK(out.size() == to - from);
  // Units that begin here are this tile's: of a first one that began before, only the rest of the
  // leader is made; of a last one that reaches beyond, the leader's beginning.
  const Units own = units_beginning_in(group, from, to);
  const auto at = [&](std::uint64_t u) { return placed.offset + u * unit; };
  const std::uint64_t whole_end = std::max(own.begin, (to - placed.offset) / unit);
  std::vector<std::vector<std::byte>> others(producer.outputs());
  std::vector<std::byte*> parts(producer.outputs(), nullptr);
  std::vector<std::byte> edge(unit);
  const unsigned leading = leading_output(group);
  const auto make_units = [&](std::uint64_t begin, std::uint64_t end, std::byte* lead, bool all) {
    for (unsigned o = 0; o < producer.outputs(); ++o) {
      parts[o] = all && !others[o].empty()
                     ? others[o].data() + (begin - own.begin) * producer.bytes_per_unit(o)
                     : nullptr;
    }
    parts[leading] = lead;
    producer.make(begin, end, parts);
  };
  for (unsigned o = 0; o < producer.outputs(); ++o) {
    if (o == leading || group.tensors[o] < 0) continue;
    others[o].resize((own.end - own.begin) * producer.bytes_per_unit(o));
  }
  if (own.begin > 0 && at(own.begin) > from) {
    make_units(own.begin - 1, own.begin, edge.data(), false);
    const std::uint64_t skip = from - at(own.begin - 1);
    std::memcpy(out.data(), edge.data() + skip, std::min(unit - skip, to - from));
  }
  if (own.begin < whole_end) make_units(own.begin, whole_end, &out[at(own.begin) - from], true);
  if (whole_end < own.end) {
    make_units(whole_end, own.end, edge.data(), true);
    std::memcpy(&out[at(whole_end) - from], edge.data(), to - at(whole_end));
  }
  for (unsigned o = 0; o < producer.outputs(); ++o) {
    if (others[o].empty()) continue;
    const PlacedTensor& other = (*tensors_)[static_cast<std::size_t>(group.tensors[o])];
    write(other.offset + own.begin * producer.bytes_per_unit(o), others[o]);
  }
}

unsigned Together::leading_output(const Group& group) {
  unsigned o = 0;
  while (group.tensors[o] != static_cast<std::ptrdiff_t>(group.leader)) ++o;
  return o;
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
