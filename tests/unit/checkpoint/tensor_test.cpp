// Rebuild calls: what each makes, and every lie about geometry and storages that
// must be found (formats.md E6 to E9, E14). Also the walk that names tensors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "tensor/read.h"
#include "unit/checkpoint/builders.h"

namespace wb::test {
namespace {

using Records = std::vector<std::pair<std::string, std::string>>;
using Items = std::vector<std::pair<std::string, std::string>>;

// f32 0, 1, 2, ..., 7 as bytes.
std::string eight() {
  std::string out;
  for (unsigned bits : {0u, 0x3f800000u, 0x40000000u, 0x40400000u, 0x40800000u, 0x40a00000u,
                        0x40c00000u, 0x40e00000u}) {
    out += le(bits, 4);
  }
  return out;
}
std::string floats(std::int64_t numel = 8) { return pkl::storage("FloatStorage", "0", numel); }
std::string untyped(std::int64_t numel) { return pkl::storage("UntypedStorage", "0", numel); }
std::string call(const std::string& module, const std::string& name,
                 const std::vector<std::string>& args) {
  return pkl::global(module, name) + pkl::tuple_of(args) + pkl::reduce;
}
std::string utils(const std::string& name, const std::vector<std::string>& args) {
  return call("torch._utils", name, args);
}
std::string plain() { return pkl::tensor_v2(floats(), 0, {8}, {1}); }

Checkpoint open_items(const TempFolder& folder, const Items& items,
                      const Records& records = {{"0", eight()}}) {
  return open(folder, torch_zip(pkl::file(items), records));
}
std::vector<float> values_of(const std::string& tensor) {
  const TempFolder folder;
  const Checkpoint checkpoint = open_items(folder, {{"w", tensor}});
  return read_f32(checkpoint.tensors.at(0).tensor);
}
Error tensor_error(const std::string& tensor, const Records& records = {{"0", eight()}},
                   const OpenOptions& options = {}) {
  return error_of(torch_zip(pkl::file({{"w", tensor}}), records), options);
}
Error tree_error(const Items& items, const OpenOptions& options = {}) {
  return error_of(torch_zip(pkl::file(items), {{"0", eight()}}), options);
}
const std::vector<float> kEight{0, 1, 2, 3, 4, 5, 6, 7};

// ---- rebuild functions ----

TEST(Rebuild, EveryFormGivesTheSameTensor) {
  const std::string one = pkl::sizes({1}), size = pkl::sizes({8});
  EXPECT_EQ(values_of(plain()), kEight);
  EXPECT_EQ(values_of(utils("_rebuild_tensor", {floats(), pkl::integer(0), size, one})), kEight);
  EXPECT_EQ(values_of(utils("_rebuild_tensor_v2", {floats(), pkl::integer(0), size, one, "\x89",
                                                   pkl::ordered_dict(), pkl::empty_dict})),
            kEight);
  EXPECT_EQ(values_of(utils("_rebuild_tensor_v3",
                            {untyped(32), pkl::integer(0), size, one, "\x89", pkl::ordered_dict(),
                             pkl::global("torch", "float32")})),
            kEight);
  EXPECT_EQ(values_of(utils("_rebuild_parameter", {plain(), "\x88", pkl::ordered_dict()})), kEight);
  EXPECT_EQ(values_of(utils("_rebuild_parameter_with_state",
                            {plain(), "\x88", pkl::ordered_dict(), pkl::empty_dict})),
            kEight);
  const std::string inner =
      pkl::global("torch._utils", "_rebuild_tensor_v2") + pkl::global("mylib", "MyTensor") +
      pkl::tuple_of({floats(), pkl::integer(0), size, one, "\x89", pkl::ordered_dict()}) +
      pkl::empty_dict;
  EXPECT_EQ(values_of(call("torch._tensor", "_rebuild_from_type_v2", {inner})), kEight);
  // torch 0.1: an empty FloatTensor that gets its geometry as a state.
  EXPECT_EQ(values_of(call("torch", "FloatTensor", {}) +
                      pkl::tuple_of({floats(), pkl::integer(0), size, one}) + "b"),
            kEight);
}

TEST(Rebuild, Float8ComesThroughUntypedStorages) {
  struct Case {
    const char* type;
    DType dtype;
  };
  for (const Case& c :
       {Case{"float8_e4m3fn", DType::F8_E4M3}, Case{"float8_e5m2", DType::F8_E5M2},
        Case{"float8_e4m3fnuz", DType::F8_E4M3FNUZ}, Case{"float8_e5m2fnuz", DType::F8_E5M2FNUZ},
        Case{"float8_e8m0fnu", DType::F8_E8M0}, Case{"uint8", DType::U8}}) {
    const TempFolder folder;
    const Checkpoint checkpoint =
        open_items(folder,
                   {{"w", utils("_rebuild_tensor_v3",
                                {untyped(4), pkl::integer(1), pkl::sizes({3}), pkl::sizes({1}),
                                 "\x89", pkl::ordered_dict(), pkl::global("torch", c.type)})}},
                   {{"0", "\x01\x38\xfe\x7f"}});
    EXPECT_EQ(checkpoint.tensors[0].tensor.dtype(), c.dtype) << c.type;
    const auto bytes = read_all(checkpoint.tensors[0].tensor);
    EXPECT_EQ(std::to_integer<int>(bytes.at(0)), 0x38);
    EXPECT_EQ(std::to_integer<int>(bytes.at(2)), 0x7f);
  }
}

TEST(Rebuild, UnsignedTypesOfVersionThree) {
  const TempFolder folder;
  const Checkpoint checkpoint = open_items(
      folder, {{"w", utils("_rebuild_tensor_v3",
                           {untyped(32), pkl::integer(1), pkl::sizes({2, 2}), pkl::sizes({1, 2}),
                            "\x89", pkl::ordered_dict(), pkl::global("torch", "uint16")})}});
  EXPECT_EQ(checkpoint.tensors[0].tensor.dtype(), DType::U16);
  EXPECT_FALSE(checkpoint.tensors[0].contiguous);
  EXPECT_EQ(checkpoint.tensors[0].storage_offset, 1u);
}

TEST(Rebuild, BigEndianArchivesAreSwappedPerScalar) {
  const TempFolder folder;
  auto items = torch_items(
      pkl::file({{"c", pkl::tensor_v2(pkl::storage("ComplexFloatStorage", "1", 1), 0, {1}, {1})},
                 {"i", pkl::tensor_v2(pkl::storage("CharStorage", "2", 2), 0, {2}, {1})},
                 {"w", pkl::tensor_v2(floats(2), 0, {2}, {1})}}),
      {{"0", std::string("\x3f\x80\0\0\x40\0\0\0", 8)},
       {"1", std::string("\x3f\x80\0\0\x40\0\0\0", 8)},
       {"2", "\x01\x02"}});
  items.emplace_back().name = "archive/byteorder";
  items.back().content = "big";
  const Checkpoint checkpoint = open(folder, zip(items));
  EXPECT_EQ(read_f32(checkpoint.find("w")->tensor), (std::vector<float>{1, 2}));
  const auto complex = read_all(checkpoint.find("c")->tensor);
  const std::string text(reinterpret_cast<const char*>(complex.data()), complex.size());
  EXPECT_EQ(text, std::string("\0\0\x80\x3f\0\0\0\x40", 8));  // 1 + 2i, component by component
  EXPECT_EQ(std::to_integer<int>(read_all(checkpoint.find("i")->tensor).at(0)), 1);
}

TEST(Rebuild, WhatCannotBeReadIsRefusedByName) {
  const std::vector<std::string> view{floats(), pkl::integer(0), pkl::sizes({8}), pkl::sizes({1})};
  WB_EXPECT_ERROR(tensor_error(utils("_rebuild_qtensor", view)), Code::dtype_unsupported,
                  "a quantized tensor (torch._utils._rebuild_qtensor)");
  WB_EXPECT_ERROR(tensor_error(utils("_rebuild_sparse_tensor", {pkl::none})),
                  Code::dtype_unsupported, "a sparse tensor");
  WB_EXPECT_ERROR(tensor_error(utils("_rebuild_nested_tensor", {pkl::none})),
                  Code::dtype_unsupported, "a nested tensor");
  WB_EXPECT_ERROR(tensor_error(utils("_rebuild_wrapper_subclass", {pkl::none})),
                  Code::dtype_unsupported, "a tensor of a kind that is not read");
  WB_EXPECT_ERROR(tensor_error(utils("_rebuild_meta_tensor_no_storage", {pkl::none})),
                  Code::dtype_unsupported, "a meta tensor, which has no data");
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(pkl::storage("QInt8Storage", "0", 32), 0, {8}, {1})),
                  Code::dtype_unsupported, "torch.QInt8Storage");
  for (const char* type : {"float4_e2m1fn_x2", "bits8", "complex32"}) {
    WB_EXPECT_ERROR(
        tensor_error(utils("_rebuild_tensor_v3",
                           {untyped(32), pkl::integer(0), pkl::sizes({8}), pkl::sizes({1}), "\x89",
                            pkl::ordered_dict(), pkl::global("torch", type)})),
        Code::dtype_unsupported, std::string("torch.") + type);
  }
}

