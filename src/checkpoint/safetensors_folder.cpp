// A folder of safetensors shards, with an index or without. Names in an index are
// plain file names of that folder, never paths; every file that it lists must exist
// and hold what it lists. Tensors may not occur in two shards.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/containers.h"
#include "checkpoint/names.h"

namespace wb {

namespace {
namespace fs = std::filesystem;
constexpr std::string_view kIndexEnd = ".safetensors.index.json";

std::vector<fs::path> files_ending(const fs::path& folder, std::string_view end) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().filename().string().ends_with(end)) {
      found.push_back(entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

[[noreturn]] void wrong_index(const std::string& what) {
  throw Error(Code::safetensors_index, what)
      .advice("The folder is incomplete or its index is of another checkpoint; fetch it again.");
}

// Parses with duplicate keys refused: two entries for one tensor would hide a choice.
nlohmann::json parse_index(std::string_view text) {
  if (text.find('\0') != text.npos) wrong_index("the index holds a NUL byte");
  std::vector<std::set<std::string>> keys;
  auto refuse_twins = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    if (depth > 16) wrong_index("the index nests more than 16 levels deep");
    if (event == nlohmann::json::parse_event_t::object_start) keys.emplace_back();
    if (event == nlohmann::json::parse_event_t::object_end) keys.pop_back();
    if (event == nlohmann::json::parse_event_t::key &&
        !keys.back().insert(value.get<std::string>()).second) {
      wrong_index("the index has the key \"" + printable(value.get<std::string>()) + "\" twice");
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, refuse_twins);
  } catch (const nlohmann::json::exception& error) {
    wrong_index("the index is not valid JSON (" + printable(error.what()) + ")");
  }
}

bool is_plain_name(const std::string& file) {
  return !file.empty() && file != "." && file != ".." && file.find('/') == file.npos &&
         file.find('\\') == file.npos && file.find('\0') == file.npos &&
         file.find("..") == file.npos;
}

// tensor name -> file name
std::map<std::string, std::string> read_weight_map(const MappedFile& file) {
  const nlohmann::json index = parse_index(as_text(file.bytes()));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    wrong_index("the index has no weight_map");
  }
  std::map<std::string, std::string> map;
  for (const auto& [tensor, value] : index["weight_map"].items()) {
    if (!value.is_string()) {
      wrong_index("the index gives no file name for \"" + printable(tensor) + "\"");
    }
    std::string name = value.get<std::string>();
    if (!is_plain_name(name)) {
      wrong_index("the index names the file \"" + printable(name) +
                  "\", which is not a plain file name");
    }
    map.emplace(tensor, std::move(name));
  }
  return map;
}

[[noreturn]] void refuse_consumed(const fs::path& stub) {
  throw Error(Code::source_consumed, "the shard was deleted once it had been converted")
      .file(stub.string())
      .advice(
          "Go on with that conversion: its own options, and --resume. For anything else, fetch "
          "the file again.");
}

// `folder`/`name`, or what --consume left of it.
fs::path shard_named(const fs::path& folder, const std::string& name, const OpenOptions& options) {
  const fs::path shard = folder / name;
  if (fs::is_regular_file(shard)) return shard;
  const fs::path stub = shard.string() + std::string(kConsumedEnd);
  if (!fs::is_regular_file(stub)) {
    wrong_index("the index lists " + printable(name) + ", which is not in the folder");
  }
  if (!options.allow_consumed) refuse_consumed(stub);
  return stub;
}

// The name that the file had before it was consumed.
std::string shard_name(const std::string& path) {
  std::string name = fs::path(path).filename().string();
  if (name.ends_with(kConsumedEnd)) name.resize(name.size() - kConsumedEnd.size());
  return name;
}

void check_against_index(const std::map<std::string, std::string>& map, const Checkpoint& out) {
  std::map<std::string_view, std::string> actual;
  for (const SourceTensor& tensor : out.tensors) {
    actual.emplace(tensor.name, shard_name(tensor.file));
  }
  for (const auto& [tensor, file] : map) {
    const auto found = actual.find(tensor);
    if (found != actual.end() && found->second == file) continue;
    throw Error(Code::safetensors_index, "the index places the tensor in a file that lacks it")
        .tensor(printable(tensor))
        .expected("it in " + printable(file))
        .actual(found == actual.end() ? "it nowhere" : "it in " + printable(found->second))
        .advice("The folder is incomplete or its index is of another checkpoint; fetch it again.");
  }
}

void note_unlisted(const std::map<std::string, std::string>& map, Checkpoint& out) {
  std::size_t unlisted = 0;
  for (const SourceTensor& tensor : out.tensors) unlisted += map.contains(tensor.name) ? 0 : 1;
  if (unlisted > 0) {
    out.notes.push_back(std::to_string(unlisted) +
                        " tensors stand in the files but not in the index");
  }
}

void open_shards(const std::vector<fs::path>& shards, const OpenOptions& options, Checkpoint& out) {
  for (const fs::path& shard : shards) {
    open_safetensors(MappedFile::open(shard.string()), options, out);
    if (out.tensors.size() > options.max_tensors) {
      throw Error(Code::limit_exceeded, "the shards hold too many tensors")
          .file(shard.string())
          .expected("at most " + std::to_string(options.max_tensors))
          .actual(std::to_string(out.tensors.size()))
          .advice("Convert the checkpoint in parts.");
    }
  }
}

void open_indexed(const fs::path& folder, const fs::path& index_path, const OpenOptions& options,
                  Checkpoint& out) {
  const FilePtr index = MappedFile::open(index_path.string());
  try {
    if (index->size() > options.max_header_bytes) {
      throw Error(Code::limit_exceeded, "the index is too long")
          .expected("at most " + std::to_string(options.max_header_bytes) + " bytes")
          .actual(std::to_string(index->size()))
          .advice("No checkpoint needs such an index; do not trust this folder.");
    }
    const auto map = read_weight_map(*index);
    std::set<std::string> names;
    for (const auto& [tensor, file] : map) names.insert(file);
    std::vector<fs::path> shards;
    for (const std::string& name : names) shards.push_back(shard_named(folder, name, options));
    open_shards(shards, options, out);
    check_against_index(map, out);
    note_unlisted(map, out);
  } catch (Error& error) {
    if (error.code() != Code::source_consumed) error.file(index_path.string());
    throw;
  }
  out.container = Container::safetensors_sharded;
  out.files.push_back(index);
}
}  // namespace

bool has_safetensors(const fs::path& folder) {
  return !files_ending(folder, ".safetensors").empty() ||
         !files_ending(folder, ".safetensors" + std::string(kConsumedEnd)).empty() ||
         !files_ending(folder, kIndexEnd).empty();
}

void open_safetensors_folder(const fs::path& folder, const OpenOptions& options, Checkpoint& out) {
  const auto indices = files_ending(folder, kIndexEnd);
  if (indices.size() > 1) {
    throw Error(Code::safetensors_index, "the folder has more than one index")
        .file(folder.string())
        .expected("one")
        .actual(indices[0].filename().string() + ", " + indices[1].filename().string())
        .advice("Move all but one of them away.");
  }
  if (indices.size() == 1) return open_indexed(folder, indices[0], options, out);
  auto shards = files_ending(folder, ".safetensors");
  const auto stubs = files_ending(folder, ".safetensors" + std::string(kConsumedEnd));
  if (!stubs.empty() && !options.allow_consumed) refuse_consumed(stubs.front());
  shards.insert(shards.end(), stubs.begin(), stubs.end());
  std::sort(shards.begin(), shards.end());
  open_shards(shards, options, out);
  if (shards.size() > 1) out.container = Container::safetensors_sharded;
}

}  // namespace wb
