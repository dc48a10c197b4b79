// Measuring and choosing; see widths.h.
#include "calibrate/widths.h"

#include <algorithm>
#include <queue>

#include "base/checked.h"
#include "base/error.h"
#include "base/threads.h"
#include "quant/groups.h"
#include "quant/quantize.h"
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
                        std::uint64_t group_size, std::uint64_t size, unsigned threads) {
  QuantPlan plan{fixed, std::nullopt};
  LoweredModel rest = model;  // what the fixed rules and the plain tensors take
  std::uint64_t taken = quantize_model(rest, plan).bytes;
  const std::vector<LayerWidths> layers = measure_widths(model, fixed, group_size, threads);
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
