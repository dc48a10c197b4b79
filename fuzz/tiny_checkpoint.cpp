// See tiny_checkpoint.h.
#include "tiny_checkpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tensor/read.h"
#include "unit/checkpoint/builders.h"
#include "unit/recipe/reference_layout.h"

namespace wb::fuzz {

namespace {

namespace pkl = test::pkl;

std::vector<std::int64_t> row_major(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> out(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) {
    // Shapes are the fuzzer's: their product may wrap.
    out[i - 1] = static_cast<std::int64_t>(static_cast<std::uint64_t>(out[i]) *
                                           static_cast<std::uint64_t>(shape[i]));
  }
  return out;
}

test::ReferenceSizes sizes(FuzzedDataProvider& choose) {
  test::ReferenceSizes s;
  s.vocab = choose.ConsumeIntegralInRange<std::uint64_t>(2, 9);
  s.block = choose.ConsumeIntegralInRange<std::uint64_t>(1, 4);
  s.layers = choose.ConsumeIntegralInRange<std::uint64_t>(1, 2);
  s.hidden = choose.PickValueInArray<std::uint64_t>({4, 8, 32, 6});
  s.heads = choose.ConsumeIntegralInRange<std::uint64_t>(1, 2);
  s.kv_rank = choose.PickValueInArray<std::uint64_t>({3, 1, 4, 32});
  s.q_rank = choose.PickValueInArray<std::uint64_t>({5, 1, 4, 32});
  s.rope = choose.PickValueInArray<std::uint64_t>({2, 4});
  s.experts = choose.ConsumeIntegralInRange<std::uint64_t>(2, 3);
  s.routed = choose.PickValueInArray<std::uint64_t>({3, 7, 32, 1});
  s.shared = choose.PickValueInArray<std::uint64_t>({5, 3, 32, 1});
  s.mtp = choose.ConsumeIntegralInRange<std::uint64_t>(0, 1);
  s.head_dim = choose.PickValueInArray<std::uint64_t>({4, 2, 3});
  s.bias = choose.ConsumeBool();
  s.use_shared = choose.ConsumeBool();
  s.untied_head = choose.ConsumeBool();
  s.head = choose.ConsumeBool();
  return s;
}

Piece piece(const SourceTensor& source, DType dtype) {
  Piece out;
  out.name = source.name;
  // What a recipe compares with its own reckoning was computed in f32.
  out.dtype = source.name.ends_with("inv_freq") ? DType::F32 : dtype;
  const auto bytes = read_all(source.tensor.cast(out.dtype));
  out.data.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (std::uint64_t d : source.tensor.shape()) out.shape.push_back(static_cast<std::int64_t>(d));
  out.strides = row_major(out.shape);
  out.numel = static_cast<std::int64_t>(source.tensor.numel());
  return out;
}

// One change of one tensor, or of which there are.
void change(std::vector<Piece>& pieces, FuzzedDataProvider& choose) {
  if (pieces.empty()) return;
  const std::size_t at = choose.ConsumeIntegralInRange<std::size_t>(0, pieces.size() - 1);
  Piece& p = pieces[at];
  const auto number = [&] {
    return choose.ConsumeBool() ? choose.ConsumeIntegralInRange<std::int64_t>(-2, 40)
                                : choose.ConsumeIntegral<std::int64_t>();
  };
  const auto any_of = [&](std::vector<std::int64_t>& list) {
    if (list.empty()) return list.push_back(number());
    list[choose.ConsumeIntegralInRange<std::size_t>(0, list.size() - 1)] = number();
  };
  switch (choose.ConsumeIntegralInRange<int>(0, 10)) {
    case 0:
      pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      pieces.push_back(p);
      break;
    case 2:
      p.name = choose.ConsumeRandomLengthString(24);
      break;
    case 3:
      p.name = pieces[choose.ConsumeIntegralInRange<std::size_t>(0, pieces.size() - 1)].name + "x";
      break;
    case 4:
      p.dtype = choose.PickValueInArray(
          {DType::F32, DType::F16, DType::BF16, DType::F64, DType::I64, DType::U8, DType::Bool});
      break;
    case 5:
      any_of(p.shape);
      break;
    case 6:
      any_of(p.strides);
      break;
    case 7:
      p.offset = number();
      break;
    case 8:
      p.numel = number();
      break;
    case 9:
      std::reverse(p.shape.begin(), p.shape.end());
      std::reverse(p.strides.begin(), p.strides.end());
      break;
    default:
      p.data = choose.ConsumeRandomLengthString(64);
      break;
  }
}

std::string storage_class(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return "HalfStorage";
    case DType::BF16:
      return "BFloat16Storage";
    case DType::F64:
      return "DoubleStorage";
    case DType::I64:
      return "LongStorage";
    case DType::U8:
      return "ByteStorage";
    case DType::Bool:
      return "BoolStorage";
    default:
      return "FloatStorage";
  }
}

// With five items, as in zip archives; legacy files say None for a sixth.
std::string pickle(const std::vector<Piece>& pieces, bool legacy) {
  std::vector<std::pair<std::string, std::string>> items;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Piece& p = pieces[i];
    std::string id = pkl::storage(storage_class(p.dtype), std::to_string(i), p.numel);
    if (legacy) id.insert(id.size() - 2, pkl::none);  // before the tuple's end and BINPERSID
    items.emplace_back(p.name, pkl::tensor_v2(id, p.offset, p.shape, p.strides));
  }
  return pkl::file(items);
}

