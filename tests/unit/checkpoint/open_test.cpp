// Choosing the container by the bytes, and folders that hold PyTorch files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/names.h"
#include "unit/checkpoint/builders.h"

namespace wb::test {
namespace {

std::string archive() {
  return torch_zip(
      pkl::file({{"w", pkl::tensor_v2(pkl::storage("ByteStorage", "0", 1), 0, {1}, {1})}}),
      {{"0", "x"}});
}

TEST(Open, BytesDecideNotTheExtension) {
  const TempFolder folder;
  const std::string tensors =
      safetensors(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x");
  EXPECT_EQ(open_checkpoint(folder.write("a.safetensors", archive())).container,
            Container::torch_zip);
  EXPECT_EQ(open_checkpoint(folder.write("b.pt", tensors)).container, Container::safetensors);
}

TEST(Open, UnknownFilesAreDescribed) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "an empty file"},
      {"hello world", "hello wo"},
      {"GGUF\x03", "a GGUF file"},
      {"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
      {"\x1f\x8b\x08", "gzip"},
      {"7z\xbc\xaf\x27\x1c", "7-Zip"},
      {"\x80\x02}.", "a bare pickle"},
      {"{\"a\": 1}", "JSON text"},
      {"<!DOCTYPE html>", "a web page"}};
  for (const auto& [content, part] : cases) {
    const Error error = error_of(content);
    WB_EXPECT_ERROR(error, Code::format_unknown, part);
    EXPECT_THAT(error.advice() + error.actual(), testing::HasSubstr(part));
    EXPECT_EQ(error.expected(), "a PyTorch or safetensors file");
  }
}

TEST(Open, AFolderWithOnePyTorchFile) {
  const TempFolder folder;
  folder.write("README.md", "text");
  WB_EXPECT_ERROR(wb::error_of([&] { open_checkpoint(folder.path()); }), Code::format_unknown,
                  "found none");
  folder.write("pytorch_model.bin", archive());
  folder.write("config.json", R"({"a": 1})");
  const Checkpoint checkpoint = open_checkpoint(folder.path());
  EXPECT_EQ(checkpoint.tensors.size(), 1u);
  EXPECT_TRUE(checkpoint.config.has_value());
  folder.write("second.pth", archive());
  try {
    open_checkpoint(folder.path());
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    WB_EXPECT_ERROR(error, Code::format_unknown, "2 of them, pytorch_model.bin the first");
  }
}

TEST(Open, AbsentFilesAreASystemError) {
  try {
    open_checkpoint("no/such/file.pt");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    WB_EXPECT_ERROR(error, Code::file_open, "no/such/file.pt: cannot be opened");
  }
}

TEST(Open, FindsByNameAndOnlyWholeNames) {
  const TempFolder folder;
  const Checkpoint checkpoint = open(folder, archive());
  EXPECT_NE(checkpoint.find("w"), nullptr);
  EXPECT_EQ(checkpoint.find(""), nullptr);
  EXPECT_EQ(checkpoint.find("w2"), nullptr);
}

TEST(Open, TheTotalLimitHoldsForEveryContainer) {
  WB_EXPECT_ERROR(
      error_of(safetensors(R"({"w":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", "123456789"),
               {.max_total_bytes = 8}),
      Code::limit_exceeded, "take too many bytes");
}

// Well-formed and ill-formed sequences as The Unicode Standard lists them (table 3-7).
TEST(Utf8, FollowsTheStandard) {
  for (const char* good :
       {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << printable(good);
  }
  for (const char* bad : {"\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe1\x80",
                          "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "a\xff"}) {
    EXPECT_FALSE(is_utf8(bad)) << printable(bad);
  }
}

}  // namespace
}  // namespace wb::test
