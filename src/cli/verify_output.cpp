// How verify says what it found: text, JSON, and what the report is made from.
#include <filesystem>
#include <fstream>
#include <map>

#include "base/json.h"
#include "cli/verify.h"
#include "package/texts.h"
#include "verify/report.h"
#include "weightbridge/version.h"

namespace wb::cli {

namespace {

std::vector<ReportLoss> losses_of(const nlohmann::json& manifest) {
  std::vector<ReportLoss> out;
  if (!manifest.is_object() || !manifest.contains("losses") || !manifest["losses"].is_array())
    return out;
  for (const auto& loss : manifest["losses"]) {
    if (!loss.is_object()) continue;
    const auto number = loss.find("number");
    const bool counted = number != loss.end() && number->is_number_unsigned() && *number < 1000;
    ReportLoss row{counted ? number->get<int>() : 0,
                   text_member(loss, "source_computes"),
                   text_member(loss, "target_makes"),
                   {}};
    if (loss.contains("tensors") && loss["tensors"].is_array()) {
      for (const auto& t : loss["tensors"]) {
        if (t.is_string()) row.tensors.push_back(t.get<std::string>());
        if (t.is_object()) row.tensors.push_back(text_member(t, "pattern"));
      }
    }
    out.push_back(std::move(row));
  }
  return out;
}

std::string target_of(const nlohmann::json& manifest) {
  return text_member(manifest, "target", "unknown");
}

// "mtp.{}.block.attn.k_nope.weight" -> "mtp.{}.*": what goes missing goes by whole parts.
std::string part_of(const std::string& pattern) {
  const std::size_t dot = pattern.find('.', pattern.find('.') + 1);
  return dot == std::string::npos ? pattern : pattern.substr(0, dot) + ".*";
}

// How many tensors arrived as what, then each kind whose values are not the source's. What was
// rounded is only counted here; --json and the report list every kind.
std::string tensors_text(const TensorComparison& tensors) {
  constexpr std::size_t kMostRows = 16;
  using enum TensorOutcome;
  std::string sums;
  for (const TensorOutcome outcome :
       {equal, equal_value, rounded, changed, reshaped, only_source, only_folder}) {
    const std::uint64_t n = tensors.count(outcome);
    if (n == 0) continue;
    sums += fmt::format("{}{} {}", sums.empty() ? "" : "; ", grouped(n), name(outcome));
  }
  std::string out = "  " + wrapped("tensors: " + sums, 4) + "\n";
  std::vector<std::vector<std::string>> rows;
  std::map<std::string, std::uint64_t> missing;
  for (const TensorRow& row : tensors.rows) {
    if (row.outcome == only_source) missing[part_of(row.pattern)] += row.count;
    if (row.outcome != changed && row.outcome != reshaped && row.outcome != only_folder) continue;
    rows.push_back({printable(row.pattern), row.count == 1 ? "" : fmt::format("x{}", row.count),
                    row.source, row.folder, std::string(name(row.outcome)),
                    row.relative > 0 ? fmt::format("by {:.1e}", row.relative) : ""});
  }
  for (const auto& [part, count] : missing) {
    rows.push_back({printable(part), count == 1 ? "" : fmt::format("x{}", count), "", "",
                    std::string(name(only_source)), ""});
  }
  const std::size_t more = rows.size() > kMostRows ? rows.size() - kMostRows : 0;
  rows.resize(rows.size() - more);
  if (!rows.empty()) rows.insert(rows.begin(), {"", "", "source", "folder", "", ""});
  out += table(rows, 4, {1});
  if (more > 0)
    out += fmt::format("    and {}: --json and the report have all\n", counted(more, "more kind"));
  return out;
}

}  // namespace

void write_report(const VerifyFlags& flags, const VerifyFindings& found) {
  ReportInput in;
  in.source = std::filesystem::path(flags.source.path).filename().string();
  in.folder = std::filesystem::path(flags.folder).filename().string();
  in.target = target_of(found.folder.manifest);
  in.recipe = found.source.model.recipe;
  in.version = WEIGHTBRIDGE_VERSION;
  in.text_name = found.text_name;
  in.checks = found.checks;
  in.comparison = &*found.comparison;
  in.reference = found.reference ? &*found.reference : nullptr;
  in.account = found.source.model.account;
  in.arrived = source_outcomes(found.source.model, found.tensors);
  in.tensors = &found.tensors;
  in.losses = losses_of(found.folder.manifest);
  const auto tokenizer = tokenizer_for(flags.tokenizer, flags.folder);
  if (tokenizer) in.token_text = [&](std::uint32_t id) { return tokenizer->token_bytes(id); };
  std::ofstream file(flags.report, std::ios::binary);
  const std::string page = report_html(in);
  file.write(page.data(), static_cast<std::streamsize>(page.size()));
  file.close();
  if (!file)
    throw Error(Code::file_write, "the report cannot be written")
        .file(flags.report)
        .advice("Check the path and the space on its disk.");
}

std::string verify_text(const VerifyFlags& flags, const VerifyFindings& found) {
  const ModelComparison& c = *found.comparison;
  std::string out =
      bold(fmt::format("{} against {}", printable(flags.source.path), printable(flags.folder))) +
      "\n";
  out +=
      fmt::format("  target {}; {} windows of {} tokens of {}\n", target_of(found.folder.manifest),
                  c.windows, c.window, printable(found.text_name));
  for (const std::string& r : found.remarks) out += fmt::format("  {}\n", wrapped(printable(r), 2));
  out += tensors_text(found.tensors);
  out +=
      table({{"", "source", "folder"},
             {"perplexity",
              fmt::format("{:.5f} ± {:.2g}", c.source.perplexity(), c.source.perplexity_error()),
              fmt::format("{:.5f} ± {:.2g}", c.output.perplexity(), c.output.perplexity_error())},
             {"mean loss, nats", fmt::format("{:.6f}", c.source.mean_nll),
              fmt::format("{:.6f}", c.output.mean_nll)}},
            2);
  out += fmt::format(
      "  mean KL {:.3g} nats, top-1 agreement {:.2f} %, top-5 {:.2f} %, largest logit difference "
      "{:.3g}\n",
      c.logits.mean_kl, 100 * c.logits.top1, 100 * c.logits.top5, c.logits.max_abs);
  std::vector<std::vector<std::string>> rows = {
      {"layer", "relative difference", "rounding explains", "same experts"}};
  for (std::size_t l = 0; l < c.layers.size(); ++l) {
    const LayerComparison& layer = c.layers[l];
    rows.push_back({std::to_string(l), fmt::format("{:.2e}", layer.hidden.relative),
                    fmt::format("{:.1e}", layer.tolerance),
                    layer.router.tokens > 0
                        ? fmt::format("{:.2f} %", 100 * layer.router.same_choice)
                        : "dense"});
  }
  out += table(rows, 2, {1, 2, 3});
  if (c.parts_at) out += fmt::format("  the first layer that parts is layer {}\n", *c.parts_at);
  if (found.reference) {
    out += fmt::format(
        "  reference: largest logit difference {:.3g}, mean KL {:.3g} nats, over {} positions{}\n",
        found.reference->logits.max_abs, found.reference->logits.mean_kl,
        found.reference->logits.positions,
        found.reference->parts_at ? fmt::format("; parts at layer {}", *found.reference->parts_at)
                                  : "");
  }
  for (const Check& check : found.checks) {
    out += fmt::format("  {} {}: {:.4g}, limit {} {:.4g} ({})\n",
                       check.pass ? "ok  " : bold("FAIL"), check.name, check.measured,
                       check.at_least ? "at least" : "at most", check.limit, check.why);
  }
  if (!all_pass(found.checks)) {
    for (const ReportLoss& loss : losses_of(found.folder.manifest)) {
      out += fmt::format("  {:>2}. {}\n", loss.number,
                         wrapped(fmt::format("the source computes {}; the folder makes of it {}",
                                             loss.source_computes, loss.target_makes),
                                 6));
    }
  }
  out += bold(all_pass(found.checks) ? "verified: every check holds\n"
                                     : "NOT the same model: a check fails\n");
  if (!flags.report.empty()) out += fmt::format("report: {}\n", printable(flags.report));
  return out;
}

Json verify_document(const VerifyFlags& flags, const VerifyFindings& found) {
  Json checks = Json::array();
  for (const Check& c : found.checks) {
    checks.push_back({{"name", c.name},
                      {"measured", c.measured},
                      {"limit", c.limit},
                      {"at_least", c.at_least},
                      {"pass", c.pass},
                      {"why", c.why}});
  }
  Json out{{"source", flags.source.path},
           {"folder", flags.folder},
           {"target", target_of(found.folder.manifest)},
           {"text", found.text_name},
           {"pass", all_pass(found.checks)},
           {"faithful_claim", found.faithful},
           {"checks", checks},
           {"tensors", to_json(found.tensors)},
           {"comparison", to_json(*found.comparison)}};
  if (found.reference) out["reference"] = to_json(*found.reference);
  if (!flags.report.empty()) out["report"] = flags.report;
  out["remarks"] = found.remarks;
  return out;
}

}  // namespace wb::cli
