// The page itself: verdict, numbers, charts, text, account, losses in words.
#include "verify/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "verify/report_parts.h"

namespace wb {

namespace {

using report::escaped;
using report::number;
using report::percent;

std::string card(const std::string& value, const std::string& what) {
  return "<div class=\"card\"><b>" + value + "</b><span>" + what + "</span></div>";
}

std::string verdict(const ReportInput& in) {
  std::size_t failed = 0;
  for (const Check& c : in.checks) failed += c.pass ? 0 : 1;
  if (failed == 0) {
    return "<div class=\"verdict\"><b>Holds.</b> Every check below is within its limit.</div>\n";
  }
  std::string worst;
  for (const Check& c : in.checks) {
    if (!c.pass) {
      worst = fmt::format("{} is {}, the limit is {}", escaped(c.name), number(c.measured),
                          number(c.limit));
      break;
    }
  }
  return fmt::format(
      "<div class=\"verdict fail\"><b>Fails.</b> {} of {} checks do not hold: {}.</div>\n", failed,
      in.checks.size(), worst);
}

std::string cards(const ModelComparison& c) {
  auto perplexity = [](const LossStats& s) {
    return fmt::format("{:.4f} <small>± {:.2g}</small>", s.perplexity(), s.perplexity_error());
  };
  std::string out = "<div class=\"cards\">";
  out += card(perplexity(c.source), "perplexity of the source");
  out += card(perplexity(c.output), "perplexity of the folder");
  out += card(number(c.logits.mean_kl), "mean KL, nats");
  out += card(percent(c.logits.top1), "same likeliest token");
  out += card(percent(c.logits.top5), "shared among the five likeliest");
  out += card(number(c.logits.max_abs), "largest logit difference");
  return out + "</div>\n";
}

std::string checks(const ReportInput& in) {
  std::string out =
      "<div class=\"scroll\"><table><tr><th>check</th><th class=\"n\">measured</th><th "
      "class=\"n\">limit</th>"
      "<th>holds</th><th>where the limit comes from</th></tr>\n";
  for (const Check& c : in.checks) {
    out += fmt::format(
        "<tr class=\"{}\"><td>{}</td><td class=\"n r\">{}</td><td class=\"n\">{} {}</td><td "
        "class=\"r {}\">{}</td><td>{}</td></tr>\n",
        c.pass ? "ok" : "fail", escaped(c.name), number(c.measured), c.at_least ? "≥" : "≤",
        number(c.limit), c.pass ? "pass" : "", c.pass ? "yes" : "NO", escaped(c.why));
  }
  return out + "</table></div>\n";
}

std::string tensors(const TensorComparison& c) {
  std::string out =
      "<h2>Tensors, side by side</h2>\n<p>In canonical names (docs/recipes.md): type and shape on "
      "either side, and whether the values are the same.</p>\n<div class=\"scroll\"><table><tr>"
      "<th>tensors</th><th class=\"n\">count</th><th>source</th><th>folder</th><th>what arrived"
      "</th><th class=\"n\">relative difference</th></tr>\n";
  for (const TensorRow& row : c.rows) {
    out += fmt::format(
        "<tr><td>{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td><td "
        "class=\"n\">{}</td></tr>\n",
        escaped(row.pattern), row.count, row.source.empty() ? "none" : row.source,
        row.folder.empty() ? "none" : row.folder, name(row.outcome),
        row.relative > 0 ? number(row.relative) : "0");
  }
  return out + "</table></div>\n";
}

std::string losses(const ReportInput& in) {
  if (in.losses.empty()) {
    return in.account.empty() ? ""
                              : "<h2>What is lost</h2>\n<p>Nothing of what the model computes: the "
                                "folder says so, and the numbers above are its proof.</p>\n";
  }
  std::string out = "<h2>What is lost, in words</h2>\n<ol class=\"losses\">\n";
  for (const ReportLoss& loss : in.losses) {
    out += fmt::format(
        "<li value=\"{}\"><b>The source computes</b> {}. <b>The folder makes of it</b> {}.",
        loss.number, escaped(loss.source_computes), escaped(loss.target_makes));
    if (!loss.tensors.empty()) {
      out += fmt::format(" <span class=\"note\">{} tensor{}, such as <code>{}</code></span>",
                         loss.tensors.size(), loss.tensors.size() == 1 ? "" : "s",
                         escaped(loss.tensors.front()));
    }
    out += "</li>\n";
  }
  return out + "</ol>\n";
}

std::string reference(const ReferenceComparison& r) {
  std::string out =
      "<h2>Against the reference</h2>\n<p>Logits that the original program exported, beside what "
      "its checkpoint computes here. "
      "This catches what a comparison of two conversions cannot: a wrong recipe.</p>\n<div "
      "class=\"cards\">";
  out += card(number(r.logits.max_abs), "largest logit difference");
  out += card(number(r.logits.mean_kl), "mean KL, nats");
  out += card(percent(r.logits.top1), "same likeliest token");
  out += card(std::to_string(r.logits.positions), "positions");
  out += "</div>\n";
  if (r.parts_at) {
    out += fmt::format("<p>The first layer that parts from the reference is layer {}.</p>\n",
                       *r.parts_at);
  }
  return out;
}

std::string comparison(const ReportInput& in) {
  const ModelComparison& c = *in.comparison;
  std::string out = cards(c);
  out += "<h2>Layer by layer</h2>\n";
  out += c.parts_at ? fmt::format(
                          "<p>The first layer whose output differs by more than rounding explains "
                          "is layer {}.</p>\n",
                          *c.parts_at)
                    : "<p>No layer differs by more than rounding explains.</p>\n";
  out += report::layer_chart(c) + report::router_chart(c);
  out += "<h2>Logits</h2>\n" + report::scatter_chart(c);
  out += "<h2>Loss over the text</h2>\n";
  out += fmt::format(
      "<p>{} predictions in {} windows of {} tokens{}. The folder's loss is {} the source's by {} "
      "± {} nats per token "
      "(paired, one standard error).</p>\n",
      c.source.predictions, c.windows, c.window,
      in.text_name.empty() ? "" : " of " + escaped(in.text_name),
      c.difference.mean_nll >= 0 ? "above" : "below", number(std::abs(c.difference.mean_nll)),
      number(c.difference.standard_error));
  out += report::loss_chart(c) + report::token_text(c, in.token_text);
  return out;
}

}  // namespace

std::string report_html(const ReportInput& in) {
  std::string title = escaped(in.source) + " → " + escaped(in.folder);
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>" +
      title + "</title><style>" + report::kStyle + "</style></head>\n<body><main>\n";
  out += fmt::format("<p class=\"note\">weightbridge {} · recipe {} · target {}</p>\n<h1>{}</h1>\n",
                     escaped(in.version), escaped(in.recipe), escaped(in.target), title);
  out += verdict(in);
  if (in.comparison != nullptr) out += comparison(in);
  if (in.reference != nullptr) out += reference(*in.reference);
  out += "<h2>Checks</h2>\n" + checks(in);
  if (!in.account.empty())
    out += "<h2>The account of tensors</h2>\n" + report::account_chart(in.account, in.arrived);
  if (in.tensors != nullptr) out += tensors(*in.tensors);
  out += losses(in);
  out +=
      "<footer><p>Definitions and tolerances: docs/verify.md. This page loads "
      "nothing.</p></footer>\n</main></body></html>\n";
  return out;
}

}  // namespace wb
