// See generation.h.
#include "engine/generation.h"

#include <algorithm>

#include "base/error.h"

namespace wb::engine {

namespace {

void check_prompt(const std::vector<std::uint32_t>& prompt) {
  if (!prompt.empty()) return;
  throw Error(Code::usage, "there is no prompt to continue")
      .expected("at least one token")
      .actual("none")
      .advice("Give a text that is not empty.");
}

}  // namespace

Generation::Generation(Engine& engine, std::vector<std::uint32_t> prompt,
                       const SamplerOptions& sampling, bool speculate)
    : engine_(engine),
      sampler_(sampling),
      speculate_(speculate && engine.next_heads() > 0),
      tokens_(std::move(prompt)),
      given_(tokens_.size()),
      states_(engine.next_heads()),
      state_base_(engine.next_heads(), 0) {
  check_prompt(tokens_);
  stats_.prompt_tokens = tokens_.size();
}

void Generation::restart(std::vector<std::uint32_t> prompt, const SamplerOptions& sampling) {
  check_prompt(prompt);
  sampler_ = Sampler(sampling);
  const std::size_t first = window(prompt.size());
  const auto held = std::span(tokens_).subspan(first_, sequence_.size());
  // The last token is evaluated in any case: the next one follows from it.
  const auto wanted = std::span(prompt).subspan(first, prompt.size() - first - 1);
  const auto differs = std::mismatch(held.begin(), held.end(), wanted.begin(), wanted.end()).first;
  std::size_t shared = static_cast<std::size_t>(differs - held.begin());
  if (speculate_ && first == 0) shared = rewind_heads(shared);
  sequence_.truncate(shared);
  tokens_ = std::move(prompt);
  given_ = tokens_.size();
  first_ = first;
  beginning_ = true;
  scores_.clear();
  stats_ = {.prompt_tokens = tokens_.size(), .reused = shared};
}

// Head m at place t has met token t + m + 1, which may be another now for the last places.
std::size_t Generation::rewind_heads(std::size_t shared) {
  const std::size_t hidden = engine_.spec().hidden_size, heads = engine_.next_heads();
  std::size_t from = first_ > 0 ? 0 : shared - std::min(shared, heads);
  for (std::size_t m = 0; m < heads; ++m) from = std::min(from, engine_.next_size(sequence_, m));
  // Without the model's states of the places that the first head has still to see, those places
  // are evaluated again.
  const bool kept = first_ == 0 && state_base_[0] <= from;
  std::vector<float>& own = states_[0];
  if (kept) {
    WB_CHECK(own.size() == (sequence_.size() - state_base_[0]) * hidden);
    own.resize((shared - state_base_[0]) * hidden);
    own.erase(own.begin(),
              own.begin() + static_cast<std::ptrdiff_t>((from - state_base_[0]) * hidden));
  } else {
    own.clear();
  }
  for (std::size_t m = 0; m < heads; ++m) {
    if (engine_.next_size(sequence_, m) > from) sequence_.truncate_next(m, from);
    if (m > 0) states_[m].clear();
    state_base_[m] = from;
  }
  return kept ? shared : from;
}

std::size_t Generation::window(std::size_t size) const {
  return size - std::min(size, engine_.longest());
}

bool Generation::fresh() const {
  return beginning_ || !begun_ || engine_.longest() == sequence_.size();
}

bool Generation::advance() {
  if (given_ < tokens_.size() || !fresh()) return true;
  const bool done = begin();
  if (done) ++stats_.made;
  return done;
}

std::uint32_t Generation::next() {
  while (!advance()) {
  }
  if (given_ == tokens_.size()) {
    const std::size_t before = tokens_.size();
    // The token that is known and not fed yet, and as many guesses.
    const std::size_t room = engine_.longest() - sequence_.size();
    if (speculate_ && first_ == 0 && room > engine_.next_heads()) {
      judge();
    } else {
      step();
    }
    stats_.made += tokens_.size() - before;
  }
  if (score_top_ && !scores_.empty()) {
    last_scores_ = std::move(scores_.front());
    scores_.pop_front();
  }
  return tokens_[given_++];
}

bool Generation::begin() {
  if (!beginning_) {
    beginning_ = true;
    first_ = window(tokens_.size());
    sequence_.truncate(0);
  }
  const auto rest = std::span(tokens_).subspan(first_ + sequence_.size());
  const std::size_t n = std::min(rest.size(), Engine::kPromptPiece);
  const std::span<const float> logits = engine_.feed(sequence_, rest.first(n));
  if (first_ == 0) remember(n);
  if (n < rest.size()) return false;
  beginning_ = false;
  begun_ = true;
  sampler_.distribution(logits, tokens_, wanted_);
  take(logits, sampler_.draw(wanted_));
  return true;
}

void Generation::step() {
  const auto logits = engine_.feed(sequence_, std::span(tokens_).last(1));
  if (first_ == 0) remember(1);
  sampler_.distribution(logits, tokens_, wanted_);
  take(logits, sampler_.draw(wanted_));
}

void Generation::take(std::span<const float> logits, std::uint32_t token) {
  tokens_.push_back(token);
  if (score_top_) scores_.push_back(score(logits, token, *score_top_));
}

void Generation::remember(std::size_t rows) {
  if (!speculate_) return;
  const auto hidden = engine_.hidden().first(rows * engine_.spec().hidden_size);
  states_[0].insert(states_[0].end(), hidden.begin(), hidden.end());
}

// Place t has a state when token t was fed. Head m at place t needs token t + m + 1, so that the
// last m places rest on guesses: they are taken back, to be fed again when their tokens are known.
void Generation::guess() {
  const std::size_t hidden = engine_.spec().hidden_size, places = sequence_.size();
  std::vector<std::uint32_t> known = tokens_;
  drafts_.clear();
  draft_from_.resize(engine_.next_heads());
  for (std::size_t m = 0; m < engine_.next_heads(); ++m) {
    const std::size_t from = engine_.next_size(sequence_, m);
    std::vector<float>& own = states_[m];
    own.erase(own.begin(),
              own.begin() + static_cast<std::ptrdiff_t>((from - state_base_[m]) * hidden));
    state_base_[m] = from;
    std::vector<float> rows = own;
    WB_CHECK(rows.size() == (places - from) * hidden);
    const auto ahead = std::span(known).subspan(from + m + 1, places - from);
    const auto logits = engine_.feed_next(sequence_, m, rows, ahead);
    if (m + 1 < engine_.next_heads()) {
      // What the next head sees of these places, in place of what it saw of guesses.
      std::vector<float>& next = states_[m + 1];
      next.resize((from - state_base_[m + 1]) * hidden);
      next.insert(next.end(), rows.begin(), rows.end());
    }
    sampler_.distribution(logits, known, draft_from_[m]);
    known.push_back(sampler_.draw(draft_from_[m]));
    drafts_.push_back(known.back());
    const std::size_t certain = tokens_.size() - std::min(tokens_.size(), m + 1);
    sequence_.truncate_next(m, std::min(places, certain));
  }
  stats_.drafted += drafts_.size();
}

void Generation::judge() {
  guess();
  const std::size_t before = sequence_.size(), vocab = engine_.spec().vocab_size;
  std::vector<std::uint32_t> fed = {tokens_.back()};
  fed.insert(fed.end(), drafts_.begin(), drafts_.end());
  const auto logits = engine_.feed(sequence_, fed, /*all=*/true);
  std::size_t accepted = 0;
  while (true) {
    const auto row = logits.subspan(accepted * vocab, vocab);
    sampler_.distribution(row, tokens_, wanted_);
    if (accepted == drafts_.size()) {
      take(row, sampler_.draw(wanted_));
      break;
    }
    std::uint32_t instead = 0;
    if (!sampler_.accept(drafts_[accepted], draft_from_[accepted], wanted_, instead)) {
      take(row, instead);
      break;
    }
    take(row, drafts_[accepted++]);
  }
  remember(1 + accepted);
  sequence_.truncate(before + 1 + accepted);
  stats_.accepted += accepted;
}

}  // namespace wb::engine
