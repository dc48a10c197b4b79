// See buffers.h.
#include "draft/buffers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "draft/words.h"
#include "tensor/element.h"
#include "tensor/read.h"

namespace wb::draft {

namespace {

constexpr std::uint64_t kMostRead = 64u << 20;  // elements
constexpr double kClose = 1e-4;                 // of tables that were rounded to f32

std::vector<double> read(const Tensor& tensor, std::uint64_t begin, std::uint64_t end) {
  std::vector<std::byte> raw(byte_size(tensor.dtype(), end - begin));
  read_range(tensor, begin, end, raw);
  std::vector<double> out(end - begin);
  convert_elements(tensor.dtype(), raw.data(), DType::F64, reinterpret_cast<std::byte*>(out.data()),
                   out.size());
  return out;
}

bool leading_ones(const Shape& shape, std::size_t rank) {
  return shape.size() >= rank && std::all_of(shape.begin(), shape.end() - std::ptrdiff_t(rank),
                                             [](std::uint64_t d) { return d == 1; });
}

// One value on and below the diagonal and another above it, whatever the two are.
bool is_causal(const Tensor& tensor, std::uint64_t n, double& kept, double& masked) {
  for (std::uint64_t row = 0; row < n; ++row) {
    std::vector<double> v = read(tensor, row * n, row * n + n);
    if (row == 0) {
      kept = v[0];
      masked = v[1];
      if (kept == masked) return false;
    }
    for (std::uint64_t c = 0; c < n; ++c) {
      if (v[c] != (c <= row ? kept : masked)) return false;
    }
  }
  return true;
}

std::optional<Buffer> mask(const Group& g, const Tensor& tensor, const Features& f) {
  const Shape& s = tensor.shape();
  if (!leading_ones(s, 2) || s[s.size() - 1] != s[s.size() - 2] || s.back() < 2)
    return std::nullopt;
  std::uint64_t n = s.back();
  bool named = f.any({"mask", "causal", "tril"}) || tensor.dtype() == DType::Bool || s.size() > 3 ||
               (f.attention && f.bias);
  double kept = 0, masked = 0;
  if (tensor.numel() > kMostRead) return std::nullopt;
  if (!is_causal(tensor, n, kept, masked)) {
    if (!named) return std::nullopt;
    return Buffer{Buffer::Kind::other_mask, "", "", n, 0, {}, {}};
  }
  Buffer out{Buffer::Kind::causal_mask, "causal mask, rebuilt at run time", "", n, 0, {}, {}};
  if (kept == 1 && masked == 0) {
    std::string text = fmt::format("tril({})", n);
    if (s.size() > 2) {
      text += ".reshape(";
      for (std::size_t i = 0; i < s.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(s[i]);
      text += ")";
    }
    out.check = "equal(this, " + text + ")";
  }
  (void)g;
  return out;
}

// The base whose frequencies these are: base^(-2j/dim), j < dim/2.
std::optional<double> base_of(const std::vector<double>& v) {
  std::size_t n = v.size();
  if (n < 2 || std::fabs(v[0] - 1) > 1e-6 || v[1] <= 0 || v[1] >= 1) return std::nullopt;
  // From the last one: there the base weighs most.
  double base = std::pow(v[n - 1], -double(n) / double(n - 1));
  for (double digits : {1.0, 10.0, 100.0, 1000.0}) {  // people choose round numbers
    double round = std::round(base / digits) * digits;
    if (round > 1 && std::fabs(round - base) < 1e-3 * base) base = round;
  }
  for (std::size_t j = 0; j < n; ++j) {
    double want = std::pow(base, -double(j) / double(n));
    if (std::fabs(v[j] - want) > kClose * want) return std::nullopt;
  }
  return base;
}

std::string number(double v) {
  return v == std::floor(v) && v < 1e15 ? fmt::format("{:.1f}", v) : fmt::format("{}", v);
}

std::optional<Buffer> frequencies(const Tensor& tensor, const Features& f) {
  const Shape& s = tensor.shape();
  if (s.empty() || !leading_ones(s, 1) || s.back() > 8192) return std::nullopt;
  std::vector<double> v = read(tensor, 0, s.back());
  std::optional<double> base = base_of(v);
  bool named = f.any({"freq", "freqs", "theta", "inv"});
  if (!base && !named) return std::nullopt;
  std::uint64_t dim = 2 * s.back();
  Buffer out{
      Buffer::Kind::inv_freq, "rope frequencies, rebuilt from rope.base", "", 0, dim, base, {}};
  if (base) {
    std::string shape;
    for (std::uint64_t d : s) shape += (shape.empty() ? "" : ", ") + std::to_string(d);
    out.check = fmt::format("close(this, inv_freq({}, {}){}, 1e-5)", dim, number(*base),
                            s.size() > 1 ? ".reshape(" + shape + ")" : "");
  }
  return out;
}

// cos or sin of position times frequency, [T, dim] or [T, dim / 2].
std::optional<Buffer> table(const Tensor& tensor, const Features& f) {
  const Shape& s = tensor.shape();
  if (s.size() < 2 || s.back() < 2 || !can_convert(tensor.dtype(), DType::F64)) return std::nullopt;
  bool cosine = f.any({"cos"}), sine = f.any({"sin"});
  if (cosine == sine) return std::nullopt;
  // Only one axis besides the last may be longer than 1: the position.
  std::uint64_t positions = 1;
  for (std::size_t i = 0; i + 1 < s.size(); ++i) {
    if (s[i] != 1 && positions != 1) return std::nullopt;
    positions *= s[i];
  }
  std::uint64_t n = s.back();
  if (positions < 2) return std::nullopt;
  std::vector<double> zero = read(tensor, 0, n), one = read(tensor, n, 2 * n);
  for (double v : zero) {
    if (std::fabs(v - (cosine ? 1 : 0)) > kClose) return std::nullopt;
  }
  Buffer out{
      Buffer::Kind::rope_table, "rope table, rebuilt from rope.base", "", positions, 2 * n, {}, {}};
  std::vector<double> freq;
  for (double v : one) freq.push_back(cosine ? std::acos(std::min(1.0, v)) : std::asin(v));
  const auto same = [](double a, double b) { return std::fabs(a - b) <= kClose; };
  bool halves = n % 2 == 0, pairs = n % 2 == 0;
  for (std::uint64_t j = 0; halves && j < n / 2; ++j) halves = same(one[j], one[j + n / 2]);
  for (std::uint64_t j = 0; pairs && j < n / 2; ++j) pairs = same(one[2 * j], one[2 * j + 1]);
  if (halves != pairs) {
    out.half_split = halves;
    out.rope_dim = n;
    std::vector<double> own;
    for (std::uint64_t j = 0; j < n / 2; ++j) own.push_back(freq[halves ? j : 2 * j]);
    freq = own;
  }
  // acos of a number near 1 has few digits; a base is believed from sines, or from large angles.
  if (!freq.empty() && (sine || freq.back() > 1e-2)) out.base = base_of(freq);
  return out;
}

// [T, dim / 2] complex numbers of length 1, the first row all 1.
std::optional<Buffer> complex_table(const Tensor& tensor) {
  const Shape& s = tensor.shape();
  if (s.size() != 2 || s[0] < 2 || s[1] < 1) return std::nullopt;
  std::vector<std::byte> raw(byte_size(tensor.dtype(), 2 * s[1]));
  read_range(tensor, 0, 2 * s[1], raw);
  std::vector<float> v(raw.size() / sizeof(float));
  std::memcpy(v.data(), raw.data(), raw.size());
  std::vector<double> freq;
  for (std::size_t j = 0; j < s[1]; ++j) {
    if (std::fabs(v[2 * j] - 1) > kClose || std::fabs(v[2 * j + 1]) > kClose) return std::nullopt;
    freq.push_back(std::atan2(double(v[2 * (s[1] + j) + 1]), double(v[2 * (s[1] + j)])));
  }
  return Buffer{Buffer::Kind::rope_table,
                "rope table of complex numbers, rebuilt from rope.base",
                "",
                s[0],
                2 * s[1],
                base_of(freq),
                {}};
}

}  // namespace

std::optional<Buffer> buffer_of(const Group& group, const Tensor& tensor) {
  Features f = features_of(group.pattern);
  DType type = tensor.dtype();
  bool whole = type == DType::I64 || type == DType::I32 || type == DType::I16 ||
               type == DType::U64 || type == DType::U32 || type == DType::U16;
  if (whole && tensor.shape().size() <= 2) {
    return Buffer{Buffer::Kind::counter,
                  "whole numbers (a counter or positions), not a weight",
                  "",
                  0,
                  0,
                  {},
                  {}};
  }
  if (type == DType::C64) return complex_table(tensor);
  if (!can_convert(type, DType::F64) || tensor.numel() == 0) return std::nullopt;
  if (auto b = mask(group, tensor, f)) return b;
  if (type == DType::Bool) return std::nullopt;
  if (auto b = table(tensor, f)) return b;
  if (auto b = frequencies(tensor, f)) return b;
  if (f.counter && !f.bias && tensor.shape().size() <= 1) {
    return Buffer{
        Buffer::Kind::counter, "a counter that training keeps, by its name", "", 0, 0, {}, {}};
  }
  return std::nullopt;
}

}  // namespace wb::draft
