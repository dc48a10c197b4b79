// Lines and files of journal.h.
#include "convert/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "convert/folder.h"

namespace wb {

namespace {

namespace fs = std::filesystem;
constexpr const char* kPrefix = "weightbridge.journal.";
constexpr const char* kKinds[] = {"file", "source", "consumed"};

std::vector<fs::path> journals_in(const std::string& folder) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().starts_with(kPrefix)) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Whole lines as JSON, up to the first that is none: what follows a torn line was never written.
std::vector<nlohmann::json> lines_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<nlohmann::json> lines;
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1) {
    auto line = nlohmann::json::parse(text.substr(at, end - at), nullptr, false);
    if (!line.is_object()) break;
    lines.push_back(std::move(line));
  }
  return lines;
}

bool belongs(const std::vector<nlohmann::json>& lines, const std::string& job) {
  return !lines.empty() && lines[0].value("job", nlohmann::json()) == job;
}

std::string text_at(const nlohmann::json& line, const char* key) {
  auto it = line.find(key);
  return it != line.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

Journal::Journal(const std::string& folder, const std::string& job, unsigned rank, bool sync)
    : path_(folder + "/" + kPrefix + std::to_string(rank)), sync_(sync) {
  // What an earlier process of this rank wrote is kept; a line that it tore is not.
  std::string kept;
  const auto old = lines_of(path_);
  if (belongs(old, job)) {
    for (const nlohmann::json& line : old) kept += line.dump() + "\n";
  } else {
    kept = nlohmann::json{{"job", job}}.dump() + "\n";
  }
  const std::string fresh = path_ + ".new";
  fd_ = ::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) throw_write_error(path_, errno, "cannot be created");
  write_fully(fd_, path_, 0, std::as_bytes(std::span(kept.data(), kept.size())));
  size_ = kept.size();
  if (sync && ::fsync(fd_) != 0) throw_write_error(path_, errno, "cannot be synced");
  if (::rename(fresh.c_str(), path_.c_str()) != 0) {
    throw_write_error(path_, errno, "cannot be renamed to");
  }
}

Journal::~Journal() { ::close(fd_); }

void Journal::add(const JournalRecord& record) {
  const nlohmann::json line{{"kind", kKinds[record.kind]},
                            {"name", record.name},
                            {"bytes", record.bytes},
                            {"xxh3_128", record.print.xxh3_128},
                            {"sha256", record.print.sha256}};
  const std::string text =
      line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  write_fully(fd_, path_, size_, std::as_bytes(std::span(text.data(), text.size())));
  size_ += text.size();
  if (sync_ && ::fsync(fd_) != 0) throw_write_error(path_, errno, "cannot be synced");
}

std::vector<JournalRecord> read_journals(const std::string& folder, const std::string& job) {
  std::vector<JournalRecord> records;
  for (const fs::path& path : journals_in(folder)) {
    const auto lines = lines_of(path);
    if (!belongs(lines, job)) continue;
    for (std::size_t i = 1; i < lines.size(); ++i) {
      const std::string kind = text_at(lines[i], "kind");
      const auto known = std::find(std::begin(kKinds), std::end(kKinds), kind);
      const auto bytes = lines[i].find("bytes");
      if (known == std::end(kKinds) || bytes == lines[i].end() || !bytes->is_number_unsigned())
        continue;
      records.push_back({static_cast<JournalRecord::Kind>(known - std::begin(kKinds)),
                         text_at(lines[i], "name"),
                         bytes->get<std::uint64_t>(),
                         {text_at(lines[i], "xxh3_128"), text_at(lines[i], "sha256")}});
    }
  }
  return records;
}

bool has_journal(const std::string& folder, const std::string& job) {
  const auto found = journals_in(folder);
  return std::any_of(found.begin(), found.end(),
                     [&](const fs::path& path) { return belongs(lines_of(path), job); });
}

bool has_consumed(const std::string& folder) {
  for (const fs::path& path : journals_in(folder)) {
    for (const nlohmann::json& line : lines_of(path)) {
      if (text_at(line, "kind") == kKinds[JournalRecord::consumed]) return true;
    }
  }
  return false;
}

void remove_journals(const std::string& folder) {
  std::error_code ignored;
  for (const fs::path& path : journals_in(folder)) fs::remove(path, ignored);
}

}  // namespace wb
