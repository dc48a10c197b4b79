// From inert pickle nodes to storages and tensors. Owns what the rebuild functions
// of formats.md E6 mean and every check on their geometry: a tensor that this
// returns lies within its storage, whatever the file said. Refuses quantized,
// sparse and meta tensors, conjugated and negated ones, and types without a place
// in safetensors, each by name.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/pickle_value.h"

namespace wb {

// One storage of a pickle, as its persistent ids describe it.
struct TorchStorage {
  std::string_view key;
  std::string class_name;  // "torch.FloatStorage"
  StorageClass type;
  std::uint64_t numel = 0;                 // elements of its class
  std::uint64_t nbytes = 0;                // numel * type.item_size
  std::shared_ptr<const Storage> content;  // set by the container
  std::string_view file;                   // its path, kept by Checkpoint::files
};

class StorageTable {
 public:
  // Collects every storage id of `pickle`; ids with one key must agree. Throws pickle_storage.
  explicit StorageTable(const Pickle& pickle);
  // In order of first appearance; the index is the storage's id.
  std::vector<TorchStorage>& storages() { return storages_; }
  const std::vector<TorchStorage>& storages() const { return storages_; }
  const TorchStorage* find(std::string_view key) const;
  std::size_t index_of(std::string_view key) const;  // the key must be there

 private:
  void add(const Pickle& pickle, const PickleNode& id);
  std::vector<TorchStorage> storages_;
  std::unordered_map<std::string_view, std::size_t> by_key_;
};

class TensorReader {
 public:
  // `swap`: the bytes are big-endian. All three must outlive the reader.
  TensorReader(const Pickle& pickle, const StorageTable& table, bool swap)
      : pickle_(pickle), table_(table), swap_(swap) {}
  // Whether `node` is a rebuilt tensor, readable or not.
  bool is_tensor(NodeId node) const { return pickle_.at(node).kind == Kind::call; }
  // Throws pickle_tensor, pickle_storage, dtype_unsupported, size_overflow, naming `name`.
  SourceTensor read(NodeId node, const std::string& name) const;

 private:
  struct Call {
    GlobalKind kind;
    const PickleNode* function;
    const PickleNode* args;
    NodeId state;
  };
  struct Geometry {
    Shape shape;
    std::vector<std::uint64_t> strides;
    std::uint64_t offset = 0;
  };
  struct Window {  // the part of a storage that one persistent id gives access to
    std::size_t index;
    std::uint64_t begin, length;  // bytes
  };
  SourceTensor read_unnamed(NodeId node, const std::string& name) const;
  Call as_call(NodeId node) const;
  Call unwrap(NodeId node) const;
  SourceTensor assemble(const std::string& name, NodeId storage, NodeId offset, NodeId size,
                        NodeId stride, std::optional<DType> dtype) const;
  Window window(NodeId storage) const;
  Geometry geometry(NodeId offset, NodeId size, NodeId stride) const;
  std::uint64_t size_value(NodeId node, const char* what) const;
  std::vector<std::uint64_t> size_list(NodeId node, const char* what) const;
  DType class_dtype(const TorchStorage& storage) const;
  DType named_dtype(NodeId node) const;
  void check_metadata(NodeId node) const;

  const Pickle& pickle_;
  const StorageTable& table_;
  bool swap_;
};

// Whether elements of this shape and stride stand row-major without gaps.
bool is_contiguous(const Shape& shape, const std::vector<std::uint64_t>& strides);

}  // namespace wb
