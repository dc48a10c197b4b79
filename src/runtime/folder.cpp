// Files, strict look-up and decoding; see folder.h.
#include "runtime/folder.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"

namespace wb {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Of an index, which has a line for every tensor.
constexpr JsonLimits kIndexLimits{100'000'000, 16, std::size_t{1} << 22};

json parse_json(const fs::path& path, const JsonLimits& limits = {}) {
  std::error_code failed;
  if (!fs::exists(path, failed)) {
    throw Error(Code::file_open, "cannot be opened")
        .file(path.string())
        .advice("Give the folder of an MLX model, with its config.json.");
  }
  return read_json_file(path.string(), "Restore the file as it was written.", limits);
}

std::vector<std::string> matching(const std::string& folder, std::string_view prefix) {
  std::vector<std::string> out;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(folder, error)) {
    const std::string name = item.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".safetensors")) out.push_back(name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

// The files of the index, when there is one and every file is there.
std::vector<std::string> indexed(const std::string& folder) {
  const fs::path index = fs::path(folder) / "model.safetensors.index.json";
  if (!fs::exists(index)) return {};
  const json document = parse_json(index, kIndexLimits);
  const auto map = document.is_object() ? document.find("weight_map") : document.end();
  if (map == document.end()) return {};
  if (!map->is_object()) {
    throw Error(Code::config_invalid, "the index has a weight_map that is no object")
        .file(index.string())
        .advice("Write the folder again.");
  }
  std::set<std::string> files;
  for (const auto& [name, file] : map->items()) {
    const std::string plain = file.is_string() ? file.get<std::string>() : "";
    if (plain.empty() || plain.find_first_of("/\\") != std::string::npos || plain == "..") {
      throw Error(Code::config_invalid, "the index names a file that is no plain file name")
          .file(index.string())
          .tensor(name)
          .actual(file.dump())
          .advice("Write the folder again.");
    }
    if (!fs::exists(fs::path(folder) / plain)) return {};
    files.insert(plain);
  }
  return {files.begin(), files.end()};
}

std::uint64_t positive(const json& settings, const char* key, std::uint64_t fallback) {
  if (!settings.is_object() || !settings.contains(key)) return fallback;
  const json& v = settings[key];
  if (!v.is_number_integer() || v <= 0 || v > 1 << 20) {
    throw Error(Code::config_invalid,
                std::string("the key \"") + key + "\" of \"quantization\" has no usable value")
        .expected("a positive whole number")
        .actual(v.dump())
        .advice("Correct config.json.");
  }
  return v.get<std::uint64_t>();
}

}  // namespace

json read_config(const std::string& folder) {
  json config = parse_json(fs::path(folder) / "config.json");
  if (!config.is_object()) {
    throw Error(Code::config_invalid, "config.json is not an object")
        .file((fs::path(folder) / "config.json").string())
        .advice("Restore the file as it was written.");
  }
  return config;
}

std::vector<std::string> weight_files(const std::string& folder, MlxReader reader) {
  std::vector<std::string> files;
  if (reader == MlxReader::swift) files = indexed(folder);
  if (files.empty()) files = matching(folder, "model");
  if (files.empty() && reader == MlxReader::swift) files = matching(folder, "weight");
  if (files.empty()) {
    throw Error(Code::no_tensors, "the folder holds no file that the loader reads")
        .file(folder)
        .expected("model*.safetensors")
        .actual("none")
        .advice("Give the folder of an MLX model; a file of another name is invisible to it.");
  }
  return files;
}

Folder::Folder(const json& config, const std::vector<std::pair<std::string, Tensor>>& tensors)
    : path_("(in memory)") {
  if (auto it = config.find("quantization"); it != config.end() && it->is_object()) {
    quantization_ = *it;
  }
  for (const auto& [name, tensor] : tensors) {
    WB_CHECK(tensors_.try_emplace(name, Entry{tensor, path_}).second);
  }
}

Folder::Folder(std::string path, const json& config, const std::vector<std::string>& files)
    : Folder(config, {}) {
  path_ = std::move(path);
  for (const std::string& file : files) {
    const std::string full = (fs::path(path_) / file).string();
    for (SourceTensor& t : open_checkpoint(full).tensors) {
      auto [it, fresh] = tensors_.try_emplace(t.name, Entry{t.tensor, full});
      if (fresh) continue;
      throw Error(Code::tensor_name, "the name is in two files that the loader merges")
          .file(full)
          .tensor(t.name)
          .expected("one file")
          .actual(it->second.file + " has it too")
          .advice("Remove the stale file.");
    }
  }
}

