// The charts of report.html, as inline SVG. Each scales with the page; text is SVG text.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "verify/report_parts.h"

namespace wb::report {

namespace {

constexpr double kWidth = 720, kLeft = 64, kRight = 14, kTop = 14, kBottom = 34;

// A plot area with a linear x and a linear or logarithmic y.
struct Plot {
  double height;
  double x0, x1, y0, y1;
  bool log_y = false;

  double px(double x) const { return kLeft + (x - x0) / (x1 - x0) * (kWidth - kLeft - kRight); }
  double py(double y) const {
    double t = log_y ? (std::log10(std::clamp(y, y0, y1)) - std::log10(y0)) /
                           (std::log10(y1) - std::log10(y0))
                     : (y - y0) / (y1 - y0);
    return height - kBottom - t * (height - kTop - kBottom);
  }
};

std::string open_svg(double height, const std::string& label) {
  return fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">", kWidth,
                     height, escaped(label));
}
std::string figure(const std::string& svg, const std::string& caption) {
  return "<figure>" + svg + "</svg><figcaption>" + caption + "</figcaption></figure>\n";
}
std::string label(double x, double y, const char* anchor, const std::string& text,
                  const char* cls = "dim") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"{}\">{}</text>", x,
                     y, anchor, cls, escaped(text));
}
std::string y_line(const Plot& plot, double y, const std::string& text) {
  return fmt::format(
             "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>",
             kLeft, kWidth - kRight, plot.py(y), plot.py(y)) +
         label(kLeft - 6, plot.py(y) + 4, "end", text);
}
std::string polyline(const char* cls, const std::vector<std::pair<double, double>>& points) {
  std::string out = fmt::format("<polyline class=\"{}\" points=\"", cls);
  for (auto [x, y] : points) out += fmt::format("{:.1f},{:.1f} ", x, y);
  return out + "\"/>";
}

// A round step that divides `range` into about `parts`.
double nice_step(double range, int parts) {
  double raw = range / parts, power = std::pow(10.0, std::floor(std::log10(raw)));
  for (double m : {1.0, 2.0, 5.0, 10.0}) {
    if (raw <= m * power) return m * power;
  }
  return 10 * power;
}
std::string linear_y(const Plot& plot) {
  std::string out;
  double step = nice_step(plot.y1 - plot.y0, 5);
  for (double y = std::ceil(plot.y0 / step) * step; y <= plot.y1 + step / 1e6; y += step) {
    out += y_line(plot, y, fmt::format("{:.4g}", std::fabs(y) < step / 1e6 ? 0.0 : y));
  }
  return out;
}

}  // namespace

