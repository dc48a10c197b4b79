// The library as a program meets it: what a checkpoint and a plan say, what is written, and that an
// error arrives with all its parts. That the folder is the program's own, byte for byte, is held by
// tests/package, which builds against an installation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "package/texts.h"
#include "package/weightbridge.h"
#include "unit/error_of.h"
#include "unit/temp_folder.h"

namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using weightbridge::Checkpoint;
using weightbridge::Error;

const fs::path kSource = WB_SOURCE_DIR;
const std::string kTiny = kSource / "samples/tiny/tiny-deepseek.pt";

std::optional<Error> error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

class Library : public testing::Test {
 protected:
  const wb::test::TempFolder folder_;
  const fs::path root_ = folder_.path();
};

TEST_F(Library, ACheckpointSaysWhatItHolds) {
  Checkpoint checkpoint = Checkpoint::open(kTiny);
  EXPECT_EQ(checkpoint.container(), "PyTorch zip archive");
  const auto tensors = checkpoint.tensors();
  ASSERT_FALSE(tensors.empty());
  EXPECT_TRUE(std::is_sorted(tensors.begin(), tensors.end(),
                             [](const auto& a, const auto& b) { return a.name < b.name; }));
  const auto embedding = std::find_if(tensors.begin(), tensors.end(),
                                      [](const auto& t) { return t.name == "wte.weight"; });
  ASSERT_NE(embedding, tensors.end());
  EXPECT_EQ(embedding->dtype, "F32");
  EXPECT_EQ(embedding->shape, (std::vector<std::uint64_t>{4096, 128}));
  // Moving one leaves what it says as it was.
  const Checkpoint moved = std::move(checkpoint);
  EXPECT_EQ(moved.tensors().size(), tensors.size());
}

TEST_F(Library, APlanSaysWhatWouldBeWritten) {
  const Checkpoint checkpoint = Checkpoint::open(kTiny);
  const auto exact = checkpoint.plan({.target = "exact"});
  EXPECT_EQ(exact.target(), "exact");
  EXPECT_FALSE(exact.recipe().empty());
  EXPECT_THAT(exact.losses(), testing::IsEmpty());
  const auto config = nlohmann::json::parse(exact.config());
  EXPECT_EQ(config["model_type"], "weightbridge_mla");
  EXPECT_FALSE(config.contains("quantization"));

  // Fewer heads' keys, positions, biases: what that target drops is said.
  const auto shapes = checkpoint.plan({.target = "shape-match", .dtype = "bf16"});
  EXPECT_FALSE(shapes.losses().empty());
  for (const std::string& loss : shapes.losses()) EXPECT_THAT(loss, HasSubstr(" -> "));
  for (const auto& tensor : shapes.tensors()) {  // the class reads that bias as f32
    const bool bias = tensor.name.ends_with("e_score_correction_bias");
    EXPECT_EQ(tensor.dtype, bias ? "F32" : "BF16") << tensor.name;
  }
}

TEST_F(Library, AnAskedFormatReachesTheTensors) {
  const Checkpoint checkpoint = Checkpoint::open(kTiny);
  const auto counted = [&](const weightbridge::PlanOptions& options, const char* dtype) {
    std::size_t n = 0;
    for (const auto& tensor : checkpoint.plan(options).tensors()) n += tensor.dtype == dtype;
    return n;
  };
  EXPECT_EQ(counted({.target = "exact"}, "U32"), 0u);
  EXPECT_GT(counted({.target = "exact", .bits = 4}, "U32"), 0u);
  EXPECT_GT(counted({.target = "exact", .mode = "mxfp8"}, "U8"), 0u);
  const auto plan = checkpoint.plan({.target = "exact", .bits = 5, .group_size = 32});
  const auto config = nlohmann::json::parse(plan.config());
  EXPECT_EQ(config["quantization"]["bits"], 5);
  EXPECT_EQ(config["quantization"]["group_size"], 32);
}

