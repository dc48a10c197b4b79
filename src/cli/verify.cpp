// `weightbridge verify SRC DIR`: both sides run on the same text, compared, judged,
// and drawn. The exit code is the verdict.
#include <unistd.h>

#include <filesystem>
#include <limits>
#include <random>

#include "base/json.h"
#include "base/progress.h"
#include "cli/account.h"
#include "cli/cli.h"
#include "cli/verify.h"

namespace wb::cli {

namespace {

double roundoff(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return 0x1p-11;
    case DType::BF16:
      return 0x1p-8;
    case DType::F8_E4M3:
      return 0x1p-4;
    case DType::F8_E5M2:
      return 0x1p-3;
    default:
      return 0x1p-24;
  }
}
// The worst rounding that the folder's weights went through: of the types narrower than the
// source's.
double weight_roundoff(const CanonicalModel& source, const CanonicalModel& folder) {
  double worst = 0x1p-24;
  for (const auto& [name, tensor] : folder.tensors) {
    const bool narrower = !source.has(name) ||
                          bits(tensor.dtype()) < bits(source.at(name).dtype()) ||
                          (bits(tensor.dtype()) == bits(source.at(name).dtype()) &&
                           tensor.dtype() != source.at(name).dtype());
    if (narrower) worst = std::max(worst, roundoff(tensor.dtype()));
  }
  return worst;
}

// Multi-token heads apart, which do not enter the logits.
bool same_description(ModelSpec a, const ModelSpec& b) {
  a.num_nextn_predict_layers = b.num_nextn_predict_layers;
  a.mtp_combine_bias = b.mtp_combine_bias;
  a.mtp_norm = b.mtp_norm;
  return compare(a, b).empty();
}

// A folder that claims to compute what the source computes: the same description and no
// quantised weight, or a manifest without a loss.
bool claims_to_be_faithful(const LoadedModel& source, const LoadedModel& folder,
                           const std::string& path) {
  const nlohmann::json config =
      read_json_file(path + "/config.json", "Restore the file as it was written.");
  if (config.is_object() && config.contains("quantization")) return false;
  if (same_description(source.model.spec, folder.model.spec)) return true;
  const auto& m = folder.manifest;
  return m.is_object() && m.contains("losses") && m["losses"].empty() && m.contains("sums") &&
         m["sums"].is_object() && m["sums"].contains("lossy") && m["sums"]["lossy"] == 0;
}

Windows windows_of(const VerifyFlags& flags, const ModelSpec& spec,
                   const std::optional<Tokenizer>& tokenizer, VerifyFindings& found) {
  std::uint64_t window = flags.window > 0 ? flags.window : default_window(spec);
  std::uint64_t most =
      flags.max_windows > 0 ? flags.max_windows : std::numeric_limits<std::uint64_t>::max();
  std::vector<std::uint32_t> tokens;
  if (!flags.text.empty()) {
    if (!tokenizer) require_tokenizer(flags.tokenizer, flags.folder);
    tokens = tokenizer->encode(read_text_file(flags.text));
    found.text_name = std::filesystem::path(flags.text).filename().string();
  } else if (!flags.tokens.empty()) {
    tokens = parse_tokens(flags.tokens, spec.vocab_size);
    found.text_name = std::filesystem::path(flags.tokens).filename().string();
  } else {
    // Without a text the sides can still be compared; their perplexities mean nothing then.
    std::mt19937 random(1);  // the same tokens every time, on every machine
    window = std::min<std::uint64_t>(window, 128);
    for (std::uint64_t i = 0; i < 4 * window; ++i)
      tokens.push_back(static_cast<std::uint32_t>(random() % spec.vocab_size));
    found.text_name = "random tokens";
    found.remarks.push_back(
        "No --text and no --tokens: compared on random tokens, whose perplexity means nothing.");
  }
  if (tokens.size() < 2) {
    throw Error(Code::usage, "the text is too short to compare on")
        .expected("2 tokens or more")
        .actual(std::to_string(tokens.size()))
        .advice("Give a longer --text.");
  }
  return cut_windows(tokens, window, most);
}

VerifyFindings examine(VerifyFlags flags) {
  VerifyFindings found;
  SourceFlags folder_flags;
  folder_flags.path = flags.folder;
  found.folder = load_any(folder_flags, reader_from_name(flags.as));
  if (!found.folder.is_folder) {
    throw Error(Code::usage, "the second argument is not an MLX folder")
        .file(flags.folder)
        .advice("Give the folder that convert wrote.");
  }
  settings_from_manifest(flags.source, found.folder.manifest, found.remarks);
  found.source = load_source(flags.source);
  const DecoderOptions how{.kernels = ops::Kernels::fast, .threads = flags.threads};
  const Decoder source(found.source.model, how), folder(found.folder.model, how);
  const auto tokenizer = tokenizer_for(flags.tokenizer, flags.folder);
  const Windows windows = windows_of(flags, source.spec(), tokenizer, found);
  CompareOptions options;
  options.weight_roundoff = weight_roundoff(found.source.model, found.folder.model);
  options.threads = flags.threads;
  ProgressBar bar(STDERR_FILENO, "Comparing");
  options.progress = [&bar](std::uint64_t done, std::uint64_t total) { bar.update(done, total); };
  found.comparison = compare_models(source, folder, windows, options);
  bar.finish();
  found.tensors = compare_tensors(found.source.model, found.folder.model, flags.threads);
  found.faithful = claims_to_be_faithful(found.source, found.folder, flags.folder);
  found.checks = judge(*found.comparison, flags.thresholds, found.faithful);
  if (same_description(found.source.model.spec, found.folder.model.spec) && found.faithful)
    found.checks.push_back(judge(found.tensors));
  if (!flags.reference.empty()) {
    found.reference =
        compare_reference(source, open_checkpoint(flags.reference), 0x1p-24, flags.threads);
    for (Check& c : judge(*found.reference, flags.thresholds)) found.checks.push_back(std::move(c));
  }
  return found;
}

int verify(const VerifyFlags& flags, bool json) {
  const VerifyFindings found = examine(flags);
  if (!flags.report.empty()) write_report(flags, found);
  if (json) {
    print_json(verify_document(flags, found));
  } else {
    print(verify_text(flags, found));
  }
  return all_pass(found.checks) ? kDone : kVerificationFailed;
}

}  // namespace

