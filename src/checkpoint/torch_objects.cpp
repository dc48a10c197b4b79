// Storages, rebuild calls and their geometry; see torch_objects.h.
#include "checkpoint/torch_objects.h"

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/names.h"

namespace wb {

namespace {
constexpr std::size_t kMaxRank = 64;
constexpr int kMaxWrappers = 64;

[[noreturn]] void wrong_storage(const std::string& what) {
  throw Error(Code::pickle_storage, what)
      .advice("The checkpoint is damaged or hostile; get it again from its author.");
}
[[noreturn]] void wrong_tensor(const std::string& what) {
  throw Error(Code::pickle_tensor, what)
      .advice("The checkpoint is damaged or hostile; get it again from its author.");
}
[[noreturn]] void wrong_tensor(const std::string& what, const std::string& expected,
                               const std::string& actual) {
  throw Error(Code::pickle_tensor, what)
      .expected(expected)
      .actual(actual)
      .advice("The checkpoint is damaged or hostile; get it again from its author.");
}
[[noreturn]] void unsupported(const std::string& what, const char* advice) {
  throw Error(Code::dtype_unsupported, what).advice(advice);
}

// What a refused rebuild function would have made.
std::string refused_kind(std::string_view function) {
  auto has = [&](std::string_view part) { return function.find(part) != function.npos; };
  if (has("qtensor")) return "a quantized tensor";
  if (has("sparse")) return "a sparse tensor";
  if (has("meta")) return "a meta tensor, which has no data";
  if (has("nested")) return "a nested tensor";
  return "a tensor of a kind that is not read";
}

std::vector<NodeId> items_of(const PickleNode& tuple, std::size_t least, std::size_t most) {
  if (tuple.kind != Kind::tuple || tuple.items.size() < least || tuple.items.size() > most) {
    wrong_tensor("a rebuild call has the wrong number of arguments",
                 least == most ? std::to_string(least)
                               : std::to_string(least) + " or " + std::to_string(most),
                 std::to_string(tuple.items.size()));
  }
  return tuple.items;
}
}  // namespace

bool is_contiguous(const Shape& shape, const std::vector<std::uint64_t>& strides) {
  if (numel(shape) <= 1) return true;
  std::uint64_t dense = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != dense) return false;
    dense *= shape[i];  // cannot wrap: numel() was checked
  }
  return true;
}

// ---- storages ----

StorageTable::StorageTable(const Pickle& pickle) {
  for (const PickleNode& node : pickle.nodes) {
    if (node.kind == Kind::storage) add(pickle, pickle.at(node.args));
  }
}

void StorageTable::add(const Pickle& pickle, const PickleNode& id) {
  const PickleNode& cls = pickle.at(id.items[1]);
  const PickleGlobal& global = pickle.global(cls);
  TorchStorage storage;
  storage.key = pickle.at(id.items[2]).text;
  storage.class_name = pickle.global_name(cls);
  const std::optional<StorageClass> type = storage_class(global.module, global.name);
  if (!type) {
    wrong_storage("the storage " + printable(storage.key) + " is of the unknown class " +
                  storage.class_name);
  }
  storage.type = *type;
  storage.numel = static_cast<std::uint64_t>(pickle.at(id.items[4]).number);
  storage.nbytes = checked_mul(storage.numel, type->item_size, "a storage's byte size");
  const auto [entry, fresh] = by_key_.try_emplace(storage.key, storages_.size());
  if (fresh) {
    storages_.push_back(std::move(storage));
    return;
  }
  const TorchStorage& first = storages_[entry->second];
  if (first.class_name == storage.class_name && first.numel == storage.numel) return;
  throw Error(Code::pickle_storage,
              "the storage " + printable(storage.key) + " is described in two ways")
      .expected(std::to_string(first.numel) + " elements of " + first.class_name)
      .actual(std::to_string(storage.numel) + " elements of " + storage.class_name)
      .advice("The checkpoint is damaged or hostile; get it again from its author.");
}

const TorchStorage* StorageTable::find(std::string_view key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &storages_[found->second];
}
std::size_t StorageTable::index_of(std::string_view key) const {
  const auto found = by_key_.find(key);
  WB_CHECK(found != by_key_.end());
  return found->second;
}

// ---- tensors ----

SourceTensor TensorReader::read(NodeId node, const std::string& name) const {
  try {
    return read_unnamed(node, name);
  } catch (Error& error) {
    error.tensor(printable(name));
    throw;
  }
}