TEST(Rebuild, ConjugatedAndNegatedTensorsAreRefused) {
  for (const char* mark : {"conj", "neg"}) {
    const Error error = tensor_error(
        utils("_rebuild_tensor_v2", {floats(), pkl::integer(0), pkl::sizes({8}), pkl::sizes({1}),
                                     "\x89", pkl::ordered_dict(), pkl::dict_of({{mark, "\x88"}})}));
    WB_EXPECT_ERROR(error, Code::dtype_unsupported, std::string("the mark \"") + mark);
    EXPECT_EQ(error.tensor(), "w");
  }
  EXPECT_EQ(values_of(utils("_rebuild_tensor_v2",
                            {floats(), pkl::integer(0), pkl::sizes({8}), pkl::sizes({1}), "\x89",
                             pkl::ordered_dict(), pkl::dict_of({{"conj", "\x89"}})})),
            kEight);
}

// ---- geometry ----

TEST(Geometry, ViewsOutsideTheirStorageAreRefused) {
  const Error error = tensor_error(pkl::tensor_v2(floats(), 1, {8}, {1}));
  WB_EXPECT_ERROR(error, Code::pickle_tensor, "reaches beyond its storage 0");
  EXPECT_EQ(error.tensor(), "w");
  EXPECT_EQ(error.expected(), "at most 8 elements");
  EXPECT_EQ(error.actual(), "9");
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), 0, {2, 4}, {5, 1})), Code::pickle_tensor,
                  "reaches beyond");
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), 8, {}, {})), Code::pickle_tensor,
                  "reaches beyond");
  // 8 elements of 4 bytes in 32 bytes, read as f64.
  WB_EXPECT_ERROR(
      tensor_error(utils("_rebuild_tensor_v3",
                         {untyped(32), pkl::integer(0), pkl::sizes({8}), pkl::sizes({1}), "\x89",
                          pkl::ordered_dict(), pkl::global("torch", "float64")})),
      Code::pickle_tensor, "reaches beyond");
}

