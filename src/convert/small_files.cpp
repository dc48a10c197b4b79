// See small_files.h.
#include "convert/small_files.h"

#include <set>

#include "base/error.h"
#include "tensor/storage.h"

namespace wb {

namespace {

std::string basename_of(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

void check_name(const std::string& name, std::set<std::string>& names) {
  bool plain = !name.empty() && name != "." && name != ".." &&
               name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  // Names that differ by case only are one file on most Macs, where the folder is going.
  std::string folded = name;
  for (char& c : folded) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (!plain || !names.insert(folded).second) {
    throw Error(Code::file_write, plain ? "two files of the folder have one name"
                                        : "is no name for a file of the folder")
        .file(name)
        .advice("Give plain file names, each once whatever its case.");
  }
}

nlohmann::ordered_json record(const std::string& name, std::uint64_t bytes,
                              const Fingerprint& print) {
  nlohmann::ordered_json json{{"name", name}, {"bytes", bytes}, {"xxh3_128", print.xxh3_128}};
  if (!print.sha256.empty()) json["sha256"] = print.sha256;
  return json;
}

}  // namespace

std::string recorded_name(const MappedFile& source) {
  std::string name = basename_of(source.path());
  if (name.ends_with(kConsumedEnd)) name.resize(name.size() - kConsumedEnd.size());
  return name;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
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

std::unique_ptr<OutputFile> write_small(const std::string& path, std::span<const std::byte> bytes) {
  auto file = std::make_unique<OutputFile>(path, bytes.size());
  file->write(0, bytes);
  return file;
}

std::string manifest_text(const ConvertJob& job, const std::vector<Fingerprint>& sources,
                          const std::vector<WrittenFile>& files) {
  nlohmann::ordered_json manifest = job.manifest;
  manifest["source"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < job.sources.size(); ++i) {
    const MappedFile& source = *job.sources[i];
    manifest["source"].push_back(record(recorded_name(source), source.size(), sources[i]));
  }
  manifest["files"] = nlohmann::ordered_json::array();
  for (const WrittenFile& file : files) {
    manifest["files"].push_back(record(file.name, file.bytes, {file.xxh3_128, file.sha256}));
  }
  // A source's file name may be any bytes; it must not make a manifest impossible.
  return manifest.dump(4, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace wb
