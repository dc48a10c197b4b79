// Files that PyTorch wrote (tools/make_checkpoint_fixtures.py) against what NumPy
// says they hold: names, types, shapes, bytes, contiguity, facts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "tensor/read.h"
#include "unit/checkpoint/builders.h"

namespace wb::test {
namespace {

std::string hex(const std::vector<std::byte>& bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (std::byte b : bytes) {
    out += digits[std::to_integer<unsigned>(b) >> 4];
    out += digits[std::to_integer<unsigned>(b) & 15];
  }
  return out;
}

struct Golden {
  const char* file;
  const char* expected;
  Container container;
};
void PrintTo(const Golden& golden, std::ostream* out) { *out << golden.file; }

class GoldenFile : public testing::TestWithParam<Golden> {};

TEST_P(GoldenFile, HoldsWhatNumPySays) {
  const Checkpoint checkpoint = open_checkpoint(fixture(GetParam().file));
  EXPECT_EQ(checkpoint.container, GetParam().container);
  std::ifstream in(fixture(GetParam().expected));
  const nlohmann::json expected = nlohmann::json::parse(in);
  EXPECT_EQ(checkpoint.tensors.size(), expected.size());
  for (const auto& [name, want] : expected.items()) {
    const SourceTensor* found = checkpoint.find(name);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(wb::name(found->tensor.dtype()), want["dtype"].get<std::string>()) << name;
    EXPECT_EQ(found->tensor.shape(), want["shape"].get<Shape>()) << name;
    EXPECT_EQ(found->contiguous, want["contiguous"].get<bool>()) << name;
    EXPECT_EQ(hex(read_all(found->tensor)), want["hex"].get<std::string>()) << name;
    EXPECT_EQ(found->file, fixture(GetParam().file)) << name;
  }
  for (const StoredCrc& crc : checkpoint.crcs) EXPECT_NO_THROW(verify_crc(crc)) << crc.record;
}

INSTANTIATE_TEST_SUITE_P(
    Torch, GoldenFile,
    testing::Values(Golden{"dtypes-p2.pt", "dtypes.json", Container::torch_zip},
                    Golden{"dtypes-p3.pt", "dtypes.json", Container::torch_zip},
                    Golden{"dtypes-p4.pt", "dtypes.json", Container::torch_zip},
                    Golden{"dtypes-legacy-p2.pt", "dtypes.json", Container::torch_legacy},
                    Golden{"dtypes-legacy-p4.pt", "dtypes.json", Container::torch_legacy},
                    Golden{"views.pt", "views.json", Container::torch_zip},
                    Golden{"views-legacy.pt", "views.json", Container::torch_legacy},
                    Golden{"views-stored.pt", "views.json", Container::torch_zip},
                    Golden{"views-deflated.pt", "views.json", Container::torch_zip},
                    Golden{"nested.pt", "nested.json", Container::torch_zip},
                    Golden{"nested-p4.pt", "nested.json", Container::torch_zip},
                    Golden{"nested-legacy.pt", "nested.json", Container::torch_legacy}),
    [](const auto& golden) {
      std::string name = golden.param.file;
      for (char& c : name) c = c == '-' || c == '.' ? '_' : c;
      return name;
    });

TEST(GoldenFacts, NumbersStringsAndListsAreKeptNested) {
  for (const char* file : {"nested.pt", "nested-p4.pt", "nested-legacy.pt"}) {
    const Checkpoint checkpoint = open_checkpoint(fixture(file));
    nlohmann::json facts = checkpoint.facts;
    facts.erase("optimizer");
    EXPECT_EQ(facts, nlohmann::json::parse(R"({
      "step": 70000, "loss": 0.125, "name": "tiny \u00e9", "done": true,
      "big": 1099511627776, "negative": -5, "shape": [2, 3],
      "config": {"n_head": 8, "betas": [0.9, 0.95], "layers": [1, 2, 3], "tags": ["a", "b"]}})"))
        << file;
    const auto& group = checkpoint.facts["optimizer"]["param_groups"]["0"];
    EXPECT_EQ(group["betas"], nlohmann::json::parse("[0.5, 0.75]")) << file;
    EXPECT_EQ(group["params"], nlohmann::json::parse("[0, 1]")) << file;
  }
}

TEST(GoldenFacts, OpaqueObjectsAreNotedAndInert) {
  const Checkpoint checkpoint = open_checkpoint(fixture("nested.pt"));
  EXPECT_THAT(checkpoint.notes,
              testing::Contains(testing::HasSubstr("an object of argparse.Namespace at args")));
  EXPECT_FALSE(checkpoint.facts.contains("args"));
}

TEST(GoldenSharing, StorageIdsTellWhichTensorsShareBytes) {
  for (const char* file : {"views.pt", "views-legacy.pt"}) {
    const Checkpoint checkpoint = open_checkpoint(fixture(file));
    auto at = [&](const char* name) -> const SourceTensor& { return *checkpoint.find(name); };
    EXPECT_EQ(at("tied.a").storage_id, at("tied.b").storage_id);
    EXPECT_EQ(at("tied.a").storage_id, at("transposed").storage_id);
    EXPECT_NE(at("tied.a").storage_id, at("permuted").storage_id);
    EXPECT_EQ(at("rows").storage_offset, 12u);     // row 2 of 6 columns
    EXPECT_EQ(at("element").storage_offset, 23u);  // the last of 24
    // base 24 f32, row 10 i64, one 1 f32, the copy under "permuted" 24 f32.
    EXPECT_EQ(checkpoint.stored_bytes(), 24u * 4 + 10 * 8 + 4 + 24 * 4);
  }
}

TEST(GoldenSharing, TotalBytesCountEveryEntry) {
  const Checkpoint checkpoint = open_checkpoint(fixture("views.pt"));
  // tied twice, transposed and permuted 24 f32 each; columns 12; rows 12; every_other 5 i64;
  // expanded 9; element 1.
  EXPECT_EQ(checkpoint.total_bytes(), 4u * (4 * 24 + 12 + 12 + 9 + 1) + 5 * 8);
}

TEST(GoldenCrc, StoredRecordsAreListedAndCompressedOnesAreNot) {
  EXPECT_EQ(open_checkpoint(fixture("views.pt")).crcs.size(), 4u);  // four storages with bytes
  EXPECT_TRUE(open_checkpoint(fixture("views-deflated.pt")).crcs.empty());
}

TEST(GoldenBare, OneTensorGetsAName) {
  const Checkpoint checkpoint = open_checkpoint(fixture("bare.pt"));
  ASSERT_EQ(checkpoint.tensors.size(), 1u);
  EXPECT_EQ(checkpoint.tensors[0].name, "tensor");
  EXPECT_EQ(read_f32(checkpoint.tensors[0].tensor), (std::vector<float>{0, 1, 2, 3, 4, 5}));
}

Error error_of_fixture(const char* file) {
  Error error = wb::error_of([&] { open_checkpoint(fixture(file)); }, file);
  EXPECT_EQ(error.file(), fixture(file));
  return error;
}

TEST(GoldenRefused, TypesWithoutAPlaceAreNamed) {
  const Error complex = error_of_fixture("complex128.pt");
  WB_EXPECT_ERROR(complex, Code::dtype_unsupported, "torch.ComplexDoubleStorage");
  EXPECT_EQ(complex.tensor(), "z");
  WB_EXPECT_ERROR(error_of_fixture("quantized.pt"), Code::dtype_unsupported, "a quantized tensor");
  WB_EXPECT_ERROR(error_of_fixture("sparse.pt"), Code::dtype_unsupported, "a sparse tensor");
}

TEST(GoldenRefused, AWholeModuleHoldsNoReadableTensor) {
  WB_EXPECT_ERROR(error_of_fixture("module.pt"), Code::no_tensors,
                  "torch.nn.modules.linear.Linear, with tensors inside");
  WB_EXPECT_ERROR(error_of_fixture("no-tensors.pt"), Code::no_tensors, "holds no tensor");
}

TEST(Sample, TheTinyCheckpointOpensInMilliseconds) {
  const std::string path = std::string(WB_SOURCE_DIR) + "/samples/tiny/tiny-deepseek.pt";
  const auto start = std::chrono::steady_clock::now();
  const Checkpoint checkpoint = open_checkpoint(path);
  const auto elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_GT(checkpoint.tensors.size(), 200u);
  EXPECT_LT(elapsed, std::chrono::milliseconds(500));  // generous: sanitizers and busy machines
}

}  // namespace
}  // namespace wb::test