TEST(Geometry, NegativeNumbersAreRefused) {
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), 0, {-8}, {1})), Code::pickle_tensor,
                  "its size is negative");
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), 0, {8}, {-1})), Code::pickle_tensor,
                  "its stride is negative");
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), -1, {8}, {1})), Code::pickle_tensor,
                  "its storage offset is negative");
}

TEST(Geometry, SizesMustBeIntegers) {
  auto with = [](const std::string& size) {
    return tensor_error(
        utils("_rebuild_tensor_v2",
              {floats(), pkl::integer(0), size, pkl::sizes({1}), "\x89", pkl::ordered_dict()}));
  };
  const std::string real = "G" + std::string("\x40\x20\0\0\0\0\0\0", 8);
  const std::string beyond = std::string("\x8a\x09") + std::string(9, '\1');
  WB_EXPECT_ERROR(with(pkl::tuple_of({real})), Code::pickle_tensor, "found a float");
  WB_EXPECT_ERROR(with(pkl::tuple_of({"\x88"})), Code::pickle_tensor, "found a boolean");
  WB_EXPECT_ERROR(with(pkl::tuple_of({beyond})), Code::pickle_tensor, "found a long integer");
  WB_EXPECT_ERROR(with(pkl::none), Code::pickle_tensor, "its size is no tuple");
}

