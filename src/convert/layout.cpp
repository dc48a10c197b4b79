// Sorting, sharding and safetensors headers; see layout.h.
#include "convert/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <span>

#include "base/checked.h"

namespace wb {

namespace {

constexpr std::uint64_t kMaxDim = std::numeric_limits<std::int32_t>::max();  // MLX's index type
constexpr std::uint64_t kMaxHeader = 100'000'000;  // MLX refuses this many bytes

bool mlx_loads(DType dtype) {
  switch (dtype) {
    case DType::F4:
    case DType::F6_E2M3:
    case DType::F6_E3M2:
    case DType::F8_E5M2:
    case DType::F8_E4M3FNUZ:
    case DType::F8_E5M2FNUZ:
    case DType::F64:
      return false;
    default:
      return true;
  }
}

void check(const TargetTensor& tensor, std::set<std::string_view>& names) {
  if (tensor.name == "__metadata__" || tensor.name.empty()) {
    throw Error(Code::tensor_name, "a safetensors file cannot hold a tensor of this name")
        .tensor(tensor.name)
        .advice("Rename the tensor in the recipe.");
  }
  if (!names.insert(tensor.name).second) {
    throw Error(Code::tensor_name, "two tensors of the output have one name")
        .tensor(tensor.name)
        .advice("Rename one of them in the recipe.");
  }
  if (!mlx_loads(tensor.tensor.dtype())) {
    throw Error(Code::dtype_unsupported, "MLX loads no tensor of this element type")
        .tensor(tensor.name)
        .expected("F32, F16, BF16 or another type that MLX has")
        .actual(name(tensor.tensor.dtype()))
        .advice("Give --dtype f32, f16 or bf16.");
  }
  for (std::uint64_t dim : tensor.tensor.shape()) {
    if (dim > kMaxDim) {
      throw Error(Code::limit_exceeded, "a dimension is larger than MLX can index")
          .tensor(tensor.name)
          .expected("at most " + std::to_string(kMaxDim))
          .actual(to_string(tensor.tensor.shape()))
          .advice("Split the tensor in the recipe.");
    }
  }
}

// The name as a JSON string.
std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(Code::tensor_name, "a tensor's name is not UTF-8")
        .tensor(nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace))
        .advice("Rename the tensor in the recipe.");
  }
}

// Written out by hand: an ordered JSON object takes time quadratic in its keys.
std::string header_json(const TensorFile& file, std::uint64_t data_bytes) {
  std::string json = R"({"__metadata__":{"format":"mlx"})";
  std::uint64_t offset = 0;
  for (const PlacedTensor& placed : file.tensors) {
    const Tensor& tensor = placed.tensor->tensor;
    json += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        quoted(placed.tensor->name), name(tensor.dtype()),
                        fmt::join(tensor.shape(), ","), offset, offset + placed.bytes);
    offset += placed.bytes;
  }
  WB_CHECK(offset == data_bytes);
  return json + "}";
}

TensorFile make_file(std::span<const TargetTensor* const> tensors) {
  TensorFile file;
  std::uint64_t data = 0;
  for (const TargetTensor* tensor : tensors) {
    file.tensors.push_back({tensor, 0, tensor->tensor.nbytes()});
    data = checked_add(data, file.tensors.back().bytes, "a file's size");
  }
  std::sort(file.tensors.begin(), file.tensors.end(),
            [](const PlacedTensor& a, const PlacedTensor& b) {
              DType da = a.tensor->tensor.dtype(), db = b.tensor->tensor.dtype();
              return da != db ? da > db : a.tensor->name < b.tensor->name;
            });
  std::string json = header_json(file, data);
  json.resize(round_up(json.size(), 8, "a header's size"), ' ');
  if (json.size() >= kMaxHeader) {
    throw Error(Code::limit_exceeded, "a file's safetensors header is longer than MLX reads")
        .expected("fewer than " + std::to_string(kMaxHeader) + " bytes")
        .actual(std::to_string(json.size()))
        .advice("Write smaller shards.");
  }
  for (int i = 0; i < 8; ++i) file.header += static_cast<char>(json.size() >> (8 * i) & 0xff);
  file.header += json;
  std::uint64_t offset = file.header.size();
  for (PlacedTensor& placed : file.tensors) {
    placed.offset = offset;
    offset = checked_add(offset, placed.bytes, "a file's size");
  }
  file.bytes = offset;
  return file;
}

