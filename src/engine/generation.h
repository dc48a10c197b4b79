// One text in the making: a prompt, then token after token. Owns the sequence, the sampler and,
// where the model has multi-token heads, the drafts: heads guess tokens ahead, the model judges
// all of them in one pass, and what it would have drawn itself is kept, so that the
// distribution is the model's own whatever the heads say. Past learned positions the text is
// cropped to the last that fit and begun again, as the training code of such models generates.
// A further text may begin where an earlier one stands: what both share is not computed again.
// Refuses an empty prompt (Code::usage).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"
#include "engine/scores.h"

namespace wb::engine {

struct GenerationStats {
  std::size_t prompt_tokens = 0, made = 0;
  std::size_t reused = 0;                 // of the prompt: held from the text before
  std::size_t drafted = 0, accepted = 0;  // guesses of the multi-token heads
};

class Generation {
 public:
  // `speculate`: use the multi-token heads, where there are any.
  Generation(Engine& engine, std::vector<std::uint32_t> prompt, const SamplerOptions& sampling,
             bool speculate = false);

  // Another text, whose tokens are those of a new Generation. Of its prompt only what follows the
  // beginning that it shares with the text so far is evaluated, however far that one had come.
  void restart(std::vector<std::uint32_t> prompt, const SamplerOptions& sampling);

  // The next token. Evaluates the prompt first, and whatever it needs.
  std::uint32_t next();
  // For callers with other texts to see to: evaluates one piece (Engine::kPromptPiece tokens) of a
  // prompt that next() would evaluate whole. True once next() has no prompt before it. The tokens
  // are the same with and without.
  bool advance();
  // From here on scores() says how likely the model took each token, and the `top` likeliest.
  void keep_scores(std::size_t top) { score_top_ = top; }
  // Of the token that next() gave last; only after keep_scores().
  const TokenScores& scores() const { return last_scores_; }
  const GenerationStats& stats() const { return stats_; }
  // Prompt and what was made.
  const std::vector<std::uint32_t>& tokens() const { return tokens_; }

 private:
  bool fresh() const;  // nothing is evaluated, or the sequence is full: begin() comes first
  // Evaluates a piece of the tokens that the sequence does not hold; true with the last.
  bool begin();
  // Where the part of a text of `size` tokens begins that learned positions have room for.
  std::size_t window(std::size_t size) const;
  // Brings the heads to what they can know of the first `shared` places, which begin the next
  // text; how many of these the sequence keeps.
  std::size_t rewind_heads(std::size_t shared);
  void judge();                     // one pass over the last token and what the heads guess
  void step();                      // one pass over the last token
  void guess();                     // fills drafts_
  void remember(std::size_t rows);  // keeps hidden states that the heads have not seen
  void take(std::span<const float> logits, std::uint32_t token);  // `token` is what comes next

  Engine& engine_;
  Sampler sampler_;
  bool speculate_;
  std::vector<std::uint32_t> tokens_;  // known; all but `ready_` have been given out
  std::size_t given_;                  // how many of them
  Sequence sequence_;                  // holds tokens [first_, first_ + size)
  std::size_t first_ = 0;
  bool begun_ = false, beginning_ = false;
  std::optional<std::size_t> score_top_;
  std::deque<TokenScores> scores_;  // of the tokens that are ready
  TokenScores last_scores_;
  std::vector<std::uint32_t> drafts_;
  std::vector<Distribution> draft_from_;
  Distribution wanted_;
  // For head m: states [rows, hidden_size] of the places from state_base_[m] on, which it has still
  // to see, or to see again; head 0's are hidden states of the model.
  std::vector<std::vector<float>> states_;
  std::vector<std::size_t> state_base_;
  GenerationStats stats_;
};

}  // namespace wb::engine