bool Folder::has_prefix(const std::string& prefix) const {
  auto it = tensors_.lower_bound(prefix);
  return it != tensors_.end() && it->first.starts_with(prefix);
}

const Folder::Entry& Folder::entry(const std::string& name, const std::string& shape) {
  auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    throw Error(Code::tensor_missing, "the class needs this tensor and no file has it")
        .file(path_)
        .tensor(name)
        .expected(shape)
        .actual("nothing")
        .advice("Check that config.json belongs to these weights, or write the folder again.");
  }
  used_.insert(name);
  return it->second;
}

Tensor Folder::take(const std::string& name, const Shape& shape) {
  const Entry& found = entry(name, to_string(shape));
  if (found.tensor.shape() != shape) {
    throw Error(Code::shape_mismatch, "the tensor does not have the shape that the class needs")
        .file(found.file)
        .tensor(name)
        .expected(to_string(shape))
        .actual(to_string(found.tensor.shape()))
        .advice("Check that config.json belongs to these weights.");
  }
  if (!info(found.tensor.dtype()).is_float) {
    throw Error(Code::dtype_unsupported, "the tensor is not of a floating type")
        .file(found.file)
        .tensor(name)
        .expected("F32, F16 or BF16")
        .actual(std::string(wb::name(found.tensor.dtype())))
        .advice("A quantised layer needs its scales beside it.");
  }
  return found.tensor;
}

std::optional<QuantFormat> Folder::format(const std::string& path,
                                          const std::string& config_path) const {
  const bool stored = has(path + ".scales");
  const json& q = quantization_;
  // An entry for the module itself decides; else whether its scales are there.
  const json* own = q.is_object() && q.contains(config_path) ? &q[config_path] : nullptr;
  const bool quantised = own == nullptr ? stored : !(own->is_boolean() && !own->get<bool>());
  if (!quantised) return std::nullopt;
  if (q.is_null()) {
    throw Error(Code::config_invalid, "scales are stored, but config.json has no \"quantization\"")
        .file(path_)
        .tensor(path + ".scales")
        .advice("Restore config.json as it was written.");
  }
  const json& settings = own != nullptr && own->is_object() ? *own : q;
  const json text = settings.value("mode", json("affine"));
  const auto mode = text.is_string() ? quant_mode_from_name(text.get<std::string>()) : std::nullopt;
  if (!mode) {
    throw Error(Code::config_invalid, "the quantisation mode is not known")
        .file(path_)
        .tensor(path + ".weight")
        .expected("affine, mxfp4, mxfp8 or nvfp4")
        .actual(text.dump())
        .advice("Correct \"quantization\" in config.json, or write the folder again.");
  }
  QuantFormat f = default_format(*mode);
  f.bits = static_cast<unsigned>(positive(settings, "bits", f.bits));
  f.group_size = positive(settings, "group_size", f.group_size);
  check_format(f);
  return f;
}

DType Folder::scales_dtype(const std::string& path) const {
  return tensors_.at(path + ".scales").tensor.dtype();
}

Tensor Folder::weight_of(const std::string& path, const std::string& config_path,
                         const Shape& shape) {
  const std::optional<QuantFormat> f = format(path, config_path);
  if (!f) return take(path + ".weight", shape);
  const std::string wanted = to_string(shape) + " after decoding";
  const Entry packed = entry(path + ".weight", wanted);
  QuantizedTensors stored{packed.tensor, entry(path + ".scales", wanted).tensor, std::nullopt};
  if (has_biases(*f)) stored.biases = entry(path + ".biases", wanted).tensor;
  try {
    Tensor out = dequantize(path + ".weight", stored, *f);
    if (out.shape() == shape) return out;
    throw Error(Code::shape_mismatch, "the tensor does not have the shape that the class needs")
        .tensor(path + ".weight")
        .expected(wanted)
        .actual(to_string(out.shape()))
        .advice("Check \"quantization\" in config.json, and that it belongs to these weights.");
  } catch (Error& e) {
    e.file(packed.file);
    throw;
  }
}

void Folder::check_all_used() const {
  std::string names;
  std::size_t count = 0;
  for (const auto& [name, entry] : tensors_) {
    if (used_.count(name) != 0) continue;
    if (++count <= 8) names += (count == 1 ? "" : ", ") + name;
  }
  if (count == 0) return;
  throw Error(Code::source_uncovered, std::to_string(count) +
                                          " tensors are in the folder that the class has no place "
                                          "for: " +
                                          names + (count > 8 ? ", ..." : ""))
      .file(path_)
      .advice(
          "The loader refuses them too: check that config.json belongs to these weights, and "
          "that no stale file is in the folder.");
}

}  // namespace wb