std::vector<const TargetTensor*> by_name(const std::vector<TargetTensor>& tensors) {
  std::vector<const TargetTensor*> sorted;
  for (const TargetTensor& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(),
            [](const TargetTensor* a, const TargetTensor* b) { return a->name < b->name; });
  return sorted;
}

std::vector<TensorFile> shards(const std::vector<TargetTensor>& tensors, std::uint64_t limit) {
  std::vector<const TargetTensor*> sorted = by_name(tensors);
  std::vector<TensorFile> files;
  std::size_t begin = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    std::uint64_t more = sorted[i]->tensor.nbytes();
    if (i > begin && checked_add(bytes, more, "a shard's size") > limit) {
      files.push_back(make_file(std::span(sorted).subspan(begin, i - begin)));
      begin = i;
      bytes = 0;
    }
    bytes += more;
  }
  files.push_back(make_file(std::span(sorted).subspan(begin)));
  for (std::size_t i = 0; i < files.size(); ++i) {
    files[i].name = files.size() == 1
                        ? "model.safetensors"
                        : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size());
  }
  return files;
}

std::string index_text(const FolderLayout& layout, std::uint64_t parameters) {
  std::uint64_t total = 0;
  nlohmann::json map = nlohmann::json::object();  // sorted by key
  for (const TensorFile& file : layout.files) {
    for (const PlacedTensor& placed : file.tensors) {
      total = checked_add(total, placed.bytes, "the model's size");
      map[placed.tensor->name] = file.name;
    }
  }
  nlohmann::ordered_json index;
  index["metadata"] = {{"total_size", total}, {"total_parameters", parameters}};
  index["weight_map"] = map;
  return index.dump(4);
}

// Bits per weight of the module at `path` by config.json's "quantization"; 0 if it is not there.
std::uint64_t quantized_bits(const nlohmann::ordered_json& config, const std::string& path) {
  auto quantization = config.find("quantization");
  if (quantization == config.end() || !quantization->is_object()) return 0;
  auto own = quantization->find(path);
  const auto& entry = own != quantization->end() && own->is_object() ? *own : *quantization;
  auto bits_entry = entry.find("bits");
  if (bits_entry == entry.end() || !bits_entry->is_number_unsigned()) return 0;
  return bits_entry->get<std::uint64_t>();
}

bool ends_with(const std::string& text, std::string_view tail, std::string& stem) {
  if (!text.ends_with(tail)) return false;
  stem = text.substr(0, text.size() - tail.size());
  return true;
}

}  // namespace

std::uint64_t count_parameters(const LoweredModel& model) {
  std::set<std::string> packed;  // module paths
  for (const TargetTensor& tensor : model.tensors) {
    std::string path;
    if (ends_with(tensor.name, ".scales", path)) packed.insert(path);
  }
  std::uint64_t total = 0;
  for (const TargetTensor& tensor : model.tensors) {
    std::string path;
    if ((ends_with(tensor.name, ".scales", path) || ends_with(tensor.name, ".biases", path)) &&
        packed.count(path) != 0) {
      continue;
    }
    std::uint64_t count = tensor.tensor.numel();
    if (tensor.tensor.dtype() == DType::U32 && ends_with(tensor.name, ".weight", path) &&
        packed.count(path) != 0) {
      std::uint64_t width = quantized_bits(model.config, path);
      if (width > 0) count = checked_mul(count, 32, "a tensor's bit count") / width;
    }
    total = checked_add(total, count, "the model's parameter count");
  }
  return total;
}

FolderLayout lay_out(const LoweredModel& model, std::uint64_t shard_size) {
  std::set<std::string_view> names;
  for (const TargetTensor& tensor : model.tensors) check(tensor, names);
  for (const TargetTensor& tensor : model.extra) check(tensor, names);
  FolderLayout layout;
  layout.files = shards(model.tensors, shard_size);
  layout.parameters = count_parameters(model);
  layout.index = index_text(layout, layout.parameters);
  if (!model.extra.empty()) {
    layout.files.push_back(make_file(by_name(model.extra)));
    layout.files.back().name = "mtp.safetensors";
  }
  for (const TensorFile& file : layout.files) {
    std::uint64_t data = file.bytes - file.header.size();
    layout.tensor_bytes = checked_add(layout.tensor_bytes, data, "the folder's size");
  }
  return layout;
}

}  // namespace wb
