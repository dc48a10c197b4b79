// Opening: looks at the bytes, not at the file's name, picks the one container that
// they can be, and finishes what all containers share. Refuses tar archives by
// name, and says what an unknown file looks like.
#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "checkpoint/containers.h"
#include "checkpoint/names.h"

namespace wb {

namespace {
namespace fs = std::filesystem;
constexpr const char* kConfigAdvice =
    "Take the config.json of the model's own folder, or move it away.";
constexpr const char* kAccepted =
    "A PyTorch .pt file (torch.save), a safetensors file or a folder of them is accepted.";

bool starts(Bytes bytes, std::string_view magic, std::size_t at = 0) {
  return within(bytes, at, magic.size()) && as_text(bytes.subspan(at, magic.size())) == magic;
}

// Formats that people confuse with checkpoints, by their first bytes.
std::string describe_unknown(Bytes bytes) {
  struct Known {
    std::string_view magic;
    const char* what;
  };
  static constexpr Known known[] = {
      {"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` to get the file itself"},
      {"GGUF", "a GGUF file"},
      {"\x89HDF", "an HDF5 file"},
      {"\x93NUMPY", "a NumPy array"},
      {"7z\xBC\xAF", "a 7-Zip archive"},
      {"\x1F\x8B", "a gzip file; unpack it first"},
      {"\xFD"
       "7zXZ",
       "an xz file; unpack it first"},
      {"\x28\xB5\x2F\xFD", "a Zstandard file; unpack it first"},
      {"PK", "a zip archive that does not start with an entry"},
      {"<!DOCTYPE", "a web page, so probably a failed download"},
      {"<html", "a web page, so probably a failed download"},
      {"{", "JSON text"},
      {"\x80", "a bare pickle, which torch.save does not write"},
  };
  if (bytes.empty()) return "an empty file";
  for (const Known& k : known) {
    if (starts(bytes, k.magic)) return k.what;
  }
  return "bytes that start with \"" +
         printable(as_text(bytes.first(std::min<std::size_t>(bytes.size(), 8)))) + "\"";
}

void open_file(const FilePtr& file, const OpenOptions& options, Checkpoint& out) {
  const Bytes bytes = file->bytes();
  if (starts(bytes, "PK\x03\x04") || starts(bytes, "PK\x05\x06")) {
    return open_torch_zip(file, options, out);
  }
  if (starts(bytes, "ustar", 257)) {
    throw Error(Code::format_refused, "the file is a tar archive")
        .file(file->path())
        .advice("Load it with an old PyTorch and save it again, or unpack it.");
  }
  if (is_torch_legacy(bytes)) return open_torch_legacy(file, options, out);
  if (is_safetensors(bytes)) return open_safetensors(file, options, out);
  throw Error(Code::format_unknown, "this is no checkpoint that can be read")
      .file(file->path())
      .expected("a PyTorch or safetensors file")
      .actual(describe_unknown(bytes))
      .advice(kAccepted);
}

// A folder without safetensors: the one PyTorch file in it.
void open_torch_folder(const fs::path& folder, const OpenOptions& options, Checkpoint& out) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string end = entry.path().extension().string();
    if (entry.is_regular_file() && (end == ".pt" || end == ".pth" || end == ".bin")) {
      found.push_back(entry.path());
    }
  }
  if (found.size() != 1) {
    std::sort(found.begin(), found.end());
    throw Error(Code::format_unknown, "the folder does not hold one checkpoint")
        .file(folder.string())
        .expected("safetensors files, or exactly one .pt, .pth or .bin file")
        .actual(found.empty() ? "none"
                              : std::to_string(found.size()) + " of them, " +
                                    found[0].filename().string() + " the first")
        .advice(found.empty() ? kAccepted : "Give the path of the file that is meant.");
  }
  open_file(MappedFile::open(found[0].string()), options, out);
}

void read_config(const fs::path& folder, Checkpoint& out) {
  const fs::path path = folder / "config.json";
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return;
  const FilePtr file = MappedFile::open(path.string());
  out.files.push_back(file);
  nlohmann::json config = parse_json(as_text(file->bytes()), path.string(), kConfigAdvice);
  if (!config.is_object()) {
    throw Error(Code::config_invalid, "is not a JSON object")
        .file(path.string())
        .advice(kConfigAdvice);
  }
  out.config = std::move(config);
}

