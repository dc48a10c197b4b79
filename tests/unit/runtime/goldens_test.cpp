// MLX folders against what mlx-lm on MLX computed for them: max |difference| 1e-4.
#include <gtest/gtest.h>

#include "runtime/load.h"
#include "unit/runtime/runtime_fixture.h"

namespace wb {
namespace {

class Goldens : public ::testing::TestWithParam<const char*> {};

TEST_P(Goldens, WholeAndStepwiseLogitsAreMlxs) {
  const std::string folder = fixture("goldens/") + GetParam();
  const Checkpoint golden = open_checkpoint(folder + "/golden.safetensors");
  const auto tokens = tokens_of(golden);
  const auto want = values(golden, "logits");
  const Decoder decoder(load_model(folder));
  EXPECT_LE(max_difference(decoder.forward(tokens).logits, want), 1e-4);
  EXPECT_LE(max_difference(logits_in_steps(decoder, tokens, {tokens.size() / 2, 3}), want), 1e-4);
  const Decoder plain(load_model(folder), {ops::Kernels::plain, 0});
  EXPECT_LE(max_difference(plain.forward(tokens).logits, want), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Folders, Goldens,
                         ::testing::Values("deepseek_v2", "deepseek_v3-4bit",
                                           "deepseek_v3-longrope-no-q-rank",
                                           "deepseek_v3-yarn-groups"));

}  // namespace
}  // namespace wb
