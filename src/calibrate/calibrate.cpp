// Statistics and least squares of calibrate.h.
#include "calibrate/calibrate.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "runtime/decoder.h"
#include "tensor/read.h"

namespace wb {

namespace {

// Logits are lowered by this before the class's sigmoid: e^-20 is far below f32's resolution
// beside 1, and sigmoids near e^-20 are far above its smallest numbers.
constexpr double kRouterShift = 20.0;
// Beside the least squares' own scale: enough to keep the system regular, too little to be seen.
constexpr double kRidge = 1e-6;
// Hidden sizes stay multiples of this, so that MLX's default quantisation groups still fit.
constexpr std::uint64_t kGroup = 64;
// The constant in the spare dimension, in units of the embeddings' size: its square must vanish
// beside the sum of squares that the norms take.
constexpr double kSpareSize = 0x1p-10;

double mean_square(std::span<const float> values) {
  double sum = 0;
  for (float v : values) sum += static_cast<double>(v) * static_cast<double>(v);
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// The inputs of one layer's feed-forward network as features: the normed stream, and the spare
// dimension's reading gain / rms where there is one.
class Moments {
 public:
  Moments(const ModelSpec& spec, std::vector<float> norm_weight, bool spare)
      : norm_(spec.norm), weight_(std::move(norm_weight)), spare_(spare) {
    std::size_t n = width();
    gram_.assign(n * n, 0.0);
    mean_.assign(n, 0.0);
    features_.resize(n);
  }

  std::size_t width() const { return weight_.size() + (spare_ ? 1 : 0); }

  // Rows of the stream before the norm, [tokens, hidden].
  void add(std::span<const float> stream) {
    std::size_t hidden = weight_.size();
    for (std::size_t at = 0; at < stream.size(); at += hidden) {
      set_features(stream.subspan(at, hidden));
      std::size_t n = width();
      for (std::size_t i = 0; i < n; ++i) {
        mean_[i] += features_[i];
        for (std::size_t j = 0; j <= i; ++j) gram_[i * n + j] += features_[i] * features_[j];
      }
      ++tokens_;
    }
  }

  // The direction v that minimises the mean of (1 - v.x)^2, and that minimum's root.
  std::vector<double> fit(double& error) const {
    std::size_t n = width();
    auto count = static_cast<double>(tokens_);
    std::vector<double> gram(n * n), mean(n);
    for (std::size_t i = 0; i < n; ++i) {
      mean[i] = mean_[i] / count;
      for (std::size_t j = 0; j <= i; ++j)
        gram[i * n + j] = gram[j * n + i] = gram_[i * n + j] / count;
    }
    std::vector<double> v = solve_ridge(gram, mean, kRidge);
    double square = 1.0;  // E(1 - v.x)^2 = 1 - 2 v.m + v G v
    for (std::size_t i = 0; i < n; ++i) {
      square -= 2 * v[i] * mean[i];
      for (std::size_t j = 0; j < n; ++j) square += v[i] * v[j] * gram[i * n + j];
    }
    error = std::sqrt(std::max(square, 0.0));
    return v;
  }

 private:
  void set_features(std::span<const float> h) {
    double ms = mean_square(h);
    double rms = norm_.eps_outside_root ? std::sqrt(ms) + norm_.eps : std::sqrt(ms + norm_.eps);
    for (std::size_t i = 0; i < h.size(); ++i) {
      features_[i] = static_cast<double>(weight_[i]) * static_cast<double>(h[i]) / rms;
    }
    if (spare_) features_[h.size()] = 1.0 / rms;
  }

  NormSpec norm_;
  std::vector<float> weight_;
  bool spare_;
  std::vector<double> gram_, mean_, features_;  // gram_: lower triangle
  std::uint64_t tokens_ = 0;
};

std::vector<float> mean_position(const CanonicalModel& model, std::size_t rows) {
  std::size_t hidden = model.spec.hidden_size;
  std::vector<float> table = read_f32(model.at("positions.weight"));
  std::vector<float> mean(hidden);
  for (std::size_t i = 0; i < hidden; ++i) {
    double sum = 0;
    for (std::size_t t = 0; t < rows; ++t) sum += static_cast<double>(table[t * hidden + i]);
    mean[i] = static_cast<float>(sum / static_cast<double>(rows));
  }
  return mean;
}

// The model with the same position embedding everywhere, as the stock class will have it: the
// fits are taken on the inputs that they will meet.
CanonicalModel with_flat_positions(const CanonicalModel& model, const std::vector<float>& row) {
  CanonicalModel flat = model;
  auto bytes = std::as_bytes(std::span<const float>(row));
  const std::uint64_t strides[] = {0, 1};
  flat.tensors["positions.weight"] =
      Tensor::stored("(mean position)", memory_storage({bytes.begin(), bytes.end()}), DType::F32,
                     {model.spec.max_position_embeddings, row.size()}, 0, strides);
  return flat;
}

double embedding_size(const CanonicalModel& model) {
  const Tensor& table = model.at("embed.weight");
  // A few thousand rows say how large embeddings are.
  std::uint64_t rows = std::min<std::uint64_t>(table.shape()[0], 4096);
  return std::sqrt(mean_square(read_f32(table.slice(0, 0, rows))));
}

bool has_biases(const ModelSpec& spec) {
  return spec.moe.routed.bias || spec.moe.shared.bias || spec.dense.bias || spec.router.bias ||
         spec.router.expert_bias == ExpertBias::logits;
}

}  // namespace

CalibrationSteps steps_from_names(const std::string& names) {
  if (names == "all") return {};
  CalibrationSteps steps{false, false, false, false};
  if (names == "none") return steps;
  std::size_t at = 0;
  while (at <= names.size()) {
    std::size_t comma = std::min(names.find(',', at), names.size());
    std::string name = names.substr(at, comma - at);
    at = comma + 1;
    if (name == "biases") {
      steps.biases = true;
    } else if (name == "router") {
      steps.router = true;
    } else if (name == "positions") {
      steps.positions = true;
    } else if (name == "spare") {
      steps.spare = true;
    } else {
      throw Error(Code::usage, "there is no calibration step of this name")
          .expected("biases, router, positions, spare, all or none")
          .actual("\"" + name + "\"")
          .advice("Give names with commas between them, e.g. biases,router.");
    }
  }
  return steps;
}

std::vector<double> solve_ridge(std::vector<double> a, std::vector<double> x, double ridge) {
  std::size_t n = x.size();
  WB_CHECK(a.size() == n * n);
  double trace = 0;
  for (std::size_t i = 0; i < n; ++i) trace += a[i * n + i];
  for (std::size_t i = 0; i < n; ++i)
    a[i * n + i] += ridge * trace / static_cast<double>(n) + 1e-300;
  for (std::size_t j = 0; j < n; ++j) {  // a = L L^T, L in the lower triangle
    for (std::size_t k = 0; k < j; ++k) a[j * n + j] -= a[j * n + k] * a[j * n + k];
    double pivot = std::sqrt(std::max(a[j * n + j], 1e-300));
    a[j * n + j] = pivot;
    for (std::size_t i = j + 1; i < n; ++i) {
      for (std::size_t k = 0; k < j; ++k) a[i * n + j] -= a[i * n + k] * a[j * n + k];
      a[i * n + j] /= pivot;
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) x[i] -= a[i * n + k] * x[k];
    x[i] /= a[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) x[i] -= a[k * n + i] * x[k];
    x[i] /= a[i * n + i];
  }
  return x;
}

CalibrationResult calibrate_stock(const CanonicalModel& model,
                                  std::span<const std::vector<std::uint32_t>> sequences,
                                  const CalibrationSteps& steps, unsigned threads) {
  const ModelSpec& spec = model.spec;
  CalibrationResult out;
  out.values.layers.resize(spec.num_hidden_layers);
  out.fit_error.assign(spec.num_hidden_layers, 0.0);
  std::size_t longest = 0;
  for (const auto& s : sequences) {
    longest = std::max(longest, s.size());
    out.tokens += s.size();
  }
  if (out.tokens == 0) {
    throw Error(Code::usage, "there is no text to calibrate on")
        .advice("Give a longer --calibrate file.");
  }
  CanonicalModel as_stock = model;
  if (spec.positions == Positions::learned) {
    std::vector<float> mean = mean_position(model, longest);
    if (!steps.positions) std::fill(mean.begin(), mean.end(), 0.0f);
    as_stock = with_flat_positions(model, mean);
    if (steps.positions) out.values.embedding_shift = std::move(mean);
  }
  bool spare = steps.spare && (steps.biases || steps.router);
  bool shift =
      steps.router && spec.router.score != RouterScore::sigmoid && spec.moe.n_routed_experts > 0;
  if (!(steps.biases && has_biases(spec)) && !shift) return out;
  std::vector<Moments> moments;
  for (std::uint64_t l = 0; l < spec.num_hidden_layers; ++l) {
    moments.emplace_back(
        spec, read_f32(model.at("layers." + std::to_string(l) + ".mlp_norm.weight")), spare);
  }
  Decoder decoder(as_stock, {.kernels = ops::Kernels::fast, .threads = threads});
  ForwardOptions forward;
  forward.logits = false;
  forward.middle = true;
  forward.threads = threads;
  for (const auto& tokens : sequences) {
    ForwardResult result = decoder.forward(tokens, forward);
    for (std::uint64_t l = 0; l < spec.num_hidden_layers; ++l) moments[l].add(result.middle[l]);
  }
  if (spare) {
    out.values.spare = (spec.hidden_size / kGroup + 1) * kGroup - spec.hidden_size;
    out.values.spare_value = kSpareSize * embedding_size(model);
  }
  for (std::uint64_t l = 0; l < spec.num_hidden_layers; ++l) {
    StockCalibration::Layer& layer = out.values.layers[l];
    std::vector<double> v = moments[l].fit(out.fit_error[l]);
    layer.one.assign(spec.hidden_size + out.values.spare, 0.0f);
    for (std::size_t i = 0; i < spec.hidden_size; ++i) layer.one[i] = static_cast<float>(v[i]);
    if (spare) {
      // The class takes the mean over hidden + spare dimensions, so it reads
      // gain * value / (rms sqrt(hidden / (hidden + spare))); the fit was of 1 / rms.
      auto hidden = static_cast<double>(spec.hidden_size);
      layer.spare_gain = std::sqrt(hidden / (hidden + static_cast<double>(out.values.spare))) /
                         out.values.spare_value;
      layer.one[spec.hidden_size] = static_cast<float>(v.back());
    }
    if (shift && spec.is_moe(l)) layer.router_shift = kRouterShift;
  }
  return out;
}

}  // namespace wb
