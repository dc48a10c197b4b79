// See forecast.h.
#include "cli/forecast.h"

#include <fstream>

#include "base/progress.h"
#include "cli/size.h"
#include "convert/convert.h"

namespace wb::cli {

namespace {

constexpr double kSampleSeconds = 0.5;

// RssAnon of this process, where the system tells.
std::uint64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    std::uint64_t kilobytes = 0;
    if (key == "RssAnon:" && status >> kilobytes) return kilobytes << 10;
  }
  return 0;
}

struct Share {
  std::size_t files = 0;
  std::uint64_t bytes = 0;
};
std::vector<Share> shares(const Forecast& f) {
  std::vector<Share> out(f.rank_count);
  for (std::size_t i = 0; i < f.layout.files.size(); ++i) {
    ++out[f.ranks[i]].files;
    out[f.ranks[i]].bytes += f.layout.files[i].bytes;
  }
  return out;
}

std::uint64_t total(const FolderLayout& layout) {
  std::uint64_t bytes = 0;
  for (const TensorFile& file : layout.files) bytes += file.bytes;
  return bytes;
}

std::string duration(double seconds) {
  if (seconds < 90) return fmt::format("{:.1f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.1f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

}  // namespace

void add_forecast_flags(CLI::App& command, ForecastFlags& flags) {
  command.add_option("--shard-size", flags.shard_size, "Most bytes of one weight file")
      ->option_text("SIZE [5GiB]");
  command.add_option("--ranks", flags.ranks, "Show how mpirun -n N would split the files")
      ->check(CLI::Range(1u, 65536u))
      ->option_text("N");
  command.add_flag("--estimate", flags.estimate,
                   "Make a sample of the output, unwritten, to say how long it will take");
}

Forecast forecast(const ForecastFlags& flags, const LoweredModel& model) {
  Forecast out;
  out.layout = lay_out(model, parse_size("--shard-size", flags.shard_size,
                                         "For example --shard-size 5GiB, which is the default."));
  std::vector<std::uint64_t> bytes;
  for (const TensorFile& file : out.layout.files) bytes.push_back(file.bytes);
  out.rank_count = flags.ranks;
  out.ranks = split_over_ranks(bytes, flags.ranks);
  out.resident = anonymous_bytes();
  if (flags.estimate) out.estimate = estimate(out.layout, 0, kSampleSeconds);
  return out;
}

std::string forecast_text(const Forecast& f) {
  std::string out =
      fmt::format("{} of weights, {} in all\n", counted(f.layout.files.size(), "file"),
                  human_bytes(total(f.layout)));
  if (f.rank_count > 1) {
    const std::vector<Share> split = shares(f);
    for (std::size_t r = 0; r < split.size(); ++r) {
      out += fmt::format("  rank {}: {}, {}\n", r, counted(split[r].files, "file"),
                         human_bytes(split[r].bytes));
    }
  }
  if (f.estimate) {
    const Estimate& e = *f.estimate;
    out += fmt::format(
        "  {} of the output made in a trial: {}/s, so {} for all of it, where the disk keeps up\n",
        human_bytes(e.sampled_bytes), human_bytes(static_cast<std::uint64_t>(e.bytes_per_second)),
        duration(e.seconds));
    out += fmt::format("  memory: {} of plan and {} of tiles\n", human_bytes(f.resident),
                       human_bytes(e.tile_bytes));
  }
  return out;
}

Json forecast_json(const Forecast& f) {
  Json files = Json::array();
  for (std::size_t i = 0; i < f.layout.files.size(); ++i) {
    files.push_back({{"name", f.layout.files[i].name},
                     {"bytes", f.layout.files[i].bytes},
                     {"tensors", f.layout.files[i].tensors.size()},
                     {"rank", f.ranks[i]}});
  }
  Json out{{"files", files}, {"bytes", total(f.layout)}, {"anonymous_bytes", f.resident}};
  if (f.estimate) {
    out["sampled_bytes"] = f.estimate->sampled_bytes;
    out["bytes_per_second"] = f.estimate->bytes_per_second;
    out["seconds"] = f.estimate->seconds;
    out["tile_bytes"] = f.estimate->tile_bytes;
  }
  return out;
}

}  // namespace wb::cli