TEST(Geometry, RanksMustAgreeAndStayBelow65) {
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), 0, {8}, {1, 1})), Code::pickle_tensor,
                  "differ in rank");
  const std::vector<std::int64_t> ones(65, 1);
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), 0, ones, ones)), Code::pickle_tensor,
                  "too many dimensions");
  const std::vector<std::int64_t> allowed(64, 1);
  EXPECT_EQ(values_of(pkl::tensor_v2(floats(), 3, allowed, allowed)), (std::vector<float>{3}));
}

TEST(Geometry, ProductsAndReachesThatWrapAreFound) {
  const std::int64_t big = std::int64_t{1} << 32;
  const Error product = tensor_error(pkl::tensor_v2(floats(), 0, {big, big}, {0, 0}));
  WB_EXPECT_ERROR(product, Code::size_overflow, "element count does not fit");
  EXPECT_EQ(product.tensor(), "w");
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), 0, {big, 4}, {big, 1})),
                  Code::size_overflow, "a tensor's reach");
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), INT64_MAX, {2}, {1})), Code::size_overflow,
                  "a tensor's reach");
}

TEST(Geometry, ExpandedTensorsAreCapped) {
  const Error error = tensor_error(pkl::tensor_v2(floats(), 0, {std::int64_t{1} << 50}, {0}));
  WB_EXPECT_ERROR(error, Code::limit_exceeded, "unfold to too many bytes");
  EXPECT_EQ(error.tensor(), "w");
  EXPECT_EQ(error.actual(), "4503599627370496");  // 2^50 elements of 4 bytes
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(), 0, {26}, {0}), {{"0", eight()}},
                               {.max_total_bytes = 100}),
                  Code::limit_exceeded, "unfold to too many bytes");
}

TEST(Geometry, RebuildCallsNeedTheirArguments) {
  WB_EXPECT_ERROR(tensor_error(utils("_rebuild_tensor_v2", {floats()})), Code::pickle_tensor,
                  "wrong number of arguments");
  WB_EXPECT_ERROR(tensor_error(utils("_rebuild_tensor", {pkl::none, pkl::integer(0),
                                                         pkl::sizes({8}), pkl::sizes({1})})),
                  Code::pickle_tensor, "gets None as its storage");
  WB_EXPECT_ERROR(tensor_error(utils("_rebuild_parameter", {pkl::none, "\x88", pkl::none})),
                  Code::pickle_tensor, "holds None instead of a tensor");
  WB_EXPECT_ERROR(tensor_error(call("torch", "FloatTensor", {})), Code::pickle_tensor,
                  "without a state");
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(untyped(32), 0, {8}, {1})), Code::pickle_tensor,
                  "untyped storage without saying");
  std::string wrapped = plain();
  for (int i = 0; i < 64; ++i) {
    wrapped = utils("_rebuild_parameter", {wrapped, "\x88", pkl::none});
  }
  EXPECT_EQ(values_of(wrapped), kEight);
  wrapped = utils("_rebuild_parameter", {wrapped, "\x88", pkl::none});
  WB_EXPECT_ERROR(tensor_error(wrapped), Code::pickle_tensor, "more than 64 times");
}

