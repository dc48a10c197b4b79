// See integrity.h.
#include "cli/integrity.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <functional>
#include <set>

#include "base/progress.h"
#include "base/threads.h"
#include "cli/cli.h"
#include "convert/check.h"
#include "tensor/node.h"

namespace wb::cli {

namespace fs = std::filesystem;

IntegrityFindings check_integrity(const Checkpoint& checkpoint, unsigned threads) {
  IntegrityFindings found;
  std::vector<std::function<void()>> checks;
  for (const StoredCrc& crc : checkpoint.crcs) checks.push_back([&crc] { verify_crc(crc); });
  found.crcs = checks.size();
  // Compressed records are checked as they are inflated.
  std::set<const Storage*> seen;
  for (const SourceTensor& t : checkpoint.tensors) {
    for (const auto& node : t.tensor.inputs()) {
      const Storage* storage = node->storage.get();
      if (storage == nullptr || storage->file_range() || !seen.insert(storage).second) continue;
      checks.push_back([storage] { static_cast<void>(storage->bytes()); });
      ++found.crcs;
    }
  }
  const fs::path path(checkpoint.path);
  std::error_code failed;
  const bool folder = fs::is_directory(path, failed);
  const fs::path base = folder ? path : fs::absolute(path).parent_path();
  const std::vector<RecordedFile> all = recorded_files(base.string());
  std::set<std::string> names, spoken;
  for (const auto& file : checkpoint.files)
    names.insert(fs::path(file->path()).filename().string());
  for (const RecordedFile& file : all) {
    if (!folder && !names.contains(file.name)) continue;  // of a neighbour
    spoken.insert(file.name);
    checks.push_back([&file] { check_recorded(file); });
    ++found.recorded;
  }
  if (checkpoint.crcs.empty() && seen.empty()) {
    found.unchecked = static_cast<std::size_t>(std::count_if(
        names.begin(), names.end(), [&](const std::string& n) { return !spoken.contains(n); }));
  }
  std::vector<std::exception_ptr> failures(checks.size());
  parallel_for(checks.size(), threads, [&](std::size_t i, unsigned) {
    try {
      checks[i]();
    } catch (...) {
      failures[i] = std::current_exception();
    }
  });
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  return found;
}

std::string integrity_text(const IntegrityFindings& found) {
  if (found.crcs == 0 && found.recorded == 0) {
    return "checked: nothing, for no sum or hash of these files is kept anywhere\n";
  }
  std::string out = fmt::format("checked: {} and {} are right\n",
                                counted(found.crcs, "CRC-32 sum", "CRC-32 sums"),
                                counted(found.recorded, "recorded file"));
  if (found.unchecked > 0) {
    out += fmt::format("  of {} nothing is recorded\n", counted(found.unchecked, "file"));
  }
  return out;
}

Json integrity_json(const IntegrityFindings& found) {
  return Json{{"crc_sums", found.crcs},
              {"recorded_files", found.recorded},
              {"files_without_record", found.unchecked}};
}

}  // namespace wb::cli