TEST_F(Library, AFolderIsWrittenOnceAndReplacedOnRequest) {
  const auto plan = Checkpoint::open(kTiny).plan({.target = "exact"});
  const std::string out = root_ / "out";
  const auto files = plan.convert(out, {.sync = false, .threads = 2});
  ASSERT_FALSE(files.empty());
  for (const auto& file : files) {
    EXPECT_EQ(fs::file_size(fs::path(out) / file.name), file.bytes) << file.name;
    EXPECT_EQ(file.xxh3_128.size(), 32u) << file.name;
  }
  std::ifstream config(fs::path(out) / "config.json");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(config), {}).substr(0, plan.config().size()),
            plan.config());

  const auto refused = error_of([&] { plan.convert(out, {.sync = false}); });
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->file(), out);
  EXPECT_FALSE(refused->advice().empty());
  const auto again = plan.convert(out, {.force = true, .sync = false, .threads = 1});
  ASSERT_EQ(again.size(), files.size());
  for (std::size_t i = 0; i < files.size(); ++i) EXPECT_EQ(again[i].xxh3_128, files[i].xxh3_128);
}

TEST_F(Library, ShardsAreAsLargeAsAsked) {
  const auto plan = Checkpoint::open(kTiny).plan({.target = "exact"});
  const auto one = plan.convert(root_ / "one", {.sync = false});
  const auto many = plan.convert(root_ / "many", {.sync = false, .shard_size = 100'000});
  EXPECT_GT(many.size(), one.size());
}

TEST_F(Library, ErrorsKeepTheirParts) {
  const auto missing = error_of([&] { Checkpoint::open(root_ / "none.pt"); });
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->code(), "file_open");
  EXPECT_EQ(missing->file(), (root_ / "none.pt").string());
  EXPECT_EQ(missing->exit_status(), 4);
  EXPECT_FALSE(std::string(missing->what()).empty());

  const Checkpoint checkpoint = Checkpoint::open(kTiny);
  const auto target = error_of([&] { checkpoint.plan({.target = "coreml"}); });
  ASSERT_TRUE(target);
  EXPECT_EQ(target->exit_status(), 2);
  EXPECT_THAT(target->actual(), HasSubstr("coreml"));
  const auto mode = error_of([&] { checkpoint.plan({.target = "exact", .mode = "int3"}); });
  ASSERT_TRUE(mode);
  EXPECT_EQ(mode->code(), "usage");
  EXPECT_THAT(mode->expected(), HasSubstr("nvfp4"));
  EXPECT_THAT(mode->actual(), HasSubstr("int3"));
  const auto bits = error_of([&] { checkpoint.plan({.target = "exact", .bits = 7}); });
  ASSERT_TRUE(bits);
  EXPECT_EQ(bits->exit_status(), 2);
  const auto recipe = error_of([&] { checkpoint.plan({.recipe = "no-such-recipe"}); });
  ASSERT_TRUE(recipe);
  EXPECT_THAT(std::string(recipe->what()) + recipe->actual() + recipe->file(),
              HasSubstr("no-such-recipe"));
  const auto setting = error_of([&] { checkpoint.plan({.settings = {{"no_such", "1"}}}); });
  ASSERT_TRUE(setting);
  EXPECT_FALSE(setting->advice().empty());
}

// Texts that a user names are read whole, so that they have a limit; the file here is a hole.
TEST_F(Library, TextFilesHaveALimit) {
  const fs::path path = root_ / "text";
  std::ofstream(path) << "two\nlines";
  EXPECT_EQ(wb::read_text_file(path), "two\nlines");
  fs::resize_file(path, (64u << 20) + 1);
  const wb::Error error = wb::error_of([&] { wb::read_text_file(path); });
  EXPECT_EQ(wb::code_name(error.code()), wb::code_name(wb::Code::limit_exceeded));
  EXPECT_EQ(error.actual(), std::to_string((64u << 20) + 1));
  EXPECT_EQ(wb::shipped_text("no/such/text"), "");
}

TEST(LibraryVersion, IsTheHeaders) { EXPECT_EQ(weightbridge::version(), WEIGHTBRIDGE_VERSION); }

}  // namespace