// Each call with what it takes, with one argument less than it needs, and one more than it knows.
TEST(Geometry, RebuildCallsTakeNoOtherNumberOfArguments) {
  const std::string zero = pkl::integer(0), size = pkl::sizes({8}), one = pkl::sizes({1}),
                    hooks = pkl::ordered_dict(), no = "\x89";
  struct Case {
    const char *module, *name;
    std::vector<std::string> arguments;  // all that it knows
    std::size_t least;
  };
  const std::string inner = pkl::tuple_of({floats(), zero, size, one, no, hooks});
  const Case cases[] = {
      {"torch._utils", "_rebuild_tensor", {floats(), zero, size, one}, 4},
      {"torch._utils", "_rebuild_tensor_v2", {floats(), zero, size, one, no, hooks, pkl::none}, 6},
      {"torch._utils",
       "_rebuild_tensor_v3",
       {untyped(32), zero, size, one, no, hooks, pkl::global("torch", "float32"), pkl::none},
       7},
      {"torch._utils", "_rebuild_parameter", {plain(), "\x88", hooks}, 3},
      {"torch._utils", "_rebuild_parameter_with_state", {plain(), "\x88", hooks, pkl::none}, 4},
      {"torch._tensor",
       "_rebuild_from_type_v2",
       {pkl::global("torch._utils", "_rebuild_tensor_v2"), pkl::global("mylib", "T"), inner,
        pkl::empty_dict},
       4},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<std::string> some = c.arguments;
    for (; some.size() >= c.least; some.pop_back()) {
      EXPECT_EQ(values_of(call(c.module, c.name, some)), kEight);
    }
    WB_EXPECT_ERROR(tensor_error(call(c.module, c.name, some)), Code::pickle_tensor,
                    "wrong number of arguments");
    std::vector<std::string> more = c.arguments;
    more.push_back(pkl::none);
    WB_EXPECT_ERROR(tensor_error(call(c.module, c.name, more)), Code::pickle_tensor,
                    "wrong number of arguments");
  }
  WB_EXPECT_ERROR(tensor_error(call("torch._tensor", "_rebuild_from_type_v2",
                                    {pkl::none, pkl::none, inner, pkl::empty_dict})),
                  Code::pickle_tensor, "does not hold a function and its arguments");
}

TEST(Geometry, AStateIsATupleOfFour) {
  const std::string size = pkl::sizes({8}), one = pkl::sizes({1}),
                    items = floats() + pkl::integer(0) + size + one;
  const std::string empty = call("torch", "FloatTensor", {});
  EXPECT_EQ(values_of(empty + "(" + items + "tb"), kEight);
  for (const std::string& state : {"](" + items + "e", "(" + items + "Nt", "(" + floats() + "t"}) {
    WB_EXPECT_ERROR(tensor_error(empty + state + "b"), Code::pickle_tensor,
                    "wrong number of arguments");
  }
}

TEST(Geometry, AnElementTypeIsATorchType) {
  const auto of = [](const std::string& type) {
    return tensor_error(
        utils("_rebuild_tensor_v3", {untyped(32), pkl::integer(0), pkl::sizes({8}), pkl::sizes({1}),
                                     "\x89", pkl::ordered_dict(), type}));
  };
  for (const std::string& type : {pkl::none, pkl::text("float32"), pkl::global("torch", "Size"),
                                  pkl::global("mylib", "float32")}) {
    WB_EXPECT_ERROR(of(type), Code::pickle_tensor, "its element type is no torch type");
  }
}

// Storages whose elements have no place in safetensors are measured by their own sizes all the
// same.
TEST(Storages, UnreadableElementsHaveTheirSizes) {
  const std::pair<const char*, int> cases[] = {
      {"ComplexDoubleStorage", 16}, {"QInt8Storage", 1},    {"QUInt8Storage", 1},
      {"QInt32Storage", 4},         {"QUInt4x2Storage", 1}, {"QUInt2x4Storage", 1}};
  for (const auto& [name, bytes] : cases) {
    SCOPED_TRACE(name);
    const auto of = [&](std::int64_t numel) {
      return tensor_error(pkl::tensor_v2(pkl::storage(name, "0", numel), 0, {1}, {1}));
    };
    WB_EXPECT_ERROR(of(32 / bytes), Code::dtype_unsupported, name);
    WB_EXPECT_ERROR(of(32 / bytes + 1), Code::pickle_storage, "wrong size");
    WB_EXPECT_ERROR(of(32 / bytes - 1), Code::pickle_storage, "wrong size");
  }
}

// ---- storages ----

