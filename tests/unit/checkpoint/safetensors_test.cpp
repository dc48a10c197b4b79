// safetensors files and folders: the rules of the format's own library (formats.md
// D2, D7), one test for each way to break them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "tensor/read.h"
#include "unit/checkpoint/builders.h"

namespace wb::test {
namespace {

const std::string kOnes("\0\0\x80\x3f\0\0\x80\x3f", 8);  // two f32 ones
const std::string kGood = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

Error header_error(const std::string& header, const std::string& data = kOnes) {
  return error_of(safetensors(header, data));
}
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}
std::string object(const std::string& inside) { return "{" + inside + "}"; }

// ---- what must be read ----

TEST(Safetensors, OneFile) {
  const TempFolder folder;
  const Checkpoint checkpoint = open(folder, safetensors(kGood + "  ", kOnes));
  EXPECT_EQ(checkpoint.container, Container::safetensors);
  ASSERT_EQ(checkpoint.tensors.size(), 1u);
  EXPECT_EQ(read_f32(checkpoint.tensors[0].tensor), (std::vector<float>{1, 1}));
  EXPECT_TRUE(checkpoint.tensors[0].contiguous);
  EXPECT_EQ(checkpoint.stored_bytes(), 8u);
}

TEST(Safetensors, EveryTypeOfWholeBytes) {
  const std::pair<const char*, unsigned> types[] = {
      {"BOOL", 1},    {"U8", 1},          {"I8", 1},          {"F8_E5M2", 1}, {"F8_E4M3", 1},
      {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1}, {"I16", 2},     {"U16", 2},
      {"F16", 2},     {"BF16", 2},        {"I32", 4},         {"U32", 4},     {"F32", 4},
      {"C64", 8},     {"F64", 8},         {"I64", 8},         {"U64", 8}};
  for (const auto& [type, size] : types) {
    const TempFolder folder;
    const std::string data(3 * size, '\1');
    const Checkpoint checkpoint =
        open(folder,
             safetensors(object(entry("x", type, "[3]", "[0," + std::to_string(data.size()) + "]")),
                         data));
    EXPECT_EQ(name(checkpoint.tensors.at(0).tensor.dtype()), type);
    EXPECT_EQ(checkpoint.total_bytes(), data.size()) << type;
  }
}

TEST(Safetensors, OrderInTheHeaderIsFree) {
  const TempFolder folder;
  const std::string data = "abcdef";
  const Checkpoint checkpoint = open(
      folder,
      safetensors(object(entry("z", "U8", "[2]", "[0,2]") + "," + entry("a", "U8", "[4]", "[2,6]") +
                         "," + entry("empty", "U8", "[0,7]", "[2,2]") + "," +
                         "\"__metadata__\":{\"format\":\"pt\"}"),
                  data));
  EXPECT_EQ(checkpoint.tensors.size(), 3u);
  EXPECT_EQ(checkpoint.tensors[0].name, "a");
  EXPECT_EQ(std::to_integer<char>(read_all(checkpoint.tensors[0].tensor)[0]), 'c');
  EXPECT_EQ(checkpoint.facts, nlohmann::json::parse(R"({"__metadata__": {"format": "pt"}})"));
}

TEST(Safetensors, ScalarsNullMetadataAndUnknownKeysAreFine) {
  const TempFolder folder;
  const Checkpoint checkpoint =
      open(folder, safetensors(R"({"__metadata__":null,"s":{"dtype":"F64","shape":[],)"
                               R"("note":{"deep":[1,{"a":"b"}]},"data_offsets":[0,8]}})",
                               std::string(8, '\0')));
  EXPECT_TRUE(checkpoint.tensors.at(0).tensor.shape().empty());
}

// ---- the header ----

TEST(SafetensorsHeader, LengthsAreChecked) {
  WB_EXPECT_ERROR(error_of(le(100'000'001, 8) + "{}"), Code::limit_exceeded, "header is too long");
  WB_EXPECT_ERROR(error_of(le(std::uint64_t{1} << 47, 8) + "{}"), Code::limit_exceeded, "too long");
  WB_EXPECT_ERROR(error_of(le(1000, 8) + "{}"), Code::truncated, "shorter than what it promises");
  WB_EXPECT_ERROR(error_of(safetensors(kGood, kOnes), {.max_header_bytes = 10}),
                  Code::limit_exceeded, "header is too long");
}

TEST(SafetensorsHeader, StartsWithABraceAndEndsInSpaces) {
  WB_EXPECT_ERROR(header_error(" " + kGood), Code::safetensors_header, "does not start with '{'");
  WB_EXPECT_ERROR(header_error(kGood + "\n"), Code::safetensors_header, "other than spaces");
  WB_EXPECT_ERROR(header_error(kGood + std::string(4, '\0')), Code::safetensors_header,
                  "holds a NUL byte");
  WB_EXPECT_ERROR(header_error(kGood + std::string(1, '\0') + "{}"), Code::safetensors_header,
                  "holds a NUL byte");
}

TEST(SafetensorsHeader, IsJsonAndNothingElse) {
  WB_EXPECT_ERROR(header_error("{\"w\":}"), Code::safetensors_header, "not valid JSON at byte");
  WB_EXPECT_ERROR(header_error(kGood + kGood), Code::safetensors_header, "not valid JSON");
  WB_EXPECT_ERROR(header_error("{\"\xff\":1}"), Code::safetensors_header, "not valid UTF-8");
  WB_EXPECT_ERROR(header_error("{\"\\ud800\":1}"), Code::safetensors_header, "not valid JSON");
  std::string deep = "{\"w\":{\"x\":";
  deep += std::string(100'000, '[');
  WB_EXPECT_ERROR(header_error(deep), Code::safetensors_header, "more than 16 levels");
}

TEST(SafetensorsHeader, DuplicateKeysAreRefused) {
  const std::string w = entry("w", "F32", "[2]", "[0,8]");
  WB_EXPECT_ERROR(header_error(object(w + "," + w)), Code::safetensors_header,
                  "the tensor \"w\" twice");
  WB_EXPECT_ERROR(
      header_error(R"({"w":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}})"),
      Code::safetensors_header, "the key \"dtype\" twice");
  WB_EXPECT_ERROR(header_error(R"({"__metadata__":{},"__metadata__":{}})"),
                  Code::safetensors_header, "\"__metadata__\" twice");
  WB_EXPECT_ERROR(header_error(R"({"__metadata__":{"a":"1","a":"2"}})"), Code::safetensors_header,
                  "the key \"a\" twice");
}

TEST(SafetensorsHeader, MetadataIsStringsOnly) {
  for (const char* value : {"5", "[1]", "\"x\"", "{\"a\":1}", "{\"a\":{}}", "{\"a\":null}"}) {
    WB_EXPECT_ERROR(header_error(std::string("{\"__metadata__\":") + value + "}"),
                    Code::safetensors_header, "in __metadata__, not a string");
  }
}

TEST(SafetensorsHeader, TooManyEntries) {
  WB_EXPECT_ERROR(error_of(safetensors(object(entry("a", "U8", "[0]", "[0,0]") + "," +
                                              entry("b", "U8", "[0]", "[0,0]")),
                                       ""),
                           {.max_tensors = 1}),
                  Code::limit_exceeded, "too many entries");
}

// ---- the entries ----

TEST(SafetensorsEntry, TypesOfTheFieldsAreChecked) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"w":5})", "its entry is a number"},
      {R"({"w":[1]})", "its entry is an array"},
      {R"({"w":{"dtype":5,"shape":[2],"data_offsets":[0,8]}})", "dtype holds a number"},
      {R"({"w":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}})", "dtype \"f32\" is none"},
      {R"({"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", "shape holds a number that"},
      {R"({"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "shape holds a negative"},
      {R"({"w":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", "shape holds a string"},
      {R"({"w":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", "shape holds an array"},
      {R"({"w":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", "shape holds a number"},
      {R"({"w":{"dtype":"F32","shape":{},"data_offsets":[0,8]}})", "shape holds an object"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", "fewer than two"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", "more than two"},
      {R"({"w":{"dtype":"F32","shape":[2]}})", "lacks one of"},
      {R"({"w":{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}})", "dtype holds an array"},
      {R"({"w":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}})", "63 bits"}};
  for (const auto& [header, part] : cases) {
    SCOPED_TRACE(header);
    const Error error = header_error(header);
    WB_EXPECT_ERROR(error, Code::safetensors_tensor, part);
    EXPECT_EQ(error.tensor(), "w");
  }
}

