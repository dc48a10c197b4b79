// The lists of names; see pickle_globals.h.
#include "checkpoint/pickle_globals.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <string>

#include "base/error.h"
#include "checkpoint/names.h"

namespace wb {

namespace {
// Modules whose every member is refused, submodules included. The second row holds
// the C halves and Python 2 spellings of the first.
constexpr std::string_view kRefusedModules[] = {
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "socket",
    "shutil",
    "pty",
    "ctypes",
    "importlib",
    "runpy",
    "code",
    "pickle",
    "marshal",
    "types",
    "webbrowser",
    "urllib",
    "operator",
    "_posixsubprocess",
    "_socket",
    "_ctypes",
    "_pickle",
    "cPickle",
    "_operator",
    "commands",
    "posixpath",
    "ntpath",
    "_winapi",
    "codeop",
    "urllib2",
    "popen2",
    "imp",
    "_imp",
    "torch.hub",
};
struct RefusedName {
  std::string_view module, name;
};
constexpr RefusedName kRefusedNames[] = {
    {"builtins", "eval"},
    {"builtins", "exec"},
    {"builtins", "compile"},
    {"builtins", "open"},
    {"builtins", "__import__"},
    {"builtins", "getattr"},
    {"builtins", "setattr"},
    {"builtins", "delattr"},
    {"builtins", "apply"},
    {"builtins", "breakpoint"},
    {"builtins", "input"},
    {"builtins", "execfile"},
    {"builtins", "globals"},
    {"builtins", "vars"},
    {"builtins", "reload"},
    {"functools", "partial"},
    {"_functools", "partial"},
    {"torch", "load"},
    {"torch.jit", "load"},
    {"torch.jit._serialization", "load"},
    {"torch.serialization", "load"},
    {"torch.storage", "_load_from_bytes"},
    {"io", "open"},
    {"_io", "open"},
    {"codecs", "open"},
};

struct Known {
  std::string_view module, name;
  GlobalKind kind;
};
constexpr Known kKnown[] = {
    {"collections", "OrderedDict", GlobalKind::ordered_dict},
    {"collections", "defaultdict", GlobalKind::default_dict},
    {"collections", "Counter", GlobalKind::counter},
    {"builtins", "dict", GlobalKind::dict},
    {"builtins", "list", GlobalKind::list},
    {"builtins", "tuple", GlobalKind::tuple},
    {"builtins", "set", GlobalKind::set},
    {"builtins", "frozenset", GlobalKind::set},
    {"_codecs", "encode", GlobalKind::encode},
    {"torch", "Size", GlobalKind::torch_size},
    {"torch", "Tensor", GlobalKind::tensor_class},
    {"torch._tensor", "Tensor", GlobalKind::tensor_class},
    {"torch.tensor", "Tensor", GlobalKind::tensor_class},
    {"torch.nn.parameter", "Parameter", GlobalKind::tensor_class},
    {"torch._utils", "_rebuild_tensor_v2", GlobalKind::rebuild_v2},
    {"torch._utils", "_rebuild_tensor_v3", GlobalKind::rebuild_v3},
    {"torch._utils", "_rebuild_tensor", GlobalKind::rebuild_v1},
    {"torch._utils", "_rebuild_parameter", GlobalKind::rebuild_parameter},
    {"torch._utils", "_rebuild_parameter_with_state", GlobalKind::rebuild_parameter_with_state},
    {"torch._tensor", "_rebuild_from_type_v2", GlobalKind::rebuild_from_type},
};

constexpr std::string_view kTensorClasses[] = {
    "DoubleTensor", "FloatTensor", "HalfTensor", "BFloat16Tensor", "LongTensor",
    "IntTensor",    "ShortTensor", "CharTensor", "ByteTensor",     "BoolTensor",
};
struct DTypeRow {
  std::string_view storage;  // class in module torch, "" when there is none
  std::string_view dtype;    // name in module torch
  DType type;
};
constexpr DTypeRow kDTypes[] = {
    {"DoubleStorage", "float64", DType::F64},
    {"FloatStorage", "float32", DType::F32},
    {"HalfStorage", "float16", DType::F16},
    {"BFloat16Storage", "bfloat16", DType::BF16},
    {"LongStorage", "int64", DType::I64},
    {"IntStorage", "int32", DType::I32},
    {"ShortStorage", "int16", DType::I16},
    {"CharStorage", "int8", DType::I8},
    {"ByteStorage", "uint8", DType::U8},
    {"BoolStorage", "bool", DType::Bool},
    {"ComplexFloatStorage", "complex64", DType::C64},
    {"", "uint16", DType::U16},
    {"", "uint32", DType::U32},
    {"", "uint64", DType::U64},
    {"", "float8_e4m3fn", DType::F8_E4M3},
    {"", "float8_e5m2", DType::F8_E5M2},
    {"", "float8_e4m3fnuz", DType::F8_E4M3FNUZ},
    {"", "float8_e5m2fnuz", DType::F8_E5M2FNUZ},
    {"", "float8_e8m0fnu", DType::F8_E8M0},
    // Other spellings of the same types.
    {"", "double", DType::F64},
    {"", "float", DType::F32},
    {"", "half", DType::F16},
    {"", "long", DType::I64},
    {"", "int", DType::I32},
    {"", "short", DType::I16},
    {"", "cfloat", DType::C64},
};
// Types that exist, are recognised, and have no place in the output.
constexpr std::string_view kOtherDTypes[] = {
    "complex128", "complex32", "cdouble",  "chalf",    "quint8",
    "qint8",      "qint32",    "quint4x2", "quint2x4", "bits1x8",
    "bits2x4",    "bits4x2",   "bits8",    "bits16",   "float4_e2m1fn_x2",
    "int1",       "int2",      "int3",     "int4",     "int5",
    "int6",       "int7",      "uint1",    "uint2",    "uint3",
    "uint4",      "uint5",     "uint6",    "uint7",
};

struct OtherStorage {
  std::string_view name;
  unsigned item_size;
};
constexpr OtherStorage kOtherStorages[] = {
    {"ComplexDoubleStorage", 16}, {"QInt8Storage", 1},    {"QUInt8Storage", 1},
    {"QInt32Storage", 4},         {"QUInt4x2Storage", 1}, {"QUInt2x4Storage", 1},
};

// Python 2 spelled some modules otherwise, and torch.cuda had classes of its own.
std::string_view modern_module(std::string_view module) {
  if (module == "__builtin__") return "builtins";
  if (module == "torch.cuda") return "torch";
  return module;
}

bool is_refused(std::string_view module, std::string_view name) {
  for (std::string_view refused : kRefusedModules) {
    if (module == refused) return true;
    if (module.starts_with(refused) && module[refused.size()] == '.') return true;
  }
  return std::any_of(std::begin(kRefusedNames), std::end(kRefusedNames),
                     [&](const RefusedName& r) { return r.module == module && r.name == name; });
}

bool contains(std::span<const std::string_view> list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}
}  // namespace

GlobalKind classify_global(std::string_view module, std::string_view name) {
  module = modern_module(module);
  const std::string full = printable(module) + "." + printable(name);
  if (is_refused(module, name)) {
    throw Error(Code::pickle_global,
                "the pickle asks for " + full + ", which no checkpoint needs and attacks use")
        .advice("Do not load this file anywhere; get the checkpoint from a source you trust.");
  }
  if (name.find('.') != name.npos) {
    throw Error(Code::pickle_global, "the pickle asks for " + full + ", a name inside a name")
        .advice("Save plain tensors only: torch.save(model.state_dict(), path).");
  }
  for (const Known& known : kKnown) {
    if (known.module == module && known.name == name) return known.kind;
  }
  if (module == "torch._utils" && name.starts_with("_rebuild_")) return GlobalKind::rebuild_refused;
  if (module == "torch.storage" && (name == "UntypedStorage" || name == "_UntypedStorage")) {
    return GlobalKind::storage_class;
  }
  if (module != "torch") return GlobalKind::opaque;
  if (name.ends_with("Storage")) return GlobalKind::storage_class;
  if (contains(kTensorClasses, name)) return GlobalKind::tensor_class;
  if (torch_dtype(name) || contains(kOtherDTypes, name)) return GlobalKind::torch_dtype;
  return GlobalKind::opaque;
}

std::optional<StorageClass> storage_class(std::string_view module, std::string_view name) {
  if (name == "UntypedStorage" || name == "_UntypedStorage") return StorageClass{1, {}, true};
  if (modern_module(module) != "torch") return std::nullopt;
  for (const DTypeRow& row : kDTypes) {
    if (!row.storage.empty() && row.storage == name) {
      return StorageClass{item_size(row.type), row.type, false};
    }
  }
  for (const OtherStorage& other : kOtherStorages) {
    if (other.name == name) return StorageClass{other.item_size, {}, false};
  }
  return std::nullopt;
}

std::optional<DType> torch_dtype(std::string_view name) {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == name) return row.type;
  }
  return std::nullopt;
}

}  // namespace wb