void check_holds_tensors(const Checkpoint& checkpoint) {
  if (!checkpoint.tensors.empty()) return;
  std::string inside;
  for (const std::string& note : checkpoint.notes) {
    if (note.find("tensors inside") != note.npos) inside = "; " + note;
  }
  throw Error(Code::no_tensors, "the checkpoint holds no tensor" + inside)
      .file(checkpoint.path)
      .advice("Save the weights as plain tensors: torch.save(model.state_dict(), path).");
}

void check_total(const Checkpoint& checkpoint, const OpenOptions& options) {
  const std::uint64_t total = checkpoint.total_bytes();
  if (total <= options.max_total_bytes) return;
  throw Error(Code::limit_exceeded, "the tensors take too many bytes")
      .file(checkpoint.path)
      .expected("at most " + std::to_string(options.max_total_bytes))
      .actual(std::to_string(total))
      .advice(raise_limit("total-bytes"));
}
}  // namespace

std::string_view name(Container container) {
  switch (container) {
    case Container::torch_zip:
      return "PyTorch zip archive";
    case Container::torch_legacy:
      return "PyTorch legacy file";
    case Container::safetensors:
      return "safetensors file";
    case Container::safetensors_sharded:
      return "sharded safetensors folder";
  }
  WB_BUG("no such container");
}

const SourceTensor* Checkpoint::find(std::string_view wanted) const {
  const auto found =
      std::lower_bound(tensors.begin(), tensors.end(), wanted,
                       [](const SourceTensor& t, std::string_view n) { return t.name < n; });
  return found != tensors.end() && found->name == wanted ? &*found : nullptr;
}

std::uint64_t Checkpoint::total_bytes() const {
  std::uint64_t total = 0;
  for (const SourceTensor& t : tensors) {
    total = checked_add(total, t.tensor.nbytes(), "the checkpoint's size");
  }
  return total;
}

std::uint64_t Checkpoint::stored_bytes() const {
  std::unordered_set<std::uint64_t> counted;
  std::uint64_t total = 0;
  for (const SourceTensor& t : tensors) {
    if (counted.insert(t.storage_id).second) {
      total = checked_add(total, t.storage_bytes, "the checkpoint's stored size");
    }
  }
  return total;
}

void order_by_name(std::vector<SourceTensor>& tensors) {
  const auto less = [](const SourceTensor& a, const SourceTensor& b) { return a.name < b.name; };
  if (std::is_sorted(tensors.begin(), tensors.end(), less)) return;
  // Through pointers: an entry is much larger than one.
  std::vector<SourceTensor*> order;
  order.reserve(tensors.size());
  for (SourceTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(),
                   [&](const SourceTensor* a, const SourceTensor* b) { return less(*a, *b); });
  std::vector<SourceTensor> sorted;
  sorted.reserve(tensors.size());
  for (SourceTensor* tensor : order) sorted.push_back(std::move(*tensor));
  tensors = std::move(sorted);
}

void sort_tensors(Checkpoint& checkpoint) {
  auto& tensors = checkpoint.tensors;
  order_by_name(tensors);
  const auto twin = std::adjacent_find(
      tensors.begin(), tensors.end(),
      [](const SourceTensor& a, const SourceTensor& b) { return a.name == b.name; });
  if (twin == tensors.end()) return;
  const std::string other(std::next(twin)->file);
  throw Error(Code::tensor_name,
              "the name occurs twice" + (other == twin->file ? "" : ", again in " + other))
      .file(twin->file)
      .tensor(twin->name)
      .advice(other == twin->file
                  ? "Rename one of the two where the checkpoint is made, then save it again."
                  : "Files that were split over processes (tensor parallel) each hold a part of "
                    "every tensor: join them where they were made, for one process "
                    "(--model-parallel 1). Otherwise rename one of the two, or take the file "
                    "away that does not belong.");
}

Checkpoint open_checkpoint(const std::string& path, const OpenOptions& options) {
  Checkpoint out;
  out.path = path;
  try {
    if (fs::is_directory(path)) {
      const bool shards = has_safetensors(path);
      shards ? open_safetensors_folder(path, options, out) : open_torch_folder(path, options, out);
      read_config(path, out);
    } else {
      open_file(MappedFile::open(path), options, out);
      if (out.container == Container::safetensors) {
        read_config(fs::absolute(path).parent_path(), out);
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(Code::file_open, std::string("cannot be read: ") + error.code().message())
        .file(path)
        .advice("Check the path and its permissions.");
  }
  sort_tensors(out);
  check_holds_tensors(out);
  check_total(out, options);
  return out;
}

}  // namespace wb