TEST(SafetensorsEntry, SizesMustFit) {
  const Error error = header_error(object(entry("w", "F32", "[3]", "[0,8]")));
  WB_EXPECT_ERROR(error, Code::safetensors_tensor, "does not fit its dtype and shape");
  EXPECT_EQ(error.expected(), "12 bytes");
  EXPECT_EQ(error.actual(), "8");
  WB_EXPECT_ERROR(header_error(object(entry("w", "F32", "[2]", "[8,0]"))), Code::safetensors_tensor,
                  "ends before it begins");
  WB_EXPECT_ERROR(header_error(object(entry("w", "F4", "[3]", "[0,2]"))), Code::safetensors_tensor,
                  "do not fill whole bytes");
  WB_EXPECT_ERROR(header_error(object(entry("w", "F4", "[16]", "[0,8]"))), Code::dtype_unsupported,
                  "F4, which are not whole bytes");
}

TEST(SafetensorsEntry, ProductsThatWrapAreFound) {
  WB_EXPECT_ERROR(header_error(object(entry("w", "F32", "[65536,65536,65536,65536]", "[0,0]"))),
                  Code::size_overflow, "does not fit 63 bits");
  const Error error =
      header_error(object(entry("w", "F32", "[2]", "[18446744073709551608,18446744073709551615]")));
  EXPECT_EQ(code_name(error.code()), code_name(Code::safetensors_tensor));
}