std::string as_zip(const std::vector<Piece>& pieces, bool deflate) {
  std::vector<std::pair<std::string, std::string>> records;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    records.emplace_back(std::to_string(i), pieces[i].data);
  }
  auto items = test::torch_items(pickle(pieces, false), records);
  for (test::ZipItem& item : items) item.deflate = deflate;
  return test::zip(std::move(items));
}

std::string as_legacy(const std::vector<Piece>& pieces) {
  const std::string small = "M\xe9\x03";  // 1001
  std::string out("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  out += pkl::proto2 + small + pkl::stop;
  out += pkl::file({{"protocol_version", small}, {"little_endian", "\x88"}});
  out += pickle(pieces, true) + pkl::proto2 + pkl::empty_list + pkl::mark;
  for (std::size_t i = 0; i < pieces.size(); ++i) out += pkl::text(std::to_string(i));
  out += "e" + pkl::stop;
  for (const Piece& p : pieces) {
    out += test::le(static_cast<std::uint64_t>(p.numel), 8) + p.data;
  }
  return out;
}

std::string as_safetensors(const std::vector<Piece>& pieces) {
  std::string header = "{", data;
  for (const Piece& p : pieces) {
    const nlohmann::json entry = {{"dtype", std::string(name(p.dtype))},
                                  {"shape", p.shape},
                                  {"data_offsets", {data.size(), data.size() + p.data.size()}}};
    // By hand: a name may be there twice, and need not be text.
    using Json = nlohmann::json;
    header += (header.size() > 1 ? "," : "") +
              Json(p.name).dump(-1, ' ', false, Json::error_handler_t::replace) + ":" +
              entry.dump();
    data += p.data;
  }
  return test::safetensors(header + "}", data);
}

std::string as_shards(const std::vector<Piece>& pieces, bool indexed, const Scratch& folder) {
  const auto middle = pieces.begin() + static_cast<std::ptrdiff_t>(pieces.size() / 2);
  const std::vector<Piece> first(pieces.begin(), middle), second(middle, pieces.end());
  std::filesystem::create_directory(folder.path() / "source");
  folder.write("source/1.safetensors", as_safetensors(first));
  folder.write("source/2.safetensors", as_safetensors(second));
  if (!indexed) return (folder.path() / "source").string();
  using Json = nlohmann::json;
  Json map = Json::object();
  for (const Piece& p : first) map[p.name] = "1.safetensors";
  for (const Piece& p : second) map[p.name] = "2.safetensors";
  folder.write("source/model.safetensors.index.json",
               Json{{"weight_map", map}}.dump(-1, ' ', false, Json::error_handler_t::replace));
  return (folder.path() / "source").string();
}

// Bytes of the file that are not what was written.
bool damage(std::string& file, FuzzedDataProvider& choose) {
  const int places = choose.ConsumeIntegralInRange<int>(0, 3);
  for (int i = 0; i < places && !file.empty(); ++i) {
    const std::size_t at = choose.ConsumeIntegralInRange<std::size_t>(0, file.size() - 1);
    switch (choose.ConsumeIntegralInRange<int>(0, 3)) {
      case 0:
        file.resize(at);
        break;
      case 1:
        file.insert(at, choose.ConsumeRandomLengthString(8));
        break;
      default:
        file[at] = static_cast<char>(choose.ConsumeIntegral<std::uint8_t>());
        break;
    }
  }
  return places > 0;
}

}  // namespace

TinyCheckpoint tiny_checkpoint(FuzzedDataProvider& choose) {
  TinyCheckpoint out;
  const DType dtype = choose.PickValueInArray({DType::F32, DType::F16, DType::BF16});
  const Checkpoint whole = test::reference_layout(sizes(choose)).make();
  for (const SourceTensor& t : whole.tensors) out.pieces.push_back(piece(t, dtype));
  const int changes = choose.ConsumeIntegralInRange<int>(0, 4);
  for (int i = 0; i < changes; ++i) change(out.pieces, choose);
  out.changed = changes > 0;
  return out;
}

std::string write_tiny(TinyCheckpoint& tiny, FuzzedDataProvider& choose, const Scratch& folder) {
  const int container = choose.ConsumeIntegralInRange<int>(0, 5);
  if (container >= 4) return as_shards(tiny.pieces, container == 4, folder);
  std::string file = container == 0   ? as_zip(tiny.pieces, false)
                     : container == 1 ? as_zip(tiny.pieces, true)
                     : container == 2 ? as_legacy(tiny.pieces)
                                      : as_safetensors(tiny.pieces);
  tiny.changed |= damage(file, choose);
  return folder.write("source.bin", file);
}

}  // namespace wb::fuzz
