// Choosing the next token from logits. Steps in the order of Hugging Face's generation: repetition
// penalty, temperature, top-k, top-p, min-p; then one draw. Temperature 0 is greedy: the largest
// logit, of equal ones the lowest id. Owns its random numbers, which depend on the seed alone.
// Refuses options outside their ranges (Code::usage).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace wb::engine {

struct SamplerOptions {
  double temperature = 0.0;         // >= 0; 0 = greedy
  std::size_t top_k = 0;            // only the k likeliest; 0 = all
  double top_p = 1.0;               // (0, 1]: the fewest likeliest that have this much together
  double min_p = 0.0;               // [0, 1]: at least this part of the likeliest's probability
  double repetition_penalty = 1.0;  // > 0; logits of tokens met before are moved down by it
  std::uint64_t seed = 0;
};

// Throws Code::usage for an option outside its range.
void check_sampling(const SamplerOptions& options);

// A few tokens with their probabilities, which sum to 1; likeliest first, equal ones by id.
struct Distribution {
  std::vector<std::uint32_t> tokens;
  std::vector<double> probabilities;
  double of(std::uint32_t token) const;  // 0 for one that is not there
};

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);
  const SamplerOptions& options() const { return options_; }

  // What the options make of `logits` [vocab_size] after the tokens `before`.
  void distribution(std::span<const float> logits, std::span<const std::uint32_t> before,
                    Distribution& out);
  // One token of it. Greedy takes no random number.
  std::uint32_t draw(const Distribution& from);
  // Whether a token drafted from `draft` may stand where `wanted` is what is wanted: with
  // probability min(1, wanted / draft). Otherwise `instead` is drawn from what is left,
  // max(0, wanted - draft), so that in the end every token comes with its wanted probability
  // (Leviathan et al., Fast Inference from Transformers via Speculative Decoding, 2.3).
  bool accept(std::uint32_t drafted, const Distribution& draft, const Distribution& wanted,
              std::uint32_t& instead);

 private:
  double uniform();  // [0, 1)

  SamplerOptions options_;
  std::uint64_t state_;
  std::vector<float> scaled_;
  std::vector<std::uint32_t> order_;
  std::vector<double> left_;  // by token: what the draft gave it
};

}  // namespace wb::engine
