// `weightbridge convert SRC -o DIR`: a checkpoint in, an MLX folder out, with the
// account of every source entry.
#include <unistd.h>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>

#include "base/progress.h"
#include "cli/account.h"
#include "cli/calibration.h"
#include "cli/cli.h"
#include "cli/integrity.h"
#include "cli/interrupt.h"
#include "cli/quantise_flags.h"
#include "cli/ranks.h"
#include "cli/size.h"
#include "cli/source.h"
#include "convert/convert.h"
#include "package/beside.h"
#include "package/job.h"

namespace wb::cli {

namespace {

struct Flags {
  SourceFlags source;
  TargetFlags target;
  CalibrationFlags calibration;
  QuantFlags quant;
  std::string output, tokenizer, shard_size = "5GiB";
  unsigned threads = 0;
  bool no_sync = false, sha256 = false, no_crc = false, force = false;
  bool resume = false, consume = false, check = false;
};

std::uint64_t shard_bytes(const Flags& flags) {
  return parse_size("--shard-size", flags.shard_size,
                    "For example --shard-size 5GiB, which is the default.");
}

// Only a shard of several may go while the others are still read.
ConvertJob::Consume consumable(const Checkpoint& checkpoint, const MappedFile& file) {
  using enum ConvertJob::Consume;
  const bool shard = checkpoint.container == Container::safetensors_sharded &&
                     (file.path().ends_with(".safetensors") || file.path().ends_with(kConsumedEnd));
  return !shard ? never : file.touched() ? at_end : when_used;
}

ConvertResult write_folder(const Flags& flags, const Checkpoint& checkpoint,
                           const CanonicalModel& model, const LoweredModel& lowered,
                           const FolderFiles& folder) {
  ConvertJob job;
  job.model = &lowered;
  job.destination = flags.output;
  job.sources = checkpoint.files;
  if (!flags.no_crc) job.checks = crc_checks(checkpoint);
  job.files = folder.files;
  const Json steps = flags.calibration.text.empty() ? Json(nullptr) : Json(flags.calibration.steps);
  job.manifest = folder_manifest(
      {flags.target.dtype, flags.target.mtp, flags.target.widths, steps, shard_bytes(flags)},
      checkpoint, model, lowered);
  job.shard_size = shard_bytes(flags);
  job.sync = !flags.no_sync;
  job.sha256 = flags.sha256;
  job.force = flags.force;
  job.resume = flags.resume;
  job.consume = flags.consume;
  for (const auto& file : checkpoint.files) job.consumable.push_back(consumable(checkpoint, *file));
  job.ranks = ranks();
  job.threads = flags.threads;
  ProgressBar bar(STDERR_FILENO, "Writing");
  if (job.ranks.rank == 0) {
    job.progress = [&bar](const Progress& p) { bar.update(p.done, p.total); };
  }
  DeferInterrupts deferred;
  ConvertResult result = convert(job);
  deferred.keep();
  return result;
}

std::string written_text(const ConvertResult& result, const std::string& destination) {
  std::vector<std::vector<std::string>> rows;
  for (const WrittenFile& f : result.files) {
    rows.push_back(
        {f.name, human_bytes(f.bytes), dim(f.xxh3_128.empty() ? "" : "xxh3 " + f.xxh3_128)});
    if (!f.sha256.empty()) rows.push_back({"", "", dim("sha256 " + f.sha256)});
  }
  return bold(fmt::format("{} written to {}", counted(result.files.size(), "file"),
                          printable(destination))) +
         "\n" + table(rows, 2, {1}) +
         (result.resumed > 0 ? fmt::format("  {} from before {} checked and kept\n",
                                           counted(result.resumed, "weight file"),
                                           result.resumed == 1 ? "was" : "were")
                             : "") +
         (result.consumed.empty() ? ""
                                  : fmt::format("  {} of the source deleted\n",
                                                counted(result.consumed.size(), "file")));
}

std::string text(const Flags& flags, const Checkpoint& checkpoint, const CanonicalModel& model,
                 const LoweredModel& lowered, const std::optional<QuantSummary>& quant,
                 const FolderFiles& folder, const ConvertResult& result) {
  std::string out =
      bold(fmt::format("{} -> {}", printable(checkpoint.path), printable(flags.output))) + "\n";
  out += fmt::format("  recipe {}, prefix {}, target {}\n", printable(model.recipe),
                     prefix_text(model.prefix), lowered.target);
  out += reasons_text(lowered);
  if (!model.settings.empty()) {
    out += bold("settings that shapes can't tell") + "\n" + settings_text(model);
  }
  out += account_text(lowered) + losses_text(lowered) + quant_text(quant) +
         written_text(result, flags.output);
  for (const std::string& remark : folder.remarks) {
    out += fmt::format("  {}\n", wrapped(printable(remark), 2));
  }
  return out;
}

Json document(const Flags& flags, const Checkpoint& checkpoint, const CanonicalModel& model,
              const LoweredModel& lowered, const std::optional<QuantSummary>& quant,
              const FolderFiles& folder, const ConvertResult& result) {
  Json files = Json::array();
  for (const WrittenFile& f : result.files) {
    Json file{{"name", f.name}, {"bytes", f.bytes}, {"xxh3_128", f.xxh3_128}};
    if (!f.sha256.empty()) file["sha256"] = f.sha256;
    files.push_back(file);
  }
  return Json{{"source", checkpoint.path},
              {"output", flags.output},
              {"recipe", model.recipe},
              {"prefix", model.prefix},
              {"target", lowered.target},
              {"reasons", lowered.reasons},
              {"settings", settings_json(model)},
              {"sums", sums_json(sums_of(lowered))},
              {"account", account_json(lowered)},
              {"losses", losses_json(lowered)},
              {"quantization", quant_json(quant)},
              {"files", files},
              {"resumed", result.resumed},
              {"consumed", result.consumed},
              {"remarks", folder.remarks}};
}

// Cheap refusals before the work; the writer checks again when it makes the folder.
void refuse_early(const Flags& flags) {
  shard_bytes(flags);
  check_quant_flags(flags.quant);
  if (flags.consume && flags.no_sync) {
    throw Error(Code::usage,
                "--consume deletes what is on disk elsewhere, so it cannot go with "
                "--no-sync")
        .advice("Leave out one of the two.");
  }
  std::error_code failed;
  if (!flags.force && std::filesystem::exists(flags.output, failed)) {
    throw Error(Code::output_exists, "the output is already there")
        .file(flags.output)
        .advice("Choose another name, or replace it with --force.");
  }
}

int convert_command(const Flags& flags, bool json) {
  refuse_early(flags);
  const Checkpoint checkpoint = open_source(flags.source, flags.resume);
  if (flags.consume && checkpoint.container != Container::safetensors_sharded) {
    throw Error(Code::usage, "--consume is for checkpoints in several safetensors files")
        .file(flags.source.path)
        .actual(std::string(name(checkpoint.container)))
        .advice("Convert without it, and delete the file afterwards.");
  }
  if (flags.check && ranks().rank == 0) {
    const IntegrityFindings found = check_integrity(checkpoint, flags.threads);
    if (!json) print(integrity_text(found));
  }
  const CanonicalModel model =
      apply_source(flags.source, recognise_source(flags.source, checkpoint), checkpoint);
  std::vector<std::string> remarks;
  const auto calibration =
      run_calibration(flags.calibration, flags.source, flags.target, flags.tokenizer, model,
                      flags.threads, flags.quant.bits == "auto", remarks);
  LoweredModel lowered = lower_source(flags.target, model, values_of(calibration));
  std::vector<std::vector<std::uint32_t>> windows;
  if (flags.quant.bits == "auto") {
    windows = calibration_windows(flags.calibration, flags.source, flags.tokenizer, model.spec);
  }
  const auto quant = quantise(flags.quant, lowered, flags.threads, windows);
  FolderFiles folder = tokenizer_files(flags.tokenizer, flags.source.path, model.spec.vocab_size);
  folder.remarks.insert(folder.remarks.begin(), remarks.begin(), remarks.end());
  add_class_file(lowered, folder);
  folder.files.push_back(model_card(source_name(flags.source.path), model, lowered));
  const ConvertResult result = write_folder(flags, checkpoint, model, lowered, folder);
  if (ranks().rank != 0) return kDone;  // the first one speaks for all
  if (json) {
    print_json(document(flags, checkpoint, model, lowered, quant, folder, result));
  } else {
    print(text(flags, checkpoint, model, lowered, quant, folder, result));
  }
  return kDone;
}

}  // namespace

void add_convert(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("convert", "Write an MLX folder, with an account of every tensor");
  add_source_flags(*command, flags->source);
  command
      ->add_option("-o,--output", flags->output, "Folder to write; it appears whole or not at all")
      ->required()
      ->check(not_a_flag)
      ->option_text("DIR");
  add_target_flags(*command, flags->target);
  command
      ->add_option("--tokenizer", flags->tokenizer,
                   "tokenizer.json, or the folder with it (default: looked for beside SRC)")
      ->check(not_a_flag)
      ->option_text("PATH");
  add_calibration_flags(*command, flags->calibration);
  add_quant_flags(*command, flags->quant);
  command->add_option("--shard-size", flags->shard_size, "Most bytes of one weight file")
      ->option_text("SIZE [5GiB]");
  command->add_option("--threads", flags->threads, "Threads to work on (default: every core)")
      ->check(CLI::Range(1u, 1024u))
      ->option_text("N");
  command->add_flag("--no-sync", flags->no_sync, "Do not wait until the disk has everything");
  command->add_flag("--sha256", flags->sha256, "Fingerprint files by SHA-256 too");
  command->add_flag("--no-crc", flags->no_crc, "Do not check the source's CRC-32 sums");
  command->add_flag(
      "--check", flags->check,
      "Hold the source to all sums and hashes that are recorded, before anything else");
  command->add_flag("--resume", flags->resume,
                    "Go on with an unfinished conversion, its files checked; keep what is done");
  command->add_flag("--consume", flags->consume,
                    "DELETE each source shard once all it feeds is safely written");
  command->add_flag("--force", flags->force, "Replace an existing output folder");
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return convert_command(*flags, session.json); };
  });
}

}  // namespace wb::cli
