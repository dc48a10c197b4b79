// Which matrix of a feed-forward network goes in, gates and comes out: by shape where widths
// differ, by name where they do not, and as a question where neither tells.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "draft/names.h"
#include "draft/words.h"

namespace wb::draft {

enum class NetRole { gate, up, down, gate_up };
const char* in_words(NetRole role);

// A matrix of the network; with `stacked` the tensor is [experts, a, b]. One that no nn.Linear
// keeps
// (`bare`, and all that are stacked) may be [in, out].
struct NetMatrix {
  const Group* group = nullptr;
  std::uint64_t a = 0, b = 0;  // the last two axes
  bool stacked = false, bare = false;
  Features features;
};

struct NetGuess {
  std::vector<NetRole> roles;
  // For each assignment that the names do not tell from the best: the matrix of each role. The
  // first is the best; all agree in shape and in `transposed`.
  std::vector<std::vector<std::size_t>> assignments;
  bool transposed = false;  // matrices are [in, out]
  bool orientation_unsure = false;
  std::uint64_t width = 0;  // between in and out
  std::vector<double> confidence;
  std::vector<std::string> why;
};
// Nothing when these are not the two or three matrices of a network on `hidden` dimensions.
std::optional<NetGuess> guess_network(const std::vector<NetMatrix>& matrices, std::uint64_t hidden);

}  // namespace wb::draft
