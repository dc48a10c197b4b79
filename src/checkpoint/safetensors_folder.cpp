// A folder of safetensors shards, with an index or without. Names in an index are
// plain file names of that folder, never paths; every file that it lists must exist
// and hold what it lists. Tensors may not occur in two shards.
#include <algorithm>
#include <exception>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
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

bool is_plain_name(const std::string& file) {
  return !file.empty() && file != "." && file != ".." && file.find('/') == file.npos &&
         file.find('\\') == file.npos && file.find('\0') == file.npos &&
         file.find("..") == file.npos;
}

// Where an index says that tensors are.
struct WeightMap {
  std::vector<std::string> files;  // names in the folder
  struct Entry {
    std::string tensor;
    std::size_t file;  // of `files`
  };
  std::vector<Entry> entries;  // by tensor
};

[[noreturn]] void twice(const std::string& key) {
  wrong_index("the index has the key \"" + printable(key) + "\" twice");
}

// The weight_map of an index; the rest is only held to be JSON. A key that an object has twice is
// refused: two entries for one tensor would hide a choice.
class IndexReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  WeightMap take() {
    if (!found_) wrong_index("the index has no weight_map");
    auto& entries = map_.entries;
    const auto less = [](const auto& a, const auto& b) { return a.tensor < b.tensor; };
    if (!std::is_sorted(entries.begin(), entries.end(), less)) {
      std::sort(entries.begin(), entries.end(), less);
    }
    const auto same = [](const auto& a, const auto& b) { return a.tensor == b.tensor; };
    const auto twin = std::adjacent_find(entries.begin(), entries.end(), same);
    if (twin != entries.end()) twice(twin->tensor);
    return std::move(map_);
  }

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t&) override { return value(); }
  bool binary(binary_t&) override { return value(); }
  bool string(string_t& text) override {
    if (!in_map()) return value();
    if (!is_plain_name(text)) {
      wrong_index("the index names the file \"" + printable(text) +
                  "\", which is not a plain file name");
    }
    const auto [it, fresh] = files_.try_emplace(text, map_.files.size());
    if (fresh) map_.files.push_back(text);
    map_.entries.push_back({std::move(tensor_), it->second});
    return true;
  }
  bool start_object(std::size_t) override {
    if (in_map()) return value();
    if (depth_ == 1 && next_is_map_) found_ = map_depth_ = 2;
    next_is_map_ = false;
    deeper();
    return true;
  }
  bool end_object() override {
    if (in_map()) map_depth_ = 0;
    return shallower();
  }
  bool start_array(std::size_t) override {
    value();
    deeper();
    return true;
  }
  bool end_array() override { return shallower(); }
  bool key(string_t& name) override {
    if (in_map()) {
      tensor_ = std::move(name);
      return true;
    }
    if (!keys_.back().insert(name).second) twice(name);
    next_is_map_ = depth_ == 1 && name == "weight_map";
    return true;
  }
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    wrong_index("the index is not valid JSON (" + printable(error.what()) + ")");
  }

 private:
  bool in_map() const { return map_depth_ != 0 && depth_ == map_depth_; }
  bool value() {
    if (in_map()) wrong_index("the index gives no file name for \"" + printable(tensor_) + "\"");
    next_is_map_ = false;
    return true;
  }
  void deeper() {
    if (++depth_ > 16) wrong_index("the index nests more than 16 levels deep");
    keys_.emplace_back();
  }
  bool shallower() {
    --depth_;
    keys_.pop_back();
    return true;
  }

  WeightMap map_;
  std::map<std::string, std::size_t, std::less<>> files_;
  std::string tensor_;
  std::size_t depth_ = 0, map_depth_ = 0, found_ = 0;
  bool next_is_map_ = false;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

WeightMap read_weight_map(const MappedFile& file) {
  const std::string_view text = as_text(file.bytes());
  if (text.find('\0') != text.npos) wrong_index("the index holds a NUL byte");
  IndexReader reader;
  nlohmann::json::sax_parse(text, &reader);
  return reader.take();
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
  std::error_code ignored;  // of a name that no file can have, such as a very long one
  if (fs::is_regular_file(shard, ignored)) return shard;
  const fs::path stub = shard.string() + std::string(kConsumedEnd);
  if (!fs::is_regular_file(stub, ignored)) {
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

// Both by name.
void check_against_index(const WeightMap& map, const Checkpoint& out) {
  std::unordered_map<std::string_view, std::string> names;  // by path
  for (const FilePtr& file : out.files) names.emplace(file->path(), shard_name(file->path()));
  auto at = out.tensors.begin();
  for (const WeightMap::Entry& entry : map.entries) {
    at = std::find_if(at, out.tensors.end(),
                      [&](const SourceTensor& t) { return t.name >= entry.tensor; });
    const bool there = at != out.tensors.end() && at->name == entry.tensor;
    if (there && names.at(at->file) == map.files[entry.file]) continue;
    throw Error(Code::safetensors_index, "the index places the tensor in a file that lacks it")
        .tensor(printable(entry.tensor))
        .expected("it in " + printable(map.files[entry.file]))
        .actual(there ? "it in " + printable(names.at(at->file)) : "it nowhere")
        .advice("The folder is incomplete or its index is of another checkpoint; fetch it again.");
  }
}

// Only after check_against_index(): then all that is listed is there, each once.
void note_unlisted(const WeightMap& map, Checkpoint& out) {
  std::size_t names = 0;
  for (std::size_t i = 0; i < out.tensors.size(); ++i) {
    names += i == 0 || out.tensors[i].name != out.tensors[i - 1].name ? 1 : 0;
  }
  if (names > map.entries.size()) {
    const std::size_t more = names - map.entries.size();
    out.notes.push_back(std::to_string(more) + (more == 1 ? " tensor stands" : " tensors stand") +
                        " in the files but not in the index");
  }
}

// Headers are read on all cores; what comes of it, the first error too, is as if in order.
void open_shards(const std::vector<fs::path>& shards, const OpenOptions& options, Checkpoint& out) {
  std::vector<Checkpoint> parts(shards.size());
  std::vector<std::exception_ptr> failures(shards.size());
  parallel_for(shards.size(), 0, [&](std::size_t i, unsigned) {
    try {
      open_safetensors(MappedFile::open(shards[i].string()), options, parts[i]);
    } catch (...) {
      failures[i] = std::current_exception();
    }
  });
  for (std::size_t i = 0; i < shards.size(); ++i) {
    if (failures[i]) std::rethrow_exception(failures[i]);
    if (out.tensors.size() + parts[i].tensors.size() > options.max_tensors) {
      throw Error(Code::limit_exceeded, "the shards hold too many tensors")
          .file(shards[i].string())
          .expected("at most " + std::to_string(options.max_tensors))
          .actual(std::to_string(out.tensors.size() + parts[i].tensors.size()))
          .advice(raise_limit("tensors"));
    }
    const std::size_t before = out.tensors.size();
    for (SourceTensor& tensor : parts[i].tensors) {
      tensor.storage_id += before;
      out.tensors.push_back(std::move(tensor));
    }
    out.container = parts[i].container;
    out.files.insert(out.files.end(), parts[i].files.begin(), parts[i].files.end());
    out.facts.update(parts[i].facts, true);
    parts[i] = Checkpoint();
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
          .advice(raise_limit("header-bytes"));
    }
    const WeightMap map = read_weight_map(*index);
    const std::set<std::string> names(map.files.begin(), map.files.end());
    std::vector<fs::path> shards;
    for (const std::string& name : names) shards.push_back(shard_named(folder, name, options));
    open_shards(shards, options, out);
    order_by_name(out.tensors);
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
