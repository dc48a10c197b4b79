// Measuring and choosing; see widths.h.
#include "calibrate/widths.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <queue>

#include "base/checked.h"
#include "base/error.h"
#include "base/threads.h"
#include "quant/groups.h"
#include "quant/quantize.h"
#include "runtime/decoder.h"
#include "runtime/load.h"
#include "tensor/read.h"

namespace wb {

namespace {

constexpr unsigned kWidths[] = {2, 3, 4, 5, 6, 8};
constexpr std::uint64_t kPieces = 64;  // samples of one layer

bool is_fixed(const std::vector<QuantRule>& rules, const std::string& path) {
  return std::any_of(rules.begin(), rules.end(),
                     [&](const QuantRule& r) { return matches(r.pattern, path); });
}

std::uint64_t bytes_at(const Tensor& tensor, const QuantFormat& f) {
  const std::uint64_t groups = tensor.numel() / f.group_size;
  return groups * (words_per_group(f) * 4 + 2 * item_size(tensor.dtype()));
}

// Squared errors of every width, and the squared weights (last), over samples of the layer.
std::vector<double> sample(const std::string& path, const Tensor& tensor, std::uint64_t group) {
  const std::uint64_t groups = tensor.numel() / group;
  const std::uint64_t each = std::max<std::uint64_t>(1, kSampled / kPieces / group);
  const std::uint64_t pieces = std::min(kPieces, (groups + each - 1) / each);
  std::vector<double> sums(std::size(kWidths) + 1, 0.0);
  for (std::uint64_t p = 0; p < pieces; ++p) {
    const std::uint64_t g =
        (groups - std::min(each, groups)) * p / std::max<std::uint64_t>(1, pieces - 1);
    const std::uint64_t n = std::min(each, groups - g);
    const std::uint64_t size = item_size(tensor.dtype());
    std::vector<std::byte> raw(n * group * size), scales(n * size), biases(n * size);
    read_range(tensor, g * group, (g + n) * group, raw);
    const Tensor piece = Tensor::stored(path, memory_storage(raw), tensor.dtype(), {n, group});
    const std::vector<float> values = read_f32(piece);
    for (float v : values) sums.back() += double{v} * double{v};
    std::vector<float> back(values.size());
    std::vector<std::uint32_t> words(n * group / 4);
    for (std::size_t k = 0; k < std::size(kWidths); ++k) {
      const QuantFormat f{QuantMode::affine, kWidths[k], group};
      if (quantize_groups(f, tensor.dtype(), raw.data(), n,
                          {words.data(), scales.data(), biases.data()}) < n) {
        read_all(quantize(path, tensor, f).scales);  // says where
      }
      dequantize_groups(f, tensor.dtype(), {words.data(), scales.data(), biases.data()}, n,
                        back.data());
      for (std::size_t i = 0; i < back.size(); ++i) {
        const double e = double{values[i]} - double{back[i]};
        sums[k] += e * e;
      }
    }
  }
  return sums;
}

// Indices of the widths on the lower convex hull of (bytes, error), smallest first.
std::vector<std::size_t> hull(const std::vector<WidthError>& w) {
  std::vector<std::size_t> out;
  const auto slope = [&](std::size_t a, std::size_t b) {
    return (w[b].error - w[a].error) /
           static_cast<double>(std::max<std::uint64_t>(1, w[b].bytes - w[a].bytes));
  };
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (!out.empty() && (w[i].bytes <= w[out.back()].bytes || w[i].error >= w[out.back()].error)) {
      continue;
    }
    while (out.size() >= 2 && slope(out[out.size() - 2], out.back()) >= slope(out.back(), i)) {
      out.pop_back();
    }
    out.push_back(i);
  }
  return out;
}

}  // namespace

