// From a lowered model to a folder: the order of things; see convert.h. What stands beside the
// tensor files is in small_files.cpp, what becomes of used sources in convert_consume.cpp.
#include "convert/convert.h"

#include <algorithm>
#include <filesystem>

#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/read_guard.h"
#include "convert/conversion.h"

namespace wb {

namespace {

// Everything that the bytes of the tensor files depend on, but for the sources' own bytes, whose
// names and sizes stand for them. Two runs with the same one write the same folder.
std::string job_id(const ConvertJob& job, const FolderLayout& layout) {
  auto hash = make_xxh3_128();
  auto add = [&](const std::string& text) {
    hash->update(bytes_of(std::to_string(text.size()) + ":" + text));
  };
  for (const TensorFile& file : layout.files) {
    add(file.name);
    add(file.header);
    for (const PlacedTensor& placed : file.tensors) add(placed.tensor->tensor.describe());
  }
  for (const auto& source : job.sources) {
    add(recorded_name(*source));
    add(std::to_string(source->size()));
  }
  add(job.model->config.dump());
  add(job.manifest.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  add(job.sha256 ? "sha256" : "");
  return hash->hex();
}

std::vector<std::string> paths_read(const ConvertJob& job) {
  std::vector<std::string> paths;
  for (const auto& source : job.sources) paths.push_back(source->path());
  for (const ExtraFile& extra : job.files) {
    if (!extra.source.empty()) paths.push_back(extra.source);
  }
  return paths;
}

}  // namespace

Conversion::Conversion(const ConvertJob& job)
    : job_(job),
      keep_(job.resume || job.consume || job.ranks.size > 1),
      layout_(lay_out(*job.model, job.shard_size)),
      small_(small_files(job, layout_)),
      id_(job_id(job, layout_)),
      done_(layout_.files.size(), job.sources.size()) {
  if (job.consume && job.ranks.size > 1) {
    throw Error(Code::usage, "one process alone may consume the source")
        .actual(std::to_string(job.ranks.size) + " ranks")
        .advice("Convert without --consume, or without mpirun.");
  }
}

void Conversion::open_folder() {
  if (first()) {
    folder_.emplace(job_.destination, job_.force, paths_read(job_),
                    Continuation{keep_, job_.resume, id_});
    path_ = folder_->path();
  }
  path_ = gather(path_).front();
  if (job_.resume) believe(read_journals(path_, id_));
  if (first()) require_space(*folder_);
  if (keep_) journal_.emplace(path_, id_, job_.ranks.rank, job_.sync);
}

// Whether the file that a journal speaks of is there, with the bytes that it had.
bool Conversion::is_whole(const JournalRecord& record) const {
  std::error_code failed;
  const std::string path = path_of(record.name);
  if (std::filesystem::file_size(path, failed) != record.bytes || failed) return false;
  return fingerprint(MappedFile::open(path)->bytes(), false).xxh3_128 == record.print.xxh3_128;
}

// Files are read again before they are believed, each rank its share of them.
void Conversion::believe(const std::vector<JournalRecord>& records) {
  std::string good;  // one letter per record
  for (std::size_t i = 0; i < records.size(); ++i) {
    const bool mine = i % job_.ranks.size == job_.ranks.rank;
    good += mine && records[i].kind == JournalRecord::file && is_whole(records[i]) ? 'y' : 'n';
  }
  const std::vector<std::string> found = gather(good);
  for (std::size_t i = 0; i < records.size(); ++i) {
    const JournalRecord& r = records[i];
    const bool whole = std::any_of(found.begin(), found.end(),
                                   [&](const std::string& of_rank) { return of_rank[i] == 'y'; });
    for (std::size_t f = 0; r.kind == JournalRecord::file && f < layout_.files.size(); ++f) {
      if (layout_.files[f].name == r.name && whole) done_.files[f] = r.print;
    }
    for (std::size_t s = 0; r.kind != JournalRecord::file && s < job_.sources.size(); ++s) {
      if (recorded_name(*job_.sources[s]) != r.name || job_.sources[s]->size() != r.bytes) continue;
      // A source that is still there is read anyway; its fingerprint of then is not needed.
      if (r.kind == JournalRecord::consumed) {
        done_.sources[s] = r.print;
        done_.consumed[s] = true;
      }
    }
  }
  for (const Fingerprint& print : done_.files) resumed_ += print.xxh3_128.empty() ? 0 : 1;
}

void Conversion::require_space(const PartialFolder& folder) const {
  std::uint64_t needed = 0;
  for (std::size_t i = 0; i < layout_.files.size(); ++i) {
    if (!done_.files[i].xxh3_128.empty()) continue;
    needed = checked_add(needed, layout_.files[i].bytes, "the folder's size");
  }
  for (const SmallFile& f : small_)
    needed = checked_add(needed, f.bytes().size(), "the folder's size");
  // What is consumed makes room for what is written.
  if (!job_.consume) folder.require_space(needed);
}

void Conversion::write_small_files(Execution& execution) const {
  if (!first()) return;
  for (const SmallFile& file : small_) {
    std::error_code ignored;
    std::filesystem::remove(path_of(file.name), ignored);
    execution.small.push_back(write_small(path_of(file.name), file.bytes()));
  }
}

void Conversion::share_out(Execution& execution) const {
  const auto mine = [&](const std::vector<std::uint64_t>& bytes, std::vector<bool>& skip) {
    const std::vector<unsigned> ranks = split_over_ranks(bytes, job_.ranks.size);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (ranks[i] != job_.ranks.rank) skip[i] = true;
    }
  };
  std::vector<std::uint64_t> files, sources;
  for (std::size_t i = 0; i < layout_.files.size(); ++i) {
    const bool done = !done_.files[i].xxh3_128.empty();
    execution.skip_files.push_back(done);
    files.push_back(done ? 0 : layout_.files[i].bytes);
  }
  for (std::size_t i = 0; i < job_.sources.size(); ++i) {
    execution.skip_sources.push_back(done_.consumed[i]);
    sources.push_back(done_.consumed[i] ? 0 : job_.sources[i]->size());
  }
  mine(files, execution.skip_files);
  mine(sources, execution.skip_sources);
  for (std::size_t i = 0; i < job_.checks.size(); ++i) {
    execution.skip_checks.push_back(i % job_.ranks.size != job_.ranks.rank);
  }
}

// The last word before the folder appears: what was read is what the fingerprints are of.
void Conversion::require_sources_unchanged() const {
  require_readable();
  for (std::size_t s = 0; s < job_.sources.size(); ++s) {
    if (!done_.consumed[s]) job_.sources[s]->require_unchanged();
  }
  for (const SmallFile& file : small_) {
    if (file.source) file.source->require_unchanged();
  }
}

// Every rank's fingerprints to every other, through text.
void Conversion::exchange() {
  if (job_.ranks.size == 1) return;
  nlohmann::json mine = nlohmann::json::array();
  const auto add = [&](const char* kind, const std::vector<Fingerprint>& prints) {
    for (std::size_t i = 0; i < prints.size(); ++i) {
      if (!prints[i].xxh3_128.empty())
        mine.push_back({kind, i, prints[i].xxh3_128, prints[i].sha256});
    }
  };
  add("file", done_.files);
  add("source", done_.sources);
  for (const std::string& text : gather(mine.dump())) {
    for (const nlohmann::json& row : nlohmann::json::parse(text)) {
      auto& prints = row[0] == "file" ? done_.files : done_.sources;
      prints.at(row[1].get<std::size_t>()) = {row[2].get<std::string>(), row[3].get<std::string>()};
    }
  }
}

ConvertResult Conversion::finish() {
  ConvertResult result;
  result.tensor_bytes = layout_.tensor_bytes;
  result.parameters = layout_.parameters;
  result.resumed = resumed_;
  if (!first()) return result;
  const auto add = [&](const std::string& name, std::uint64_t bytes, const Fingerprint& print) {
    result.files.push_back({name, bytes, print.xxh3_128, print.sha256});
  };
  for (std::size_t i = 0; i < layout_.files.size(); ++i) {
    add(layout_.files[i].name, layout_.files[i].bytes, done_.files[i]);
  }
  for (const SmallFile& file : small_) {
    add(file.name, file.bytes().size(), fingerprint(file.bytes(), job_.sha256));
  }
  std::sort(result.files.begin(), result.files.end(),
            [](const WrittenFile& a, const WrittenFile& b) { return a.name < b.name; });
  require_sources_unchanged();
  const std::string manifest = manifest_text(job_, done_.sources, result.files);
  std::error_code ignored;
  std::filesystem::remove(path_of(kManifest), ignored);
  auto written = write_small(path_of(kManifest), bytes_of(manifest));
  if (job_.sync) written->sync();
  add(kManifest, manifest.size(), fingerprint(bytes_of(manifest), job_.sha256));
  journal_.reset();
  folder_->commit(job_.sync);
  result.consumed = drop_consumed();
  return result;
}

ConvertResult Conversion::run() {
  open_folder();
  Execution execution;
  share_out(execution);
  if (job_.consume ||
      std::find(done_.consumed.begin(), done_.consumed.end(), true) != done_.consumed.end()) {
    find_feeders();
  }
  finish_consuming();
  write_small_files(execution);
  execution.create = [&](std::size_t f) {
    const std::string path = path_of(layout_.files[f].name);
    std::error_code ignored;
    std::filesystem::remove(path, ignored);  // what an earlier run had begun
    return std::make_unique<OutputFile>(path, layout_.files[f].bytes);
  };
  execution.file_done = [&](std::size_t f, const Fingerprint& print) {
    done_.files[f] = print;
    if (journal_) {
      journal_->add({JournalRecord::file, layout_.files[f].name, layout_.files[f].bytes, print});
    }
    for (std::size_t s = 0; s < feeds_.size(); ++s) {
      if (feeds_[s].erase(f) > 0) consume_if_due(s);
    }
  };
  execution.source_done = [&](std::size_t s, const Fingerprint& print) {
    done_.sources[s] = print;
    if (!feeds_.empty()) consume_if_due(s);
  };
  if (!feeds_.empty()) {
    for (std::size_t s = 0; s < feeds_.size(); ++s) consume_if_due(s);
  }
  execute(job_, layout_, execution);
  exchange();
  ConvertResult result = finish();
  gather("");  // nobody leaves before the folder is there
  return result;
}

std::vector<unsigned> split_over_ranks(const std::vector<std::uint64_t>& bytes, unsigned ranks) {
  WB_CHECK(ranks > 0);
  double total = 0;
  for (const std::uint64_t b : bytes) total += static_cast<double>(b);
  std::vector<unsigned> out;
  double before = 0;
  for (const std::uint64_t b : bytes) {
    const double middle = before + static_cast<double>(b) / 2;
    const double share = total > 0 ? middle / total * ranks : 0;
    out.push_back(std::min(ranks - 1, static_cast<unsigned>(share)));
    before += static_cast<double>(b);
  }
  return out;
}

ConvertResult convert(const ConvertJob& job) {
  WB_CHECK(job.model != nullptr);
  return Conversion(job).run();
}

}  // namespace wb