TEST(Storages, RecordsMustHaveExactlyTheirSize) {
  for (const std::string& record : {eight().substr(1), eight() + "x"}) {
    const Error error = tensor_error(plain(), {{"0", record}});
    WB_EXPECT_ERROR(error, Code::pickle_storage, "archive/data/0 has the wrong size");
    EXPECT_EQ(error.expected(), "32 bytes (8 elements of torch.FloatStorage)");
    EXPECT_EQ(error.actual(), std::to_string(record.size()));
  }
  WB_EXPECT_ERROR(tensor_error(pkl::tensor_v2(floats(INT64_MAX), 0, {1}, {1})), Code::size_overflow,
                  "a storage's byte size");
}

TEST(Storages, OneKeyMustMeanOneThing) {
  WB_EXPECT_ERROR(tree_error({{"a", plain()}, {"b", pkl::tensor_v2(floats(4), 0, {4}, {1})}}),
                  Code::pickle_storage, "described in two ways");
  WB_EXPECT_ERROR(
      tree_error(
          {{"a", plain()}, {"b", pkl::tensor_v2(pkl::storage("IntStorage", "0", 8), 0, {8}, {1})}}),
      Code::pickle_storage, "described in two ways");
}

TEST(Storages, UnusedRecordsAreNoted) {
  const TempFolder folder;
  const Checkpoint checkpoint =
      open_items(folder, {{"w", plain()}}, {{"0", eight()}, {"17", "unused"}});
  EXPECT_THAT(checkpoint.notes, testing::Contains("1 records are not used by any tensor"));
}

// ---- names and the tree ----

TEST(Tree, KeysAreJoinedByDots) {
  const TempFolder folder;
  const Checkpoint checkpoint =
      open_items(folder, {{"model", pkl::dict_of({{"a.weight", plain()}})},
                          {"list", "](" + plain() + plain() + "e"},
                          {"state", pkl::empty_dict + pkl::integer(7) + plain() + "s"}});
  std::vector<std::string> names;
  for (const SourceTensor& t : checkpoint.tensors) names.push_back(t.name);
  EXPECT_EQ(names, (std::vector<std::string>{"list.0", "list.1", "model.a.weight", "state.7"}));
}

TEST(Tree, DuplicateNamesAreRefused) {
  const Error error = tree_error({{"a", pkl::dict_of({{"b", plain()}})}, {"a.b", plain()}});
  WB_EXPECT_ERROR(error, Code::tensor_name, "the name occurs twice");
  EXPECT_EQ(error.tensor(), "a.b");
  WB_EXPECT_ERROR(tree_error({{"n", pkl::integer(1)}, {"n", pkl::integer(2)}, {"w", plain()}}),
                  Code::tensor_name, "\"n\" occurs twice");
}

TEST(Tree, NamesThatCannotBeCarriedAreRefused) {
  WB_EXPECT_ERROR(tree_error({{std::string("a\0b", 3), plain()}}), Code::tensor_name, "NUL");
  WB_EXPECT_ERROR(tree_error({{"\xed\xa0\x80", plain()}}), Code::tensor_name, "UTF-8");  // U+D800
  WB_EXPECT_ERROR(tree_error({{"\xc0\xaf", plain()}}), Code::tensor_name, "UTF-8");      // overlong
  WB_EXPECT_ERROR(tree_error({{"__metadata__", plain()}}), Code::tensor_name, "reserved");
  WB_EXPECT_ERROR(tree_error({{"", plain()}}), Code::tensor_name, "is empty");
  WB_EXPECT_ERROR(tree_error({{std::string(5000, 'x'), plain()}}), Code::tensor_name, "4096");
  const std::string tuple_key = pkl::empty_dict + pkl::sizes({1}) + plain() + "s";
  WB_EXPECT_ERROR(tree_error({{"d", tuple_key}}), Code::tensor_name, "neither text nor integer");
}

TEST(Tree, UnicodeNamesAreCarried) {
  const TempFolder folder;
  const std::string name = "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";  // e-acute, euro, a face
  EXPECT_NE(open_items(folder, {{name, plain()}}).find(name), nullptr);
}