void add_verify(CLI::App& app, Session& session) {
  auto flags = std::make_shared<VerifyFlags>();
  CLI::App* command =
      app.add_subcommand("verify", "Run source and folder on the same text and compare them");
  add_source_flags(*command, flags->source);
  command->add_option("DIR", flags->folder, "MLX folder that was converted from SRC")
      ->required()
      ->option_text(" ");
  command->add_option("--text", flags->text, "Text to compare on; needs a tokenizer")
      ->option_text("FILE");
  command
      ->add_option("--tokens", flags->tokens,
                   "Token ids to compare on (.u16, .u32, safetensors, or 1,2,3)")
      ->option_text("IDS");
  command->add_option("--tokenizer", flags->tokenizer, "tokenizer.json (default: the folder's)")
      ->option_text("PATH");
  command
      ->add_option("--reference", flags->reference,
                   "Tokens and logits that your own program exported (safetensors)")
      ->option_text("FILE");
  command->add_option("--report", flags->report, "Write a page with pictures")
      ->option_text("FILE.html");
  command
      ->add_option("--window", flags->window,
                   "Tokens in a window (default: the context, at most 1024)")
      ->check(CLI::Range(std::uint64_t{2}, std::uint64_t{1} << 20))
      ->option_text("N");
  command->add_option("--max-windows", flags->max_windows, "Most windows to compare (default: all)")
      ->option_text("N");
  command->add_option("--max-kl", flags->thresholds.max_kl, "Fail above this mean KL, nats")
      ->option_text("X");
  command
      ->add_option("--min-top1", flags->thresholds.min_top1,
                   "Fail below this share of equal likeliest tokens")
      ->check(CLI::Range(0.0, 1.0))
      ->option_text("X");
  command->add_option("--max-abs", flags->thresholds.max_abs, "Fail above this logit difference")
      ->option_text("X");
  command
      ->add_option("--max-perplexity-ratio", flags->thresholds.max_perplexity_ratio,
                   "Fail above this ratio of perplexities")
      ->option_text("X");
  command->add_option("--as", flags->as, "Read a stock folder as mlx-lm does, or as swift does")
      ->check(CLI::IsMember({"mlx-lm", "swift"}))
      ->option_text("mlx-lm|swift [mlx-lm]");
  command->add_option("--threads", flags->threads, "Threads to work on (default: every core)")
      ->check(CLI::Range(1u, 1024u))
      ->option_text("N");
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return verify(*flags, session.json); };
  });
}

}  // namespace wb::cli