std::vector<LayerWidths> measure_widths(const LoweredModel& model,
                                        const std::vector<QuantRule>& fixed,
                                        std::uint64_t group_size, unsigned threads) {
  const std::vector<QuantizableLayer> all = quantizable_layers(model);
  std::vector<LayerWidths> out(all.size());
  parallel_for(all.size(), threads, [&](std::size_t i, unsigned) {
    const QuantizableLayer& layer = all[i];
    const Tensor& tensor = model.tensors[layer.tensor].tensor;
    const QuantFormat any{QuantMode::affine, 4, group_size};
    if (is_fixed(fixed, layer.path) || !cannot_take(model, layer, any).empty()) return;
    const std::vector<double> sums = sample(layer.path, tensor, group_size);
    LayerWidths& widths = out[i];
    widths.path = layer.path;
    widths.weights = tensor.numel();
    for (std::size_t k = 0; k < std::size(kWidths); ++k) {
      const double error = sums.back() > 0 ? sums[k] / sums.back() : 0.0;
      widths.widths.push_back(
          {kWidths[k], bytes_at(tensor, {QuantMode::affine, kWidths[k], group_size}), error});
    }
    widths.widths.push_back({0, tensor.nbytes(), 0.0});
  });
  std::erase_if(out, [](const LayerWidths& l) { return l.path.empty(); });
  return out;
}

namespace {

constexpr unsigned kRunWidths[] = {2, 3, 4};
constexpr std::size_t kMostWindows = 4;

// Logits of every sequence, one after the other.
std::vector<std::vector<float>> logits_of(const LoweredModel& model, std::size_t replaced,
                                          const std::optional<Tensor>& by,
                                          std::span<const std::vector<std::uint32_t>> sequences,
                                          unsigned threads) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    tensors.emplace_back(model.tensors[i].name,
                         by && i == replaced ? *by : model.tensors[i].tensor);
  }
  const nlohmann::json config = nlohmann::json::parse(model.config.dump());
  const Decoder decoder(load_model(config, tensors), {.threads = threads});
  ForwardOptions options;
  options.threads = threads;
  std::vector<std::vector<float>> out;
  for (const std::vector<std::uint32_t>& sequence : sequences) {
    out.push_back(decoder.forward(sequence, options).logits);
  }
  return out;
}

// log(sum(exp(x))) in f64.
double log_sum(std::span<const float> x) {
  const double most = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const float v : x) sum += std::exp(double{v} - most);
  return most + std::log(sum);
}

// Mean over tokens of KL(p || q), nats.
double mean_kl(const std::vector<std::vector<float>>& p, const std::vector<std::vector<float>>& q,
               std::uint64_t vocab_size) {
  double sum = 0;
  std::uint64_t tokens = 0;
  for (std::size_t s = 0; s < p.size(); ++s) {
    for (std::size_t at = 0; at < p[s].size(); at += vocab_size, ++tokens) {
      const auto a = std::span(p[s]).subspan(at, vocab_size);
      const auto b = std::span(q[s]).subspan(at, vocab_size);
      const double za = log_sum(a), zb = log_sum(b);
      for (std::size_t i = 0; i < a.size(); ++i) {
        const double log_p = double{a[i]} - za;
        sum += std::exp(log_p) * (log_p - (double{b[i]} - zb));
      }
    }
  }
  return std::max(0.0, sum / static_cast<double>(std::max<std::uint64_t>(1, tokens)));
}

}  // namespace

std::vector<LayerWidths> measure_logits(const LoweredModel& model,
                                        const std::vector<QuantRule>& fixed,
                                        std::uint64_t group_size,
                                        std::span<const std::vector<std::uint32_t>> sequences,
                                        unsigned threads) {
  std::vector<LayerWidths> out = measure_widths(model, fixed, group_size, threads);
  std::map<std::string, std::size_t> tensor_of;
  for (const QuantizableLayer& l : quantizable_layers(model)) tensor_of.emplace(l.path, l.tensor);
  // A few windows, evenly spread, say enough; each is run three times for every layer.
  std::vector<std::vector<std::uint32_t>> some;
  const std::size_t count = std::min<std::size_t>(kMostWindows, sequences.size());
  for (std::size_t i = 0; i < count; ++i) some.push_back(sequences[i * sequences.size() / count]);
  sequences = some;
  const auto whole = logits_of(model, 0, std::nullopt, sequences, threads);
  const std::uint64_t vocab = model.config.at("vocab_size").get<std::uint64_t>();
  for (LayerWidths& layer : out) {
    const std::size_t at = tensor_of.at(layer.path);
    const Tensor& tensor = model.tensors[at].tensor;
    double per_error = 0;  // KL by squared error, of the widest that is run
    for (WidthError& width : layer.widths) {
      if (width.bits == 0) continue;
      const double weights_error = width.error;
      if (std::find(std::begin(kRunWidths), std::end(kRunWidths), width.bits) ==
          std::end(kRunWidths)) {
        width.error = per_error * weights_error;
        continue;
      }
      const QuantFormat f{QuantMode::affine, width.bits, group_size};
      const Tensor by = requantize(layer.path, tensor, f, tensor.dtype());
      width.error = mean_kl(whole, logits_of(model, at, by, sequences, threads), vocab);
      per_error = weights_error > 0 ? width.error / weights_error : 0.0;
    }
    layer.weights = 1;
  }
  return out;
}