TEST(SafetensorsEntry, DataIsCoveredExactly) {
  WB_EXPECT_ERROR(header_error(object(entry("a", "F32", "[2]", "[0,8]") + "," +
                                      entry("b", "F32", "[1]", "[4,8]"))),
                  Code::safetensors_tensor, "overlaps another tensor's");
  const Error hole = header_error(
      object(entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[5,9]")),
      std::string(9, '\0'));
  WB_EXPECT_ERROR(hole, Code::safetensors_tensor, "leaves a hole before it");
  EXPECT_EQ(hole.tensor(), "b");
  WB_EXPECT_ERROR(header_error(object(entry("a", "F32", "[1]", "[4,8]"))), Code::safetensors_tensor,
                  "leaves a hole");
  WB_EXPECT_ERROR(header_error(kGood, kOnes + "x"), Code::safetensors_header,
                  "goes on after its last tensor");
  WB_EXPECT_ERROR(header_error(kGood, kOnes.substr(1)), Code::truncated,
                  "ends before the data of its last tensor");
}

TEST(SafetensorsEntry, ManyEntriesOnOneSpanAreRefused) {
  std::string entries;
  for (int i = 0; i < 1000; ++i) {
    entries += (i ? "," : "") + entry("t" + std::to_string(i), "F32", "[2]", "[0,8]");
  }
  WB_EXPECT_ERROR(header_error(object(entries)), Code::safetensors_tensor, "overlaps");
}

TEST(SafetensorsEntry, NamesThatCannotBeCarriedAreRefused) {
  WB_EXPECT_ERROR(header_error(object(entry("a\\u0000b", "F32", "[2]", "[0,8]"))),
                  Code::tensor_name, "NUL");
  WB_EXPECT_ERROR(header_error(object(entry("", "F32", "[2]", "[0,8]"))), Code::tensor_name,
                  "is empty");
}

TEST(SafetensorsEntry, NoTensorsAtAll) {
  WB_EXPECT_ERROR(header_error("{}", ""), Code::no_tensors, "holds no tensor");
}

// ---- folders ----

std::string one(const std::string& tensor) {
  return safetensors(object(entry(tensor, "F32", "[2]", "[0,8]")), kOnes);
}
std::string index(const std::string& map) {
  return "{\"metadata\":{},\"weight_map\":{" + map + "}}";
}
Error folder_error(const TempFolder& folder) {
  Error error = wb::error_of([&] { open_checkpoint(folder.path()); });
  EXPECT_THAT(error.file(), testing::HasSubstr(folder.path()));
  return error;
}

TEST(Folder, ShardsWithAnIndex) {
  const TempFolder folder;
  folder.write("a.safetensors", one("x"));
  folder.write("b.safetensors", one("y"));
  folder.write("stray.safetensors", one("x"));  // not listed, so not read
  folder.write("model.safetensors.index.json", index(R"("x":"a.safetensors","y":"b.safetensors")"));
  folder.write("config.json", R"({"n_layer": 3})");
  const Checkpoint checkpoint = open_checkpoint(folder.path());
  EXPECT_EQ(checkpoint.container, Container::safetensors_sharded);
  ASSERT_EQ(checkpoint.tensors.size(), 2u);
  EXPECT_EQ(checkpoint.tensors[1].file, folder.path() + "/b.safetensors");
  EXPECT_NE(checkpoint.tensors[0].storage_id, checkpoint.tensors[1].storage_id);
  EXPECT_EQ(checkpoint.stored_bytes(), 16u);
  EXPECT_EQ(checkpoint.config->at("n_layer"), 3);
  std::vector<std::string> files;
  for (const auto& file : checkpoint.files) {
    files.push_back(std::filesystem::path(file->path()).filename().string());
  }
  EXPECT_EQ(files, (std::vector<std::string>{"a.safetensors", "b.safetensors",
                                             "model.safetensors.index.json", "config.json"}));
}

TEST(Folder, ShardsWithoutAnIndex) {
  const TempFolder folder;
  folder.write("a.safetensors", one("x"));
  folder.write("b.safetensors", one("y"));
  EXPECT_EQ(open_checkpoint(folder.path()).tensors.size(), 2u);
  folder.write("c.safetensors", one("x"));
  const Error error = folder_error(folder);
  WB_EXPECT_ERROR(error, Code::tensor_name, "the name occurs twice");
  EXPECT_THAT(error.sentence(), testing::HasSubstr("c.safetensors"));
}

// DeepSeek's own convert.py writes model{i}-mp{n}.safetensors, each with a part of every tensor.
TEST(Folder, FilesSplitOverProcessesAreToBeJoinedFirst) {
  const TempFolder folder;
  folder.write("model0-mp2.safetensors", one("layers.0.attn.wo.weight"));
  folder.write("model1-mp2.safetensors", one("layers.0.attn.wo.weight"));
  const Error error = folder_error(folder);
  WB_EXPECT_ERROR(error, Code::tensor_name, "the name occurs twice");
  EXPECT_THAT(error.sentence(), testing::HasSubstr("model1-mp2.safetensors"));
  EXPECT_THAT(error.advice(), testing::HasSubstr("join them"));
}

TEST(Folder, IndexNamesArePlainFileNames) {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "a\\\\b", "", ".."}) {
    const TempFolder folder;
    folder.write("model.safetensors.index.json", index("\"x\":\"" + std::string(name) + "\""));
    WB_EXPECT_ERROR(folder_error(folder), Code::safetensors_index, "not a plain file name");
  }
}

