// The account of source tensors as a flow picture: kinds of tensor on the left, what
// became of them on the right, widths by bytes.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "verify/report_parts.h"

namespace wb::report {

namespace {

constexpr std::size_t kMostKinds = 12;

struct Bar {
  std::string name;
  std::uint64_t bytes = 0;
  std::size_t count = 0;
  double y = 0, height = 0, used = 0;  // `used`: how much of the height flows have taken
};

// "h.3.mlp.experts.11.gate_proj.weight" -> "h.*.mlp.experts.*"; a module's last two names go.
std::string kind_of(const std::string& source) {
  std::string out;
  std::size_t at = 0;
  while (at <= source.size()) {
    std::size_t dot = std::min(source.find('.', at), source.size());
    std::string part = source.substr(at, dot - at);
    bool digits = !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) {
      return std::isdigit(c) != 0;
    });
    out += (out.empty() ? "" : ".") + (digits ? std::string("*") : part);
    at = dot + 1;
  }
  for (const char* end : {".weight", ".bias"}) {
    if (out.ends_with(end)) out.resize(out.size() - std::string_view(end).size());
  }
  // Experts are one kind, whichever of their matrices.
  if (auto star = out.find(".*."); star != std::string::npos) {
    if (auto second = out.find(".*", star + 2); second != std::string::npos) out.resize(second + 2);
  }
  return out;
}

struct Outcome {
  std::string name, look;  // look: class of its bar and flows
};

Outcome arrival(TensorOutcome outcome) {
  switch (outcome) {
    case TensorOutcome::equal:
    case TensorOutcome::equal_value:
      return {"in the folder, unchanged", "good"};
    case TensorOutcome::rounded:
      return {"in the folder, rounded", "good"};
    case TensorOutcome::reshaped:
    case TensorOutcome::only_folder:
      return {"in the folder, in another form", "mid"};
    case TensorOutcome::changed:
      return {"in the folder, other values", "bad"};
    case TensorOutcome::only_source:
      return {"not in the folder", "bad"};
  }
  return {};
}

Outcome outcome_of(const AccountLine& line, const std::map<std::string, TensorOutcome>& arrived) {
  switch (line.fate) {
    case Fate::used: {
      auto it = arrived.find(line.source);
      return it != arrived.end() ? arrival(it->second) : Outcome{"in the folder", "good"};
    }
    case Fate::alias:
      return {"kept once, under another name", "mid"};
    case Fate::left_out:
      return {"not needed: " + line.detail, "mid"};
    case Fate::outside:
      return {"not of the model", "mid"};
  }
  return {};
}

void place(std::vector<Bar>& bars, double total, double height, double gap) {
  double free = height - gap * static_cast<double>(bars.size() - 1);
  double y = 0;
  for (Bar& bar : bars) {
    bar.height = std::max(3.0, free * static_cast<double>(bar.bytes) / total);
    bar.y = y;
    y += bar.height + gap;
  }
}

Bar& bar_named(std::vector<Bar>& bars, const std::string& name) {
  for (Bar& bar : bars) {
    if (bar.name == name) return bar;
  }
  bars.push_back({name});
  return bars.back();
}

// A label cut to what fits beside a bar.
std::string cut(const std::string& text, std::size_t most) {
  return text.size() <= most ? text : text.substr(0, most - 3) + "...";
}

}  // namespace

