// From a lowered model to a folder: the order of things; see convert.h.
#include "convert/convert.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "convert/executor.h"
#include "convert/folder.h"
#include "convert/layout.h"

namespace wb {

namespace {

constexpr const char* kManifest = "weightbridge.json";

std::string basename_of(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// A small file's content, wherever it comes from.
struct SmallFile {
  std::string name;
  std::shared_ptr<const MappedFile> source;  // or
  std::string text;
  std::span<const std::byte> bytes() const { return source ? source->bytes() : bytes_of(text); }
};

void check_name(const std::string& name, std::set<std::string>& names) {
  bool plain = !name.empty() && name != "." && name != ".." &&
               name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain || !names.insert(name).second) {
    throw Error(Code::file_write, plain ? "two files of the folder have one name"
                                        : "is no name for a file of the folder")
        .file(name)
        .advice("Give plain file names, each once.");
  }
}

std::vector<SmallFile> small_files(const ConvertJob& job, const FolderLayout& layout) {
  std::vector<SmallFile> files;
  files.push_back({"config.json", nullptr, job.model->config.dump(4) + "\n"});
  files.push_back({"model.safetensors.index.json", nullptr, layout.index});
  for (const ExtraFile& extra : job.files) {
    if (extra.source.empty()) {
      files.push_back({extra.name, nullptr, extra.content});
    } else {
      files.push_back({extra.name, MappedFile::open(extra.source), ""});
    }
  }
  std::set<std::string> names{kManifest};
  for (const TensorFile& file : layout.files) check_name(file.name, names);
  for (const SmallFile& file : files) check_name(file.name, names);
  return files;
}

nlohmann::ordered_json record(const std::string& name, std::uint64_t bytes,
                              const Fingerprint& print) {
  nlohmann::ordered_json json{{"name", name}, {"bytes", bytes}, {"xxh3_128", print.xxh3_128}};
  if (!print.sha256.empty()) json["sha256"] = print.sha256;
  return json;
}

std::unique_ptr<OutputFile> write_small(const PartialFolder& folder, const std::string& name,
                                        std::span<const std::byte> bytes) {
  auto file = std::make_unique<OutputFile>(folder.path_of(name), bytes.size());
  file->write(0, bytes);
  return file;
}

std::string manifest_text(const ConvertJob& job, const Executed& executed,
                          const std::vector<WrittenFile>& files) {
  nlohmann::ordered_json manifest = job.manifest;
  manifest["source"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < job.sources.size(); ++i) {
    const MappedFile& source = *job.sources[i];
    manifest["source"].push_back(
        record(basename_of(source.path()), source.size(), executed.sources[i]));
  }
  manifest["files"] = nlohmann::ordered_json::array();
  for (const WrittenFile& file : files) {
    manifest["files"].push_back(record(file.name, file.bytes, {file.xxh3_128, file.sha256}));
  }
  // A source's file name may be any bytes; it must not make a manifest impossible.
  return manifest.dump(4, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
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

ConvertResult convert(const ConvertJob& job) {
  WB_CHECK(job.model != nullptr);
  const FolderLayout layout = lay_out(*job.model, job.shard_size);
  const std::vector<SmallFile> small = small_files(job, layout);
  PartialFolder folder(job.destination, job.force, paths_read(job));

  std::uint64_t needed = 0;
  for (const TensorFile& f : layout.files)
    needed = checked_add(needed, f.bytes, "the folder's size");
  for (const SmallFile& f : small)
    needed = checked_add(needed, f.bytes().size(), "the folder's size");
  folder.require_space(needed);

  std::vector<std::unique_ptr<OutputFile>> outputs, small_outputs;
  for (const TensorFile& file : layout.files) {
    outputs.push_back(std::make_unique<OutputFile>(folder.path_of(file.name), file.bytes));
  }
  for (const SmallFile& file : small) {
    small_outputs.push_back(write_small(folder, file.name, file.bytes()));
  }
  Executed executed = execute(job, layout, outputs, small_outputs);

  ConvertResult result;
  result.tensor_bytes = layout.tensor_bytes;
  result.parameters = layout.parameters;
  auto add = [&](const std::string& name, std::uint64_t bytes, const Fingerprint& print) {
    result.files.push_back({name, bytes, print.xxh3_128, print.sha256});
  };
  for (std::size_t i = 0; i < layout.files.size(); ++i) {
    add(layout.files[i].name, layout.files[i].bytes, executed.files[i]);
  }
  for (const SmallFile& file : small) {
    add(file.name, file.bytes().size(), fingerprint(file.bytes(), job.sha256));
  }
  std::sort(result.files.begin(), result.files.end(),
            [](const WrittenFile& a, const WrittenFile& b) { return a.name < b.name; });
  std::string manifest = manifest_text(job, executed, result.files);
  auto written = write_small(folder, kManifest, bytes_of(manifest));
  if (job.sync) written->sync();
  add(kManifest, manifest.size(), fingerprint(bytes_of(manifest), job.sha256));
  folder.commit(job.sync);
  return result;
}

}  // namespace wb
