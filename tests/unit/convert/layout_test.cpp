// Layout against headers, shards and indexes written out by hand.
#include "convert/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/convert/model_of.h"
#include "unit/error_of.h"

namespace wb {
namespace {

using testing::HasSubstr;

Tensor zeros(DType dtype, Shape shape) { return Tensor::fill(dtype, std::move(shape), 0.0); }

Error error_of(const LoweredModel& model) {
  return wb::error_of([&] { lay_out(model, 1 << 30); });
}

TEST(Layout, HeaderIsSortedByDtypeThenNameAndPadded) {
  FolderLayout layout = lay_out(model_of({{"b", zeros(DType::F32, {2, 3})},
                                          {"a", zeros(DType::U8, {3})},
                                          {"c", zeros(DType::I64, {1})},
                                          {"e", zeros(DType::F16, {})},
                                          {"d", zeros(DType::F32, {0, 7})}}),
                                1 << 30);
  ASSERT_EQ(layout.files.size(), 1u);
  const TensorFile& file = layout.files[0];
  EXPECT_EQ(file.name, "model.safetensors");
  std::string json = R"({"__metadata__":{"format":"mlx"},)"
                     R"("c":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                     R"("b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},)"
                     R"("d":{"dtype":"F32","shape":[0,7],"data_offsets":[32,32]},)"
                     R"("e":{"dtype":"F16","shape":[],"data_offsets":[32,34]},)"
                     R"("a":{"dtype":"U8","shape":[3],"data_offsets":[34,37]}})";
  while (json.size() % 8 != 0) json += ' ';
  std::string length(8, '\0');
  length[0] = static_cast<char>(json.size() % 256);
  length[1] = static_cast<char>(json.size() / 256);
  EXPECT_EQ(file.header, length + json);
  EXPECT_EQ(file.bytes, 8 + json.size() + 37);
  EXPECT_EQ(file.tensors[1].offset, 8 + json.size() + 8);
  EXPECT_EQ(layout.tensor_bytes, 37u);
  EXPECT_EQ(layout.index, R"({
    "metadata": {
        "total_size": 37,
        "total_parameters": 11
    },
    "weight_map": {
        "a": "model.safetensors",
        "b": "model.safetensors",
        "c": "model.safetensors",
        "d": "model.safetensors",
        "e": "model.safetensors"
    }
})");
}

TEST(Layout, ShardsAreGreedyInNameOrderAndExtrasStandApart) {
  LoweredModel model = model_of({{"d", zeros(DType::F32, {5})},      // 20 bytes
                                 {"a", zeros(DType::F32, {10})},     // 40
                                 {"b", zeros(DType::F32, {15})},     // 60: a and b fill 100
                                 {"c", zeros(DType::F32, {100})}});  // 400: past the limit alone
  model.extra = model_of({{"mtp.x", zeros(DType::F32, {2})}}).tensors;
  FolderLayout layout = lay_out(model, 100);
  ASSERT_EQ(layout.files.size(), 4u);
  auto held = [&](std::size_t i) {
    std::string text = layout.files[i].name + ":";
    for (const PlacedTensor& t : layout.files[i].tensors) text += " " + t.tensor->name;
    return text;
  };
  EXPECT_EQ(held(0), "model-00001-of-00003.safetensors: a b");
  EXPECT_EQ(held(1), "model-00002-of-00003.safetensors: c");
  EXPECT_EQ(held(2), "model-00003-of-00003.safetensors: d");
  EXPECT_EQ(held(3), "mtp.safetensors: mtp.x");
  auto index = nlohmann::json::parse(layout.index);
  EXPECT_EQ(index["metadata"]["total_size"], 520);
  EXPECT_EQ(index["metadata"]["total_parameters"], 130);
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"].size(), 4u);
  EXPECT_EQ(layout.tensor_bytes, 528u);
}

TEST(Layout, CountsPackedWeightsAsMlxLmDoes) {
  LoweredModel model = model_of({{"p.weight", zeros(DType::U32, {4, 8})},  // 4 bits: 8 to a word
                                 {"p.scales", zeros(DType::F16, {4, 1})},
                                 {"p.biases", zeros(DType::F16, {4, 1})},
                                 {"q.weight", zeros(DType::U32, {4, 8})},  // 8 bits: 4 to a word
                                 {"q.scales", zeros(DType::F16, {4, 1})},
                                 {"n.weight", zeros(DType::F32, {5})},
                                 {"n.biases", zeros(DType::F32, {2})}});
  model.config["quantization"] = {{"group_size", 64u}, {"bits", 4u}, {"q", {{"bits", 8u}}}};
  EXPECT_EQ(count_parameters(model), 256u + 128u + 5u + 2u);
}

TEST(Layout, RefusesWhatMlxCannotLoad) {
  Error dtype = error_of(model_of({{"w", zeros(DType::F64, {2})}}));
  EXPECT_EQ(dtype.code(), Code::dtype_unsupported);
  EXPECT_THAT(dtype.sentence(), HasSubstr("w: MLX loads no tensor of this element type"));
  EXPECT_THAT(dtype.sentence(), HasSubstr("F64"));
  EXPECT_THAT(dtype.advice(), HasSubstr("--dtype"));
  EXPECT_EQ(error_of(model_of({{"w", zeros(DType::F8_E5M2, {2})}})).code(),
            Code::dtype_unsupported);

  lay_out(model_of({{"w", zeros(DType::U8, {2147483647})}}), 1);
  Error wide = error_of(model_of({{"w", zeros(DType::U8, {1, 2147483648})}}));
  EXPECT_EQ(wide.code(), Code::limit_exceeded);
  EXPECT_THAT(wide.sentence(), HasSubstr("2147483647"));
  EXPECT_THAT(wide.sentence(), HasSubstr("[1, 2147483648]"));

  Tensor one = zeros(DType::F32, {1});
  EXPECT_THAT(error_of(model_of({{"w", one}, {"w", one}})).sentence(),
              HasSubstr("two tensors of the output have one name"));
  EXPECT_EQ(error_of(model_of({{"__metadata__", one}})).code(), Code::tensor_name);
  EXPECT_THAT(error_of(model_of({{"caf\xe9", one}})).sentence(), HasSubstr("not UTF-8"));
}

}  // namespace
}  // namespace wb
