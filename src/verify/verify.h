// The proof: two models run on the same tokens, side by side, and what is equal and
// what is not. One side is the source through its recipe (held to be right), the
// other the written folder. A recipe's mistake would hide on both sides, so a third
// witness may be given: logits that the user's own PyTorch run exported.
//
// Memory: one window of logits of both sides at a time.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "runtime/decoder.h"
#include "verify/compare.h"

namespace wb {

// Tokens cut into windows, each evaluated from position 0. The last window is left out when it
// is shorter than the others (as the perplexity of a text is usually taken), unless it is the
// only one.
struct Windows {
  std::uint64_t window = 0;  // tokens in each
  std::vector<std::vector<std::uint32_t>> tokens;
};
// The context where positions are learned or the model states one, at most 1024; 512 without.
std::uint64_t default_window(const ModelSpec& spec);
Windows cut_windows(std::span<const std::uint32_t> tokens, std::uint64_t window,
                    std::uint64_t most_windows);

// One prediction: the token that came, and what it cost each side, in nats.
struct TokenLoss {
  std::uint32_t token;
  float source, output;
  bool window_start;  // the first prediction of a window
};
struct LogitPoint {
  float source, output;
};

struct LayerComparison {
  HiddenStats hidden;
  RouterStats router;
  double tolerance = 0;  // relative error that rounding explains
};

struct ModelComparison {
  std::uint64_t windows = 0, window = 0;
  double weight_roundoff = 0x1p-24;  // of the folder's weights, from CompareOptions
  LogitStats logits;
  LossStats source, output;
  LossStats difference;  // mean and standard error of (output - source) per token, paired
  std::vector<LayerComparison> layers;
  HiddenStats final_hidden;
  std::optional<std::size_t> parts_at;  // first layer beyond its tolerance
  Tolerances tolerances;
  std::vector<TokenLoss> tokens;    // every prediction, in order
  std::vector<LogitPoint> scatter;  // an even sample of the logits
};

struct CompareOptions {
  double weight_roundoff = 0x1p-24;  // of the folder's weights
  unsigned threads = 0;
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // windows
};
// Throws Code::usage when the sides cannot be compared (vocabularies of different size).
ModelComparison compare_models(const Decoder& source, const Decoder& output, const Windows& windows,
                               const CompareOptions& options);

// Perplexity of one model alone.
LossStats measure_loss(const Decoder& model, const Windows& windows, unsigned threads);

// Logits that another program computed: safetensors with "tokens" [n, T] (or [T]) of any integer
// type and "logits" [n, T, vocab]; optionally "hidden.0" ... and "hidden.final" [n, T, hidden].
struct ReferenceComparison {
  std::uint64_t sequences = 0;
  LogitStats logits;                // a = the reference
  std::vector<HiddenStats> hidden;  // as many layers as the file has
  std::optional<HiddenStats> final_hidden;
  std::vector<HiddenStats> mtp_hidden;  // "mtp.0.hidden", [n, T', hidden]
  std::vector<LogitStats> mtp_logits;   // "mtp.0.logits", the first T' positions
  Tolerances tolerances;
  std::optional<std::size_t> parts_at;
  bool agrees() const { return logits.max_abs <= tolerances.logits_max_abs; }
};
// Throws tensor_missing, shape_mismatch with the file's name.
ReferenceComparison compare_reference(const Decoder& model, const Checkpoint& reference,
                                      double weight_roundoff, unsigned threads);

// The forms that --json prints.
nlohmann::ordered_json to_json(const LogitStats& stats);
nlohmann::ordered_json to_json(const LossStats& stats);
nlohmann::ordered_json to_json(const ModelComparison& comparison);
nlohmann::ordered_json to_json(const ReferenceComparison& comparison);

}  // namespace wb