std::string account_chart(const std::vector<AccountLine>& account,
                          const std::map<std::string, TensorOutcome>& arrived) {
  if (account.empty()) return "";
  std::map<std::string, std::string> looks;  // outcome -> class
  std::vector<Bar> kinds, outcomes;
  for (const AccountLine& line : account) {
    Bar& kind = bar_named(kinds, kind_of(line.source));
    kind.bytes += line.bytes;
    ++kind.count;
  }
  std::sort(kinds.begin(), kinds.end(),
            [](const Bar& a, const Bar& b) { return a.bytes > b.bytes; });
  std::map<std::string, std::string> shown;  // kind -> the bar it is drawn in
  std::vector<Bar> left;
  for (const Bar& kind : kinds) {
    std::string name =
        left.size() < kMostKinds - 1 || kinds.size() <= kMostKinds ? kind.name : "other tensors";
    shown[kind.name] = name;
    Bar& bar = bar_named(left, name);
    bar.bytes += kind.bytes;
    bar.count += kind.count;
  }
  std::map<std::pair<std::string, std::string>, std::uint64_t> flows;
  double total = 0;
  for (const AccountLine& line : account) {
    const Outcome outcome = outcome_of(line, arrived);
    looks[outcome.name] = outcome.look;
    Bar& bar = bar_named(outcomes, outcome.name);
    bar.bytes += line.bytes;
    ++bar.count;
    flows[{shown[kind_of(line.source)], outcome.name}] += line.bytes;
    total += static_cast<double>(line.bytes);
  }
  std::stable_sort(outcomes.begin(), outcomes.end(),
                   [](const Bar& a, const Bar& b) { return a.bytes > b.bytes; });
  if (total == 0) total = 1;
  double height =
      std::max<double>(360, 44.0 * static_cast<double>(std::max(left.size(), outcomes.size())));
  place(left, total, height, 26);
  place(outcomes, total, height, 26);
  double bottom =
      std::max(left.back().y + left.back().height, outcomes.back().y + outcomes.back().height);
  constexpr double kX0 = 218, kX1 = 500, kBar = 10;
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 720 {:.0f}\" role=\"img\" aria-label=\"Source tensors and what became of "
      "them\">",
      bottom + 24);
  for (Bar& from : left) {
    for (Bar& to : outcomes) {
      auto flow = flows.find({from.name, to.name});
      if (flow == flows.end()) continue;
      double a = from.height * static_cast<double>(flow->second) /
                 static_cast<double>(std::max<std::uint64_t>(from.bytes, 1));
      double b = to.height * static_cast<double>(flow->second) /
                 static_cast<double>(std::max<std::uint64_t>(to.bytes, 1));
      double y0 = from.y + from.used + 8, y1 = to.y + to.used + 8, mid = (kX0 + kX1) / 2;
      from.used += a;
      to.used += b;
      svg += fmt::format(
          "<path class=\"flow {}\" d=\"M{:.1f},{:.1f} C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f} "
          "L{:.1f},{:.1f} C{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f} Z\"/>",
          looks[to.name], kX0 + kBar, y0, mid, y0, mid, y1, kX1, y1, kX1, y1 + b, mid, y1 + b, mid,
          y0 + a, kX0 + kBar, y0 + a);
    }
  }
  auto draw = [&](const Bar& bar, double x, double text_x, const char* anchor, const char* cls,
                  std::size_t most) {
    svg +=
        fmt::format("<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{:.1f}\"/>",
                    cls, x, bar.y + 8, kBar, bar.height);
    double y = bar.y + 8 + bar.height / 2;
    svg +=
        fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"><title>{}</title>{}</text>",
                    text_x, y, anchor, escaped(bar.name), escaped(cut(bar.name, most)));
    svg += fmt::format(
        "<text class=\"dim\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{} of {}</text>", text_x,
        y + 13, anchor, bytes(bar.bytes),
        bar.count == 1 ? "1 tensor" : std::to_string(bar.count) + " tensors");
  };
  for (const Bar& bar : left) draw(bar, kX0, kX0 - 6, "end", "fa", 32);
  for (const Bar& bar : outcomes)
    draw(bar, kX1, kX1 + kBar + 6, "start", looks[bar.name].c_str(), 30);
  return "<figure>" + svg +
         "</svg><figcaption>Every tensor of the source, by kind and bytes, and what became of "
         "it.</figcaption></figure>\n";
}

}  // namespace wb::report
