// Running two models side by side; see verify.h.
#include "verify/verify.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "tensor/read.h"

namespace wb {

namespace {

constexpr std::size_t kScatterPoints = 3000;

void require_same_vocabulary(const ModelSpec& a, const ModelSpec& b) {
  if (a.vocab_size == b.vocab_size) return;
  throw Error(Code::usage, "the two models have vocabularies of different size")
      .expected(std::to_string(a.vocab_size))
      .actual(std::to_string(b.vocab_size))
      .advice("Give the folder that was converted from this checkpoint.");
}

// What is added up over the windows.
struct Sums {
  LogitComparison logits;
  LossSum source, output, difference;
  std::vector<HiddenComparison> hidden;
  std::vector<RouterComparison> router;
  HiddenComparison final_hidden;
};

void add_losses(const std::vector<std::uint32_t>& tokens, const ForwardResult& a,
                const ForwardResult& b, std::size_t vocab, Sums& sums, ModelComparison& out) {
  for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
    std::span<const float> x(a.logits), y(b.logits);
    double nll_a = -log_probability(x.subspan(t * vocab, vocab), tokens[t + 1]);
    double nll_b = -log_probability(y.subspan(t * vocab, vocab), tokens[t + 1]);
    sums.source.add(nll_a);
    sums.output.add(nll_b);
    sums.difference.add(nll_b - nll_a);
    out.tokens.push_back(
        {tokens[t + 1], static_cast<float>(nll_a), static_cast<float>(nll_b), t == 0});
  }
}

// The first `width` of every row of `wide` values: a folder may have added dimensions.
std::vector<float> narrowed(const std::vector<float>& rows, std::size_t wide, std::size_t width) {
  std::vector<float> out;
  out.reserve(rows.size() / wide * width);
  for (std::size_t at = 0; at < rows.size(); at += wide) {
    auto row = rows.begin() + static_cast<std::ptrdiff_t>(at);
    out.insert(out.end(), row, row + static_cast<std::ptrdiff_t>(width));
  }
  return out;
}
void add_hidden(HiddenComparison& sum, const std::vector<float>& a, std::size_t width_a,
                const std::vector<float>& b, std::size_t width_b) {
  std::size_t width = std::min(width_a, width_b);
  if (width_a == width_b) {
    sum.add(a, b);
  } else {
    sum.add(narrowed(a, width_a, width), narrowed(b, width_b, width));
  }
}

void add_layers(const ForwardResult& a, std::size_t width_a, const ForwardResult& b,
                std::size_t width_b, Sums& sums) {
  std::size_t layers = std::min(a.hidden.size(), b.hidden.size());
  sums.hidden.resize(layers);
  sums.router.resize(layers);
  for (std::size_t l = 0; l < layers; ++l) {
    add_hidden(sums.hidden[l], a.hidden[l], width_a, b.hidden[l], width_b);
    const RouterTrace &x = a.router[l], &y = b.router[l];
    sums.router[l].add(x.experts, x.weights, x.k, y.experts, y.weights, y.k);
  }
  add_hidden(sums.final_hidden, a.final_hidden, width_a, b.final_hidden, width_b);
}

// Every `stride`-th logit over all windows, so that the sample does not depend on their number.
void add_scatter(const ForwardResult& a, const ForwardResult& b, std::size_t stride,
                 std::size_t window, ModelComparison& out) {
  std::size_t total = a.logits.size();
  for (std::size_t i = (stride - (window * total) % stride) % stride; i < total; i += stride) {
    out.scatter.push_back({a.logits[i], b.logits[i]});
  }
}

std::optional<std::size_t> first_parting(const std::vector<HiddenStats>& hidden,
                                         const std::vector<double>& tolerance) {
  for (std::size_t l = 0; l < hidden.size() && l < tolerance.size(); ++l) {
    if (!(hidden[l].relative <= tolerance[l])) return l;
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t default_window(const ModelSpec& spec) {
  constexpr std::uint64_t kMost = 1024, kWithoutLimit = 512;
  return spec.max_position_embeddings > 0 ? std::min(spec.max_position_embeddings, kMost)
                                          : kWithoutLimit;
}

Windows cut_windows(std::span<const std::uint32_t> tokens, std::uint64_t window,
                    std::uint64_t most_windows) {
  Windows out{window, {}};
  for (std::size_t at = 0; at < tokens.size() && out.tokens.size() < most_windows; at += window) {
    std::size_t n = std::min<std::size_t>(window, tokens.size() - at);
    if (n < window && !out.tokens.empty()) break;
    out.tokens.emplace_back(tokens.begin() + static_cast<std::ptrdiff_t>(at),
                            tokens.begin() + static_cast<std::ptrdiff_t>(at + n));
  }
  return out;
}

ModelComparison compare_models(const Decoder& source, const Decoder& output, const Windows& windows,
                               const CompareOptions& options) {
  require_same_vocabulary(source.spec(), output.spec());
  std::size_t vocab = source.spec().vocab_size;
  ModelComparison out;
  out.windows = windows.tokens.size();
  out.window = windows.window;
  out.weight_roundoff = options.weight_roundoff;
  ForwardOptions forward;
  forward.hidden = forward.router = true;
  forward.threads = options.threads;
  Sums sums;
  std::size_t logits = 0;
  for (const auto& tokens : windows.tokens) logits += tokens.size() * vocab;
  std::size_t stride =
      std::max<std::size_t>(1, logits / kScatterPoints) | 1u;  // odd: walks over the vocabulary
  for (std::size_t w = 0; w < windows.tokens.size(); ++w) {
    ForwardResult a = source.forward(windows.tokens[w], forward);
    ForwardResult b = output.forward(windows.tokens[w], forward);
    sums.logits.add(a.logits, b.logits, vocab);
    add_losses(windows.tokens[w], a, b, vocab, sums, out);
    add_layers(a, source.spec().hidden_size, b, output.spec().hidden_size, sums);
    add_scatter(a, b, stride, w, out);
    if (options.progress) options.progress(w + 1, windows.tokens.size());
  }
  out.logits = sums.logits.result();
  out.source = sums.source.result();
  out.output = sums.output.result();
  out.difference = sums.difference.result();
  out.final_hidden = sums.final_hidden.result();
  out.tolerances = rounding_tolerances(source.spec(), options.weight_roundoff, out.logits.rms);
  std::vector<HiddenStats> hidden;
  for (std::size_t l = 0; l < sums.hidden.size(); ++l) {
    hidden.push_back(sums.hidden[l].result());
    out.layers.push_back(
        {hidden.back(), sums.router[l].result(), out.tolerances.hidden_relative[l]});
  }
  out.parts_at = first_parting(hidden, out.tolerances.hidden_relative);
  return out;
}

LossStats measure_loss(const Decoder& model, const Windows& windows, unsigned threads) {
  ForwardOptions forward;
  forward.threads = threads;
  std::size_t vocab = model.spec().vocab_size;
  LossSum sum;
  for (const auto& tokens : windows.tokens) {
    ForwardResult result = model.forward(tokens, forward);
    std::span<const float> logits(result.logits);
    for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
      sum.add(-log_probability(logits.subspan(t * vocab, vocab), tokens[t + 1]));
    }
  }
  return sum.result();
}

namespace {

// A reference file's tensors, in the shapes that the comparison wants.
class Reference {
 public:
  Reference(const Checkpoint& file, const ModelSpec& spec) : file_(file), spec_(spec) {
    const Tensor& tokens = need("tokens");
    if (tokens.shape().size() != 1 && tokens.shape().size() != 2) {
      wrong("tokens", "[sequences, tokens] or [tokens]", tokens.shape());
    }
    sequences_ = tokens.shape().size() == 2 ? tokens.shape()[0] : 1;
    length_ = tokens.shape().back();
    for (double id : read_ids(tokens)) ids_.push_back(static_cast<std::uint32_t>(id));
  }

  std::uint64_t sequences() const { return sequences_; }
  std::uint64_t length() const { return length_; }
  std::span<const std::uint32_t> sequence(std::uint64_t s) const {
    return std::span<const std::uint32_t>(ids_).subspan(s * length_, length_);
  }
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }

  // Sequence `s` of [sequences, tokens, width], widened to f32; `rows` is set to its tokens,
  // which may be fewer than the sequence has.
  std::vector<float> part(const std::string& name, std::uint64_t s, std::uint64_t width,
                          std::uint64_t& rows) const {
    Tensor t = need(name);
    if (t.shape().size() == 2 && sequences_ == 1) t = t.reshape({1, t.shape()[0], t.shape()[1]});
    if (t.shape().size() != 3 || t.shape()[0] != sequences_ || t.shape()[1] > length_ ||
        t.shape()[2] != width) {
      wrong(name, to_string(Shape{sequences_, length_, width}), t.shape());
    }
    rows = t.shape()[1];
    return read_f32(t.slice(0, s, s + 1));
  }

 private:
  const Tensor& need(const std::string& name) const {
    if (const SourceTensor* found = file_.find(name)) return found->tensor;
    throw Error(Code::tensor_missing, "the reference holds no tensor of this name")
        .file(file_.path)
        .tensor(name)
        .advice("Export it with tools/export_reference.py: it writes tokens and logits.");
  }
  [[noreturn]] void wrong(const std::string& name, const std::string& wanted,
                          const Shape& found) const {
    throw Error(Code::shape_mismatch, "the reference does not fit this model")
        .file(file_.path)
        .tensor(name)
        .expected(wanted)
        .actual(to_string(found))
        .advice("Export it from the model whose checkpoint is compared.");
  }
  std::vector<double> read_ids(const Tensor& tokens) const {
    Tensor wide = tokens.cast(DType::F64);
    std::vector<double> ids(wide.numel());
    read_range(wide, 0, wide.numel(), std::as_writable_bytes(std::span<double>(ids)));
    for (double id : ids) {
      if (id >= 0 && id < static_cast<double>(spec_.vocab_size) && id == std::floor(id)) continue;
      throw Error(Code::usage, "a token of the reference is outside the vocabulary")
          .file(file_.path)
          .tensor("tokens")
          .expected("0 to " + std::to_string(spec_.vocab_size - 1))
          .actual(std::to_string(static_cast<long long>(id)))
          .advice("Export it from the model whose checkpoint is compared.");
    }
    return ids;
  }

  const Checkpoint& file_;
  const ModelSpec& spec_;
  std::uint64_t sequences_ = 0, length_ = 0;
  std::vector<std::uint32_t> ids_;
};

// The first `rows` rows of a [tokens, width] result.
std::span<const float> head(const std::vector<float>& values, std::uint64_t rows,
                            std::uint64_t width) {
  return std::span<const float>(values).first(rows * width);
}

}  // namespace

ReferenceComparison compare_reference(const Decoder& model, const Checkpoint& file,
                                      double weight_roundoff, unsigned threads) {
  const ModelSpec& spec = model.spec();
  Reference reference(file, spec);
  auto layer_name = [](std::size_t l) { return "hidden." + std::to_string(l); };
  auto mtp_name = [](std::size_t m) { return "mtp." + std::to_string(m); };
  ReferenceComparison out;
  out.sequences = reference.sequences();
  LogitComparison logits;
  std::vector<HiddenComparison> hidden, mtp_hidden;
  std::vector<LogitComparison> mtp_logits;
  while (hidden.size() < spec.num_hidden_layers && reference.has(layer_name(hidden.size()))) {
    hidden.emplace_back();
  }
  while (mtp_hidden.size() < spec.num_nextn_predict_layers &&
         reference.has(mtp_name(mtp_hidden.size()) + ".hidden") &&
         reference.has(mtp_name(mtp_hidden.size()) + ".logits")) {
    mtp_hidden.emplace_back();
    mtp_logits.emplace_back();
  }
  HiddenComparison final_hidden;
  ForwardOptions forward;
  forward.hidden = true;
  forward.mtp = !mtp_hidden.empty();
  forward.threads = threads;
  for (std::uint64_t s = 0; s < reference.sequences(); ++s) {
    ForwardResult result = model.forward(reference.sequence(s), forward);
    std::uint64_t rows = 0;
    auto compare = [&](HiddenComparison& sum, const std::string& name,
                       const std::vector<float>& ours) {
      std::vector<float> theirs = reference.part(name, s, spec.hidden_size, rows);
      sum.add(theirs, head(ours, rows, spec.hidden_size));
    };
    std::vector<float> theirs = reference.part("logits", s, spec.vocab_size, rows);
    logits.add(theirs, head(result.logits, rows, spec.vocab_size), spec.vocab_size);
    for (std::size_t l = 0; l < hidden.size(); ++l)
      compare(hidden[l], layer_name(l), result.hidden[l]);
    if (reference.has("hidden.final")) compare(final_hidden, "hidden.final", result.final_hidden);
    for (std::size_t m = 0; m < mtp_hidden.size(); ++m) {
      compare(mtp_hidden[m], mtp_name(m) + ".hidden", result.mtp[m].hidden);
      theirs = reference.part(mtp_name(m) + ".logits", s, spec.vocab_size, rows);
      mtp_logits[m].add(theirs, head(result.mtp[m].logits, rows, spec.vocab_size), spec.vocab_size);
    }
  }
  out.logits = logits.result();
  for (const HiddenComparison& h : hidden) out.hidden.push_back(h.result());
  if (reference.has("hidden.final")) out.final_hidden = final_hidden.result();
  for (const HiddenComparison& h : mtp_hidden) out.mtp_hidden.push_back(h.result());
  for (const LogitComparison& l : mtp_logits) out.mtp_logits.push_back(l.result());
  out.tolerances = rounding_tolerances(spec, weight_roundoff, out.logits.rms);
  out.parts_at = first_parting(out.hidden, out.tolerances.hidden_relative);
  return out;
}

}  // namespace wb
