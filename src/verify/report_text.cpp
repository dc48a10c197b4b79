// Escaping, numbers and the token-by-token text of report.html.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "verify/report_parts.h"

namespace wb::report {

namespace {

constexpr std::size_t kMostTokens = 1500;  // shown in full; the rest is in the charts

// Length of the valid UTF-8 sequence at `text[at]`, 0 when there is none.
std::size_t sequence_length(std::string_view text, std::size_t at) {
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  unsigned first = byte(0);
  std::size_t n = first < 0x80                    ? 1
                  : first >= 0xc2 && first < 0xe0 ? 2
                  : first >= 0xe0 && first < 0xf0 ? 3
                  : first >= 0xf0 && first < 0xf5 ? 4
                                                  : 0;
  if (n == 0 || at + n > text.size()) return 0;
  for (std::size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xc0u) != 0x80u) return 0;
  }
  return n;
}

// Class of a token by how the folder's loss differs: w3 w2 w1 (worse), e, b1 b2 b3 (better).
const char* loss_class(double difference) {
  double size = std::fabs(difference);
  if (size < 0.05) return "e";
  int step = size < 0.25 ? 0 : size < 1.0 ? 1 : 2;
  static constexpr const char* worse[] = {"w1", "w2", "w3"};
  static constexpr const char* better[] = {"b1", "b2", "b3"};
  return difference > 0 ? worse[step] : better[step];
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t n = sequence_length(text, i);
    char c = text[i];
    if (n == 0 || (n == 1 && static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') ||
        c == 0x7f) {
      out += "\xef\xbf\xbd";
      ++i;
      continue;
    }
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += text.substr(i, n);
    i += n;
  }
  return out;
}

std::string number(double value) {
  if (value == 0) return "0";
  double size = std::fabs(value);
  if (!std::isfinite(value)) return "not a number";
  if (size >= 1e5 || size < 1e-3) return fmt::format("{:.2e}", value);
  if (size >= 100) return fmt::format("{:.1f}", value);
  return fmt::format("{:.4g}", value);
}

std::string percent(double share) {
  return share == 1.0 ? "100 %" : fmt::format("{:.2f} %", std::min(100.0 * share, 99.99));
}

std::string bytes(std::uint64_t n) {
  auto d = static_cast<double>(n);
  if (d < 1024) return fmt::format("{} B", n);
  if (d < 1024 * 1024) return fmt::format("{:.1f} KiB", d / 1024);
  if (d < 1024.0 * 1024 * 1024) return fmt::format("{:.1f} MiB", d / (1024 * 1024));
  return fmt::format("{:.2f} GiB", d / (1024.0 * 1024 * 1024));
}

std::string token_text(const ModelComparison& comparison,
                       const std::function<std::string(std::uint32_t)>& text) {
  std::string out =
      "<p class=\"legend\"><span class=\"t w3\">much worse</span> <span class=\"t "
      "w2\">worse</span> "
      "<span class=\"t w1\">a little worse</span> <span class=\"t e\">equal</span> "
      "<span class=\"t b1\">a little better</span> <span class=\"t b2\">better</span> "
      "<span class=\"t b3\">much better</span> in the folder than in the source (steps: 0.05, "
      "0.25, 1 nat)"
      "</p>\n<div class=\"tokens\">";
  std::size_t shown = std::min(kMostTokens, comparison.tokens.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const TokenLoss& t = comparison.tokens[i];
    if (t.window_start && i > 0) out += "<hr>";
    double difference = static_cast<double>(t.output) - static_cast<double>(t.source);
    std::string shown_text = text ? escaped(text(t.token)) : std::to_string(t.token) + " ";
    out += fmt::format("<span class=\"t {}\" title=\"source {:.2f}, folder {:.2f} nats\">{}</span>",
                       loss_class(difference), t.source, t.output, shown_text);
  }
  out += "</div>\n";
  if (shown < comparison.tokens.size()) {
    out += fmt::format("<p class=\"note\">The first {} of {} predictions.</p>\n", shown,
                       comparison.tokens.size());
  }
  return out;
}

const char* const kStyle = R"css(
:root{--bg:#fdfdfb;--fg:#1d2126;--dim:#5d6670;--line:#d9dcd8;--card:#f3f4f0;--a:#2563a8;--b:#c2571a;
--good:#1e7b4a;--bad:#b3261e;--w1:#fde6d8;--w2:#f9bd98;--w3:#ef8354;--b1:#ddebf8;--b2:#a9cdf0;--b3:#6aa5dc}
@media(prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e6e7e4;--dim:#9aa3ad;--line:#343a41;--card:#1e2328;
--a:#6fb1f2;--b:#f2955c;--good:#5cc48b;--bad:#ff8a80;--w1:#4a2f20;--w2:#7a4422;--w3:#a9551f;--b1:#1f3550;--b2:#234f7d;--b3:#2b69a8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.25rem 1rem 4rem}
h1{font-size:1.55rem;line-height:1.25;margin:.3rem 0;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2.4rem 0 .5rem}
p{margin:.5rem 0;max-width:46rem}.note,.legend,figcaption,footer{color:var(--dim);font-size:.88rem}
.verdict{border-left:.4rem solid var(--good);background:var(--card);padding:.7rem 1rem;margin:1rem 0;border-radius:.2rem}
.verdict.fail{border-color:var(--bad)}.verdict b{color:var(--good)}.verdict.fail b{color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem;margin:1rem 0}
.card{background:var(--card);border-radius:.3rem;padding:.6rem .8rem}.card b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}
.card span{color:var(--dim);font-size:.82rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.93rem}
th,td{text-align:left;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right}.pass{color:var(--good)}.fail td.r{color:var(--bad);font-weight:600}
figure{margin:1rem 0}svg{display:block;width:100%;height:auto;max-width:46rem}
svg text{fill:var(--fg);font:12px system-ui,"DejaVu Sans",sans-serif}svg .dim{fill:var(--dim)}
svg .grid{stroke:var(--line);stroke-width:1}svg .a{stroke:var(--a);fill:none;stroke-width:2}svg .b{stroke:var(--b);fill:none;stroke-width:2}
svg .fa{fill:var(--a)}svg .fb{fill:var(--b)}svg .tol{stroke:var(--dim);stroke-dasharray:4 4;fill:none;stroke-width:1.5}
svg .dot{fill:var(--a);opacity:.45}svg .bar{fill:var(--a)}svg .good{fill:var(--good)}svg .bad{fill:var(--bad)}svg .mid{fill:var(--dim)}
svg .flow{opacity:.28}
.tokens{white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.75;background:var(--card);padding:.8rem 1rem;border-radius:.3rem;font-size:.95rem}
.t{border-radius:.15rem}.w1{background:var(--w1)}.w2{background:var(--w2)}.w3{background:var(--w3)}
.b1{background:var(--b1)}.b2{background:var(--b2)}.b3{background:var(--b3)}.legend .t{padding:0 .3rem}
hr{border:0;border-top:1px dashed var(--line);margin:.8rem 0}code{font-size:.9em;overflow-wrap:anywhere}
ol.losses{padding-left:1.6rem}ol.losses li{margin:.55rem 0;max-width:46rem}
@media print{body{font-size:10.5pt;background:#fff;color:#000}main{max-width:none;padding:0}h2{break-after:avoid}
figure,.card,.verdict,tr{break-inside:avoid}.t,.verdict,.card,.tokens{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

}  // namespace wb::report