TEST(Tree, ContainersThatContainThemselvesAreFound) {
  const std::string list =
      "]q\x01h\x01"
      "a";
  WB_EXPECT_ERROR(tree_error({{"w", plain()}, {"l", list}}), Code::pickle_structure,
                  "\"l.0\" contains itself");
  const std::string dict = "}q\x01" + pkl::text("me") + "h\x01s";
  WB_EXPECT_ERROR(tree_error({{"w", plain()}, {"d", dict}}), Code::pickle_structure,
                  "\"d.me\" contains itself");
}

TEST(Tree, DeepNestingMeetsALimitAndNothingRecurses) {
  const std::string deep = std::string(200'000, ']') + std::string(199'999, 'a');
  WB_EXPECT_ERROR(tree_error({{"w", plain()}, {"deep", deep}}), Code::limit_exceeded,
                  "nests too deep");
  const std::string tuples = "N" + std::string(200'000, '\x85');
  WB_EXPECT_ERROR(tree_error({{"w", plain()}, {"deep", tuples}}), Code::limit_exceeded,
                  "nests too deep");
}

// Forty lists, each holding the one before it twice: 2^40 entries when written out.
TEST(Tree, BranchesSharedManyTimesMeetALimit) {
  std::string laughs = "]" + plain() + "a";
  for (unsigned char i = 1; i <= 40; ++i) {
    const std::string memo(1, static_cast<char>(i));
    laughs = laughs + "q" + memo + "0](h" + memo + "h" + memo + "e";
  }
  WB_EXPECT_ERROR(tree_error({{"w", laughs}}, {.max_tensors = 1000}), Code::limit_exceeded,
                  "too many tensors");
  std::string empty = "]]a";
  for (unsigned char i = 1; i <= 40; ++i) {
    const std::string memo(1, static_cast<char>(i));
    empty = empty + "q" + memo + "0](h" + memo + "h" + memo + "e";
  }
  WB_EXPECT_ERROR(tree_error({{"w", empty}}), Code::limit_exceeded, "unfolds to too many");
}

// One empty list and one boolean, each named a million times and once more: 2^20 facts are kept.
TEST(Tree, FactsMeetALimit) {
  const std::size_t most = 1u << 20;
  const auto many = [](const std::string& fact, std::size_t count) {
    std::string out = "](" + fact + "q\x01";
    for (std::size_t i = 1; i < count; ++i) out += "h\x01";
    return out + "e";
  };
  for (const std::string fact : {"]", "\x88"}) {
    WB_EXPECT_ERROR(tree_error({{"w", plain()}, {"f", many(fact, most + 1)}}), Code::limit_exceeded,
                    "unfolds to too many facts: expected at most 1048576");
  }
  const TempFolder folder;
  EXPECT_EQ(open_items(folder, {{"w", plain()}, {"f", many("]", most)}}).facts.at("f").size(),
            most);
}

TEST(Tree, TextsOfAMebibyteAreFactsAndLongerOnesAreNoted) {
  const TempFolder folder;
  const std::string most(1u << 20, 'x');
  const Checkpoint checkpoint =
      open_items(folder, {{"a", pkl::text(most)}, {"b", pkl::text(most + "x")}, {"w", plain()}});
  EXPECT_EQ(checkpoint.facts.at("a"), most);
  EXPECT_FALSE(checkpoint.facts.contains("b"));
  EXPECT_THAT(checkpoint.notes,
              testing::Contains(testing::HasSubstr("a string that is too long or not UTF-8")));
}

// The limits themselves are still allowed: 64 containers around a value, 16 MiB of texts and keys.
TEST(Tree, LimitsAreReachedAndNotPassed) {
  const auto nested = [](int lists) {  // inside the dict of the file
    return std::string(static_cast<std::size_t>(lists), ']') + pkl::integer(7) +
           std::string(static_cast<std::size_t>(lists), 'a');
  };
  const TempFolder folder;
  EXPECT_TRUE(open_items(folder, {{"w", plain()}, {"d", nested(63)}}).facts.contains("d"));
  WB_EXPECT_ERROR(tree_error({{"w", plain()}, {"d", nested(64)}}), Code::limit_exceeded,
                  "nests too deep");
  const std::size_t mebibyte = 1u << 20;
  const auto texts = [&](std::size_t last) {
    std::string list = "](";
    for (int i = 0; i < 15; ++i) list += pkl::text(std::string(mebibyte, 'x'));
    return list + pkl::text(std::string(last, 'y')) + "e";
  };
  EXPECT_TRUE(open_items(folder, {{"w", plain()}, {"t", texts(mebibyte - 1)}}).facts.contains("t"));
  const Checkpoint over = open_items(folder, {{"w", plain()}, {"t", texts(mebibyte)}});
  EXPECT_FALSE(over.facts.contains("t"));
  EXPECT_THAT(over.notes, testing::Contains(testing::HasSubstr("facts beyond 16 MiB")));
}