TEST(Folder, TheIndexMustBeTrue) {
  const TempFolder folder;
  folder.write("a.safetensors", one("x"));
  folder.write("b.safetensors", one("y"));
  auto with = [&](const std::string& text) {
    folder.write("model.safetensors.index.json", text);
    return folder_error(folder);
  };
  WB_EXPECT_ERROR(with(index(R"("x":"c.safetensors")")), Code::safetensors_index,
                  "lists c.safetensors, which is not in the folder");
  // Longer than any file's name may be: the system refuses to look for it.
  WB_EXPECT_ERROR(with(index(R"("x":")" + std::string(300, 'n') + R"(.safetensors")")),
                  Code::safetensors_index, "nnn..., which is not in the folder");
  const Error nowhere = with(index(R"("x":"a.safetensors","z":"a.safetensors")"));
  WB_EXPECT_ERROR(nowhere, Code::safetensors_index, "in a file that lacks it");
  EXPECT_EQ(nowhere.tensor(), "z");
  WB_EXPECT_ERROR(with(index(R"("x":"b.safetensors","y":"a.safetensors")")),
                  Code::safetensors_index, "in a file that lacks it");
  WB_EXPECT_ERROR(with("{}"), Code::safetensors_index, "no weight_map");
  WB_EXPECT_ERROR(with("{"), Code::safetensors_index, "not valid JSON");
  WB_EXPECT_ERROR(with(index("") + std::string(1, '\0')), Code::safetensors_index, "a NUL byte");
  WB_EXPECT_ERROR(with(index(R"("x":5)")), Code::safetensors_index, "no file name for \"x\"");
  for (const char* value : {"null", "true", "-1", "1.5", "{}", "[]", "[\"a.safetensors\"]"}) {
    SCOPED_TRACE(value);
    WB_EXPECT_ERROR(with(index("\"x\":" + std::string(value))), Code::safetensors_index,
                    "no file name for \"x\"");
  }
  WB_EXPECT_ERROR(with(index(R"("x":"a.safetensors","x":"b.safetensors")")),
                  Code::safetensors_index, "the key \"x\" twice");
  WB_EXPECT_ERROR(with("{\"metadata\":" + std::string(100'000, '[')), Code::safetensors_index,
                  "more than 16 levels");
  std::string objects = "{";
  for (int i = 0; i < 20; ++i) objects += "\"a\":{";
  WB_EXPECT_ERROR(with(objects), Code::safetensors_index, "more than 16 levels");
  folder.write("other.safetensors.index.json", "{}");
  WB_EXPECT_ERROR(folder_error(folder), Code::safetensors_index, "more than one index");
}

// A recipe may ask it for what weights can't tell, so that passing over it would hide an answer.
TEST(Folder, AnIndexMayHoldMoreThanItsMap) {
  const TempFolder folder;
  folder.write("a.safetensors", one("x"));
  folder.write("model.safetensors.index.json",
               R"({"metadata":{"total_size":1.5e1,"by":null,"parts":[1,true,-2,["x",{}]]},)"
               R"("weight_map":{"x":"a.safetensors"},"version":-3})");
  const Checkpoint checkpoint = open_checkpoint(folder.path());
  EXPECT_EQ(checkpoint.tensors.size(), 1u);
  EXPECT_TRUE(checkpoint.notes.empty());
}

TEST(Folder, WhatAnIndexDoesNotListIsNoted) {
  const TempFolder folder;
  const std::string both =
      object(entry("x", "F32", "[1]", "[0,4]") + "," + entry("y", "F32", "[1]", "[4,8]"));
  folder.write("a.safetensors", safetensors(both, kOnes));
  folder.write("model.safetensors.index.json", index(R"("x":"a.safetensors")"));
  const Checkpoint checkpoint = open_checkpoint(folder.path());
  EXPECT_EQ(checkpoint.tensors.size(), 2u);
  EXPECT_THAT(checkpoint.notes, testing::ElementsAre(testing::HasSubstr(
                                    "1 tensor stands in the files but not in the index")));
}

TEST(Folder, LimitsCountOverAllShards) {
  const TempFolder folder;
  folder.write("a.safetensors", one("x"));
  folder.write("b.safetensors", one("y"));
  const Error error = wb::error_of([&] { open_checkpoint(folder.path(), {.max_tensors = 1}); });
  WB_EXPECT_ERROR(error, Code::limit_exceeded, "the shards hold too many tensors");
  EXPECT_EQ(error.expected(), "at most 1");
  EXPECT_EQ(error.actual(), "2");
  EXPECT_EQ(open_checkpoint(folder.path(), {.max_tensors = 2}).tensors.size(), 2u);
}

TEST(Folder, AShardOfAFewBytesIsIncomplete) {
  const TempFolder folder;
  folder.write("a.safetensors", one("x"));
  folder.write("b.safetensors", "\x10\0\0");
  WB_EXPECT_ERROR(folder_error(folder), Code::truncated, "shorter than its length field");
}

TEST(Folder, AConfigThatDoesNotParseIsAnError) {
  const TempFolder folder;
  folder.write("model.safetensors", one("x"));
  for (const auto& [text, code, part] : std::vector<std::tuple<std::string, Code, std::string>>{
           {"{broken", Code::config_invalid, "config.json: is not JSON"},
           {"[1]", Code::config_invalid, "config.json: is not a JSON object"},
           {R"({"a": 1, "a": 2})", Code::config_invalid, "the key \"a\" twice"},
           {std::string(100'000, '['), Code::limit_exceeded, "nests too deep"}}) {
    folder.write("config.json", text);
    WB_EXPECT_ERROR(folder_error(folder), code, part);
    try {
      open_checkpoint(folder.path() + "/model.safetensors");
      ADD_FAILURE() << text.substr(0, 20) << " was taken";
    } catch (const Error& error) {
      WB_EXPECT_ERROR(error, code, part);
    }
  }
}

TEST(Header, IsUtf8) {
  WB_EXPECT_ERROR(error_of(safetensors("{\"\xff\": {}}", "")), Code::safetensors_header,
                  "is not valid UTF-8");
}

}  // namespace
}  // namespace wb::test