std::vector<std::size_t> choose_widths(const std::vector<LayerWidths>& layers,
                                       std::uint64_t budget) {
  struct Raise {
    double gain;  // error taken away per byte
    std::size_t layer, at;
    bool operator<(const Raise& o) const {  // ties: the earlier layer first
      return gain != o.gain ? gain < o.gain : layer > o.layer;
    }
  };
  std::vector<std::size_t> chosen(layers.size(), 0);
  std::vector<std::vector<std::size_t>> hulls;
  std::priority_queue<Raise> steps;
  std::uint64_t spent = 0;
  const auto push = [&](std::size_t l, std::size_t at) {
    if (at + 1 >= hulls[l].size()) return;
    const WidthError &a = layers[l].widths[hulls[l][at]], &b = layers[l].widths[hulls[l][at + 1]];
    steps.push({static_cast<double>(layers[l].weights) * (a.error - b.error) /
                    static_cast<double>(b.bytes - a.bytes),
                l, at});
  };
  for (std::size_t l = 0; l < layers.size(); ++l) {
    hulls.push_back(hull(layers[l].widths));
    spent += layers[l].widths[hulls[l][0]].bytes;
    chosen[l] = hulls[l][0];
    push(l, 0);
  }
  while (!steps.empty()) {
    const Raise step = steps.top();
    steps.pop();
    const std::vector<WidthError>& w = layers[step.layer].widths;
    const std::size_t from = hulls[step.layer][step.at], to = hulls[step.layer][step.at + 1];
    if (spent + (w[to].bytes - w[from].bytes) > budget) continue;  // a smaller layer may still fit
    spent += w[to].bytes - w[from].bytes;
    chosen[step.layer] = to;
    push(step.layer, step.at + 1);
  }
  return chosen;
}

QuantPlan plan_for_size(const LoweredModel& model, const std::vector<QuantRule>& fixed,
                        std::uint64_t group_size, std::uint64_t size, unsigned threads,
                        std::span<const std::vector<std::uint32_t>> sequences) {
  QuantPlan plan{fixed, std::nullopt};
  LoweredModel rest = model;  // what the fixed rules and the plain tensors take
  std::uint64_t taken = quantize_model(rest, plan).bytes;
  const std::vector<LayerWidths> layers =
      sequences.empty() ? measure_widths(model, fixed, group_size, threads)
                        : measure_logits(model, fixed, group_size, sequences, threads);
  std::uint64_t least = 0;
  for (const LayerWidths& l : layers) {
    taken = checked_sub(taken, l.widths.back().bytes, "the model's size");
    least = checked_add(least, l.widths.front().bytes, "the model's size");
  }
  if (checked_add(taken, least, "the model's size") > size) {
    throw Error(Code::usage, "the model does not fit the size with 2 bits everywhere either")
        .expected("--size of at least " + std::to_string(taken + least) + " bytes")
        .actual(std::to_string(size))
        .advice("Give a larger --size, or a larger --group-size.");
  }
  const std::vector<std::size_t> chosen = choose_widths(layers, size - taken);
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const unsigned bits = layers[l].widths[chosen[l]].bits;
    std::optional<QuantFormat> format;
    if (bits != 0) format = QuantFormat{QuantMode::affine, bits, group_size};
    plan.rules.push_back({layers[l].path, format});
  }
  return plan;
}

}  // namespace wb