TEST(Tree, ThingsOfOneKindThatAreNotReadAreCounted) {
  const TempFolder folder;
  const std::string object = pkl::global("mylib", "X") + pkl::empty_tuple + "\x81";
  const auto notes = [&](const Items& items) { return open_items(folder, items).notes; };
  EXPECT_THAT(notes({{"w", plain()}, {"a", object}}),
              testing::Contains("not read: an object of mylib.X at a"));
  EXPECT_THAT(notes({{"w", plain()}, {"a", object}, {"b", object}, {"c", object}}),
              testing::Contains("not read: an object of mylib.X at a and 2 more like it"));
}

// What an inert object holds is looked at for a note only, and may hold itself.
TEST(Tree, ObjectsThatHoldThemselvesEnd) {
  const TempFolder folder;
  const std::string object = pkl::global("mylib", "X") + pkl::empty_tuple + "\x81";
  const std::string cycle =
      "]q\x01h\x01"
      "a";
  EXPECT_THAT(open_items(folder, {{"w", plain()}, {"o", object + cycle + "b"}}).notes,
              testing::ElementsAre("not read: an object of mylib.X at o"));
  EXPECT_THAT(
      open_items(folder, {{"w", plain()}, {"o", object + pkl::tuple_of({plain()}) + "b"}}).notes,
      testing::ElementsAre("not read: an object of mylib.X, with tensors inside at o"));
}

// One text, referred to many times: what is kept of it is bounded, and said.
TEST(Tree, TextsSharedManyTimesAreLeftOut) {
  std::string list = pkl::text(std::string(100'000, 'x')) + "q" + std::string(1, '\x01') + "0](";
  for (int i = 0; i < 400; ++i) list += "h" + std::string(1, '\x01');
  const TempFolder folder;
  const Checkpoint checkpoint =
      open(folder, torch_zip(pkl::file({{"w", plain()}, {"lines", list + "e"}}),
                             {{"0", std::string(32, '\0')}}));
  EXPECT_THAT(checkpoint.notes, testing::Contains(testing::HasSubstr("facts beyond 16 MiB")));
  EXPECT_LT(checkpoint.facts.dump().size(), 17u << 20);
}

TEST(Tree, SetsAndPython2DictsAreRead) {
  const TempFolder folder;
  const std::string pair = "](" + pkl::text("w") + plain() + "e";
  const std::string ordered =
      pkl::global("collections", "OrderedDict") + pkl::tuple_of({"](" + pair + "e"}) + pkl::reduce;
  const Checkpoint checkpoint = open_items(folder, {{"m", ordered},
                                                    {"s", pkl::global("__builtin__", "set") +
                                                              pkl::tuple_of({"](K\x01K\x02"
                                                                             "e"}) +
                                                              pkl::reduce}});
  EXPECT_NE(checkpoint.find("m.w"), nullptr);
  EXPECT_THAT(checkpoint.notes, testing::ElementsAre("not read: a set at s"));
}

TEST(Tree, TensorsInsideObjectsAreSaidToBeThere) {
  const std::string object = pkl::global("mylib", "Model") + pkl::empty_tuple + "\x81" +
                             pkl::dict_of({{"weight", plain()}}) + "b";
  const Error error = tree_error({{"m", object}});
  WB_EXPECT_ERROR(error, Code::no_tensors, "an object of mylib.Model, with tensors inside at m");
}

}  // namespace
}  // namespace wb::test
