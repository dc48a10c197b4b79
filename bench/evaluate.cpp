// Tokens per second of a whole-sequence evaluation, for bench/run_evaluate.sh:
//
//   evaluate CHECKPOINT TOKENS ROUNDS
//
// prints one line for each round. Loading is not counted; the tokens are those of
// peer_evaluate.py.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "recipe/recipe.h"
#include "runtime/decoder.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const wb::Checkpoint checkpoint = wb::open_checkpoint(argv[1]);
  const wb::Decoder decoder(wb::apply(wb::recognise(checkpoint), checkpoint, {}));
  const auto count = static_cast<std::uint32_t>(std::atoi(argv[2]));
  std::vector<std::uint32_t> tokens;
  for (std::uint32_t i = 0; i < count; ++i) {
    tokens.push_back((i * 7919 + 13) % static_cast<std::uint32_t>(decoder.spec().vocab_size));
  }
  decoder.forward(tokens);
  for (int round = std::atoi(argv[3]); round > 0; --round) {
    const auto start = std::chrono::steady_clock::now();
    decoder.forward(tokens);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.1f\n", count / seconds.count());
  }
  return 0;
}
