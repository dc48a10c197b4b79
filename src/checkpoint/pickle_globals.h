// The names that pickles may mention. Owns the two lists of formats.md E13: names
// that mean something to this reader, and names that are refused wherever they
// occur. Every other name is kept as an inert word. No name is ever resolved.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tensor/dtype.h"

namespace wb {

enum class GlobalKind {
  opaque,  // kept as a word; what it makes is an inert object
  ordered_dict,
  default_dict,
  counter,
  dict,
  list,
  tuple,
  set,
  encode,      // _codecs.encode: how protocol 2 spells bytes
  torch_size,  // a tuple by another name
  storage_class,
  torch_dtype,
  tensor_class,  // torch.Tensor, torch.FloatTensor, Parameter: old files BUILD them
  rebuild_v2,
  rebuild_v3,
  rebuild_v1,
  rebuild_parameter,
  rebuild_parameter_with_state,
  rebuild_from_type,
  rebuild_refused,  // quantized, sparse, meta, nested, ...: tensors that we do not read
};

// What `module.name` means here. Throws Code::pickle_global, naming it, when it is
// on the list of names that are always refused, or when it traverses attributes.
GlobalKind classify_global(std::string_view module, std::string_view name);

// What a storage class holds ("torch", "FloatStorage").
struct StorageClass {
  unsigned item_size = 1;      // bytes; UntypedStorage counts bytes
  std::optional<DType> dtype;  // absent for UntypedStorage and for types that we cannot carry
  bool untyped = false;
};
// nullopt for a name that is no storage class we know.
std::optional<StorageClass> storage_class(std::string_view module, std::string_view name);
// "float8_e4m3fn" -> F8_E4M3; nullopt for types that we cannot carry.
std::optional<DType> torch_dtype(std::string_view name);

}  // namespace wb