std::string layer_chart(const ModelComparison& c) {
  if (c.layers.empty()) return "";
  double low = 1e-8, high = 1e-3;
  for (const LayerComparison& l : c.layers) {
    high = std::max({high, l.hidden.relative, l.tolerance});
    low = std::min(low, l.tolerance / 10);
  }
  auto n = static_cast<double>(c.layers.size());
  Plot plot{260,
            0.5,
            n + 0.5,
            std::pow(10.0, std::floor(std::log10(low))),
            std::pow(10.0, std::ceil(std::log10(high))),
            true};
  std::string svg =
      open_svg(plot.height, "Relative difference of the hidden state after each layer");
  for (double y = plot.y0; y <= plot.y1 * 1.01; y *= 10) {
    svg += y_line(plot, y, fmt::format("1e{:.0f}", std::log10(y)));
  }
  std::vector<std::pair<double, double>> measured, tolerance;
  std::string dots;
  std::size_t every = std::max<std::size_t>(1, c.layers.size() / 16);
  for (std::size_t l = 0; l < c.layers.size(); ++l) {
    double x = plot.px(static_cast<double>(l) + 1);
    double y = plot.py(c.layers[l].hidden.relative);
    measured.emplace_back(x, y);
    tolerance.emplace_back(x, plot.py(c.layers[l].tolerance));
    dots += fmt::format("<circle class=\"fa\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"/>", x, y);
    if (l % every == 0) svg += label(x, plot.height - 14, "middle", std::to_string(l));
  }
  svg += polyline("tol", tolerance) + polyline("a", measured) + dots;
  svg += label(kWidth - kRight, plot.height - 1, "end", "layer");
  std::string caption =
      "Relative difference of the residual stream after each layer (line), and what rounding "
      "explains (dashed).";
  if (std::all_of(c.layers.begin(), c.layers.end(),
                  [](const auto& l) { return l.hidden.relative == 0; })) {
    caption +=
        " The two sides are equal bit for bit, which a logarithm cannot show: the line lies on the "
        "floor.";
  }
  return figure(svg, caption);
}

std::string router_chart(const ModelComparison& c) {
  std::size_t moe = 0;
  for (const LayerComparison& l : c.layers) moe += l.router.tokens > 0 ? 1 : 0;
  if (moe == 0) return "";
  double row = 24, height = static_cast<double>(moe) * row + 12;
  std::string svg = open_svg(height, "Share of tokens that go to the same experts, by layer");
  double y = 6;
  for (std::size_t l = 0; l < c.layers.size(); ++l) {
    const RouterStats& r = c.layers[l].router;
    if (r.tokens == 0) continue;
    double full = kWidth - kLeft - 90;
    svg += label(kLeft - 6, y + 14, "end", "layer " + std::to_string(l));
    svg += fmt::format(
        "<rect class=\"grid\" fill=\"none\" x=\"{}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"16\"/>",
        kLeft, y + 2, full);
    svg += fmt::format("<rect class=\"bar\" x=\"{}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"16\"/>",
                       kLeft, y + 2, full * r.same_choice);
    svg += label(kLeft + full + 8, y + 14, "start", percent(r.same_choice), "");
    y += row;
  }
  return figure(svg, "Share of tokens that are sent to the same set of experts on both sides.");
}

std::string scatter_chart(const ModelComparison& c) {
  if (c.scatter.empty()) return "";
  double low = 1e30, high = -1e30;
  for (const LogitPoint& p : c.scatter) {
    low = std::min({low, static_cast<double>(p.source), static_cast<double>(p.output)});
    high = std::max({high, static_cast<double>(p.source), static_cast<double>(p.output)});
  }
  if (!(high > low)) return "";
  double margin = (high - low) / 30;
  Plot plot{420, low - margin, high + margin, low - margin, high + margin};
  std::string svg =
      open_svg(plot.height, "Logits of the folder against logits of the source") + linear_y(plot);
  double step = nice_step(plot.x1 - plot.x0, 7);
  for (double x = std::ceil(plot.x0 / step) * step; x <= plot.x1; x += step) {
    svg += label(plot.px(x), plot.height - 16, "middle",
                 fmt::format("{:.4g}", std::fabs(x) < step / 1e6 ? 0.0 : x));
  }
  svg +=
      polyline("tol", {{plot.px(plot.x0), plot.py(plot.x0)}, {plot.px(plot.x1), plot.py(plot.x1)}});
  for (const LogitPoint& p : c.scatter) {
    svg +=
        fmt::format("<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2\"/>",
                    plot.px(static_cast<double>(p.source)), plot.py(static_cast<double>(p.output)));
  }
  svg += label(kWidth - kRight, plot.height - 2, "end", "source");
  svg += label(kLeft + 6, kTop + 6, "start", "folder");
  return figure(
      svg, fmt::format("An even sample of {} logits: on the dashed line both sides say the same.",
                       c.scatter.size()));
}

std::string loss_chart(const ModelComparison& c) {
  if (c.tokens.size() < 4) return "";
  // Mean loss of stretches of the text, few enough to be read.
  std::size_t stretch = std::max<std::size_t>(1, c.tokens.size() / 160);
  std::vector<std::pair<double, double>> a, b;
  double high = 0;
  for (std::size_t i = 0; i < c.tokens.size(); i += stretch) {
    std::size_t n = std::min(stretch, c.tokens.size() - i);
    double sa = 0, sb = 0;
    for (std::size_t k = i; k < i + n; ++k) {
      sa += static_cast<double>(c.tokens[k].source);
      sb += static_cast<double>(c.tokens[k].output);
    }
    auto count = static_cast<double>(n);
    a.emplace_back(static_cast<double>(i), sa / count);
    b.emplace_back(static_cast<double>(i), sb / count);
    high = std::max({high, sa / count, sb / count});
  }
  Plot plot{260, 0, static_cast<double>(c.tokens.size()), 0, high * 1.05 + 1e-9};
  std::string svg = open_svg(plot.height, "Loss of both sides over the text") + linear_y(plot);
  for (auto* points : {&a, &b}) {
    for (auto& [x, y] : *points) {
      x = plot.px(x);
      y = plot.py(y);
    }
  }
  svg += polyline("b", b) + polyline("a", a);
  svg += label(kLeft + 8, kTop + 6, "start", "source", "fa") +
         label(kLeft + 70, kTop + 6, "start", "folder", "fb");
  svg += label(kWidth - kRight, plot.height - 14, "end", "token of the text");
  return figure(svg, fmt::format("Loss in nats, mean over stretches of {} tokens.", stretch));
}

}  // namespace wb::report
