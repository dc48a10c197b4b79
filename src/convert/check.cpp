// Records and the comparison; see check.h.
#include "convert/check.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "convert/small_files.h"

namespace wb {

namespace {

namespace fs = std::filesystem;
constexpr const char* kDownloads = ".cache/huggingface/download";
constexpr std::string_view kDownloadEnd = ".metadata";

bool is_hex(const std::string& text, std::size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// A file of the folder itself: records lead nowhere else.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\\') == name.npos && name.find('\0') == name.npos;
}

std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void add_manifest(const fs::path& folder, std::vector<RecordedFile>& out) {
  std::error_code ignored;
  if (!fs::is_regular_file(folder / kManifest, ignored)) return;
  const auto manifest = read_json_file((folder / kManifest).string(),
                                       "Convert the checkpoint again, or move the file away.");
  if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_array()) return;
  for (const nlohmann::json& row : manifest["files"]) {
    const auto text = [&](const char* key) {
      const auto it = row.find(key);
      return it != row.end() && it->is_string() ? it->get<std::string>() : std::string();
    };
    if (!row.is_object() || !is_plain_name(text("name"))) continue;
    RecordedFile file{(folder / text("name")).string(), text("name"), kManifest, {}, {}, {}};
    if (row.contains("bytes") && row["bytes"].is_number_unsigned()) {
      file.bytes = row["bytes"].get<std::uint64_t>();
    }
    if (is_hex(text("xxh3_128"), 32)) file.xxh3_128 = text("xxh3_128");
    if (is_hex(text("sha256"), 64)) file.sha256 = text("sha256");
    if (file.bytes || !file.xxh3_128.empty() || !file.sha256.empty()) out.push_back(file);
  }
}

// NAME.metadata: the commit, the server's tag (of large files their SHA-256), the time; by lines.
void add_downloads(const fs::path& folder, std::vector<RecordedFile>& out) {
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder / kDownloads, failed)) {
    std::string name = entry.path().filename().string();
    if (!entry.is_regular_file(failed) || !name.ends_with(kDownloadEnd)) continue;
    name.resize(name.size() - kDownloadEnd.size());
    std::istringstream lines(text_of(entry.path()));
    std::string commit, tag;
    if (!std::getline(lines, commit) || !std::getline(lines, tag) || !is_hex(tag, 64)) continue;
    if (!is_plain_name(name)) continue;
    out.push_back({(folder / name).string(),
                   name,
                   std::string(kDownloads) + "/" + entry.path().filename().string(),
                   {},
                   {},
                   tag});
  }
}

[[noreturn]] void differs(const RecordedFile& file, const std::string& what,
                          const std::string& recorded, const std::string& found) {
  throw Error(Code::hash_mismatch,
              "the file is not what " + file.record + " says of it: its " + what + " differs")
      .file(file.path)
      .expected(recorded)
      .actual(found)
      .advice("It was damaged or changed since; fetch it again, or convert again.");
}

}  // namespace

std::vector<RecordedFile> recorded_files(const std::string& folder) {
  std::vector<RecordedFile> out;
  add_manifest(folder, out);
  add_downloads(folder, out);
  std::stable_sort(out.begin(), out.end(),
                   [](const RecordedFile& a, const RecordedFile& b) { return a.name < b.name; });
  return out;
}

void check_recorded(const RecordedFile& file) {
  std::error_code failed;
  if (!fs::is_regular_file(file.path, failed)) differs(file, "presence", "a file", "nothing");
  const auto mapped = MappedFile::open(file.path);
  if (file.bytes && mapped->size() != *file.bytes) {
    differs(file, "size", std::to_string(*file.bytes) + " bytes",
            std::to_string(mapped->size()) + " bytes");
  }
  if (!file.xxh3_128.empty()) {
    const std::string found = xxh3_128_hex(mapped->bytes());
    if (found != file.xxh3_128) differs(file, "XXH3-128", file.xxh3_128, found);
  }
  if (!file.sha256.empty()) {
    const auto hash = make_sha256();
    hash->update(mapped->bytes());
    if (hash->hex() != file.sha256) differs(file, "SHA-256", file.sha256, hash->hex());
  }
}

}  // namespace wb