SourceTensor TensorReader::read_unnamed(NodeId node, const std::string& name) const {
  const Call call = unwrap(node);
  switch (call.kind) {
    case GlobalKind::rebuild_v1: {
      const auto a = items_of(*call.args, 4, 4);
      return assemble(name, a[0], a[1], a[2], a[3], {});
    }
    case GlobalKind::rebuild_v2: {
      const auto a = items_of(*call.args, 6, 7);
      if (a.size() == 7) check_metadata(a[6]);
      return assemble(name, a[0], a[1], a[2], a[3], {});
    }
    case GlobalKind::rebuild_v3: {
      const auto a = items_of(*call.args, 7, 8);
      if (a.size() == 8) check_metadata(a[7]);
      return assemble(name, a[0], a[1], a[2], a[3], named_dtype(a[6]));
    }
    case GlobalKind::tensor_class: {  // torch 0.1: the geometry is the object's state
      if (call.state == kNoNode) wrong_tensor("a tensor is made without a state");
      const auto a = items_of(pickle_.at(call.state), 4, 4);
      return assemble(name, a[0], a[1], a[2], a[3], {});
    }
    default:
      unsupported("it is " + refused_kind(pickle_.global(*call.function).name) + " (" +
                      pickle_.global_name(*call.function) + ")",
                  "Convert it to a plain dense tensor before saving.");
  }
}

TensorReader::Call TensorReader::as_call(NodeId node) const {
  const PickleNode& call = pickle_.at(node);
  if (call.kind != Kind::call) {
    wrong_tensor("a wrapper holds " + std::string(wb::name(call.kind)) + " instead of a tensor");
  }
  const PickleNode& function = pickle_.at(call.callable);
  return {pickle_.global(function).kind, &function, &pickle_.at(call.args), call.state};
}

// Parameters and subclasses stand around a plain rebuild call; the plain one is wanted.
TensorReader::Call TensorReader::unwrap(NodeId node) const {
  Call call = as_call(node);
  for (int i = 0; i <= kMaxWrappers; ++i) {
    switch (call.kind) {
      case GlobalKind::rebuild_parameter:
        call = as_call(items_of(*call.args, 3, 3)[0]);
        break;
      case GlobalKind::rebuild_parameter_with_state:
        call = as_call(items_of(*call.args, 4, 4)[0]);
        break;
      case GlobalKind::rebuild_from_type: {
        const auto a = items_of(*call.args, 4, 4);
        const PickleNode& function = pickle_.at(a[0]);
        if (function.kind != Kind::global || pickle_.at(a[2]).kind != Kind::tuple) {
          wrong_tensor("a subclass wrapper does not hold a function and its arguments");
        }
        call = {pickle_.global(function).kind, &function, &pickle_.at(a[2]), kNoNode};
        break;
      }
      default:
        return call;
    }
  }
  wrong_tensor("it is wrapped more than 64 times");
}

TensorReader::Window TensorReader::window(NodeId id) const {
  const PickleNode& node = pickle_.at(id);
  if (node.kind != Kind::storage) {
    wrong_tensor("a rebuild call gets " + std::string(wb::name(node.kind)) + " as its storage");
  }
  const PickleNode& tuple = pickle_.at(node.args);
  const std::size_t index = table_.index_of(pickle_.at(tuple.items[2]).text);
  const TorchStorage& storage = table_.storages()[index];
  if (tuple.items.size() < 6 || pickle_.at(tuple.items[5]).kind == Kind::none) {
    return {index, 0, storage.nbytes};
  }
  // Legacy files: (view key, offset, numel), a part of the storage, in elements.
  const PickleNode& view = pickle_.at(tuple.items[5]);
  if (view.kind != Kind::tuple || view.items.size() != 3 ||
      pickle_.at(view.items[0]).kind != Kind::text) {
    wrong_storage("a storage view is not (key, offset, length)");
  }
  const std::uint64_t begin = size_value(view.items[1], "a storage view's offset");
  const std::uint64_t length = size_value(view.items[2], "a storage view's length");
  if (checked_add(begin, length, "a storage view's end") > storage.numel) {
    throw Error(Code::pickle_storage, "a storage view reaches beyond its storage")
        .expected("at most " + std::to_string(storage.numel) + " elements")
        .actual(std::to_string(begin) + " + " + std::to_string(length))
        .advice("The checkpoint is damaged or hostile; get it again from its author.");
  }
  return {index, begin * storage.type.item_size, length * storage.type.item_size};
}

std::uint64_t TensorReader::size_value(NodeId id, const char* what) const {
  const PickleNode& node = pickle_.at(id);
  if (node.kind != Kind::integer) {
    wrong_tensor(std::string(what) + " is no size", "an integer below 2^63",
                 std::string(wb::name(node.kind)));
  }
  if (node.number < 0) {
    wrong_tensor(std::string(what) + " is negative", "0 or more", std::to_string(node.number));
  }
  return static_cast<std::uint64_t>(node.number);
}

std::vector<std::uint64_t> TensorReader::size_list(NodeId id, const char* what) const {
  const PickleNode& node = pickle_.at(id);
  if (node.kind != Kind::tuple && node.kind != Kind::list) {
    wrong_tensor(std::string(what) + " is no tuple", "a tuple", std::string(wb::name(node.kind)));
  }
  if (node.items.size() > kMaxRank) {
    wrong_tensor("it has too many dimensions", "at most 64", std::to_string(node.items.size()));
  }
  std::vector<std::uint64_t> values;
  for (NodeId item : node.items) values.push_back(size_value(item, what));
  return values;
}

TensorReader::Geometry TensorReader::geometry(NodeId offset, NodeId size, NodeId stride) const {
  Geometry g{size_list(size, "its size"), size_list(stride, "its stride"),
             size_value(offset, "its storage offset")};
  if (g.shape.size() != g.strides.size()) {
    wrong_tensor("its size and stride differ in rank", std::to_string(g.shape.size()) + " strides",
                 std::to_string(g.strides.size()));
  }
  return g;
}

DType TensorReader::class_dtype(const TorchStorage& storage) const {
  if (storage.type.untyped) {
    wrong_tensor("it views an untyped storage without saying its element type");
  }
  if (storage.type.dtype) return *storage.type.dtype;
  unsupported("its elements are of " + storage.class_name + ", which has no place in safetensors",
              "Convert the tensor to another type before saving, or leave it out.");
}

DType TensorReader::named_dtype(NodeId id) const {
  const PickleNode& node = pickle_.at(id);
  if (node.kind != Kind::global || pickle_.global(node).kind != GlobalKind::torch_dtype) {
    wrong_tensor(
        "its element type is no torch type", "a torch type",
        node.kind == Kind::global ? pickle_.global_name(node) : std::string(wb::name(node.kind)));
  }
  if (const auto dtype = torch_dtype(pickle_.global(node).name)) return *dtype;
  unsupported(
      "its elements are of " + pickle_.global_name(node) + ", which has no place in safetensors",
      "Convert the tensor to another type before saving, or leave it out.");
}

// Newer files say here that the values are to be conjugated or negated when read.
void TensorReader::check_metadata(NodeId id) const {
  const PickleNode& node = pickle_.at(id);
  if (node.kind == Kind::none) return;
  if (node.kind != Kind::dict) wrong_tensor("its metadata is no dict");
  for (std::size_t i = 0; i + 1 < node.items.size(); i += 2) {
    const PickleNode &key = pickle_.at(node.items[i]), &value = pickle_.at(node.items[i + 1]);
    if (value.kind == Kind::boolean && value.number == 0) continue;
    unsupported("it carries the mark \"" + printable(key.text) + "\", which changes its values",
                "Resolve it before saving: tensor.resolve_conj().resolve_neg().");
  }
}

// E9: the last element that the window can show must lie within it, counted without wrapping.
SourceTensor TensorReader::assemble(const std::string& name, NodeId storage_id, NodeId offset,
                                    NodeId size, NodeId stride, std::optional<DType> dtype) const {
  const Window part = window(storage_id);
  const TorchStorage& storage = table_.storages()[part.index];
  const DType type = dtype ? *dtype : class_dtype(storage);
  Geometry g = geometry(offset, size, stride);
  const std::uint64_t count = numel(g.shape);
  byte_size(type, count);  // throws when it does not fit
  const std::uint64_t available = part.length / item_size(type);
  std::uint64_t end = g.offset;
  if (count > 0) {
    for (std::size_t i = 0; i < g.shape.size(); ++i) {
      end = checked_add(end, checked_mul(g.shape[i] - 1, g.strides[i], "a tensor's reach"),
                        "a tensor's reach");
    }
    end = checked_add(end, 1, "a tensor's reach");
    if (end > available) {
      wrong_tensor("it reaches beyond its storage " + printable(storage.key),
                   "at most " + std::to_string(available) + " elements", std::to_string(end));
    }
  }
  if (part.begin % item_size(type) != 0) wrong_storage("a storage view is not aligned to elements");
  SourceTensor out;
  out.name = name;
  out.file = storage.file;
  out.storage_id = part.index;
  out.storage_bytes = storage.nbytes;
  out.storage_offset =
      checked_add(part.begin / item_size(type), g.offset, "a tensor's storage offset");
  out.contiguous = is_contiguous(g.shape, g.strides);
  WB_CHECK(storage.content != nullptr);
  out.tensor = Tensor::stored(name, storage.content, type, std::move(g.shape), out.storage_offset,
                              g.strides);
  if (swap_ && item_size(type) > 1) out.tensor = out.tensor.byteswap();
  return out;
}

}  // namespace wb
