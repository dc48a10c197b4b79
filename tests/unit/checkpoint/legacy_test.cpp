// The format before zip archives, and how legacy files lie (formats.md E10, E11).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "tensor/read.h"
#include "unit/checkpoint/builders.h"

namespace wb::test {
namespace {

const std::string kMagic = std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
const std::string kProtocol = pkl::proto2 + "M\xe9\x03.";
const std::string kFour = le(0, 4) + le(0x3f800000, 4) + le(0x40000000, 4) + le(0x40400000, 4);

std::string system_info(bool little = true) {
  return pkl::proto2 +
         pkl::dict_of(
             {{"protocol_version", "M\xe9\x03"}, {"little_endian", little ? "\x88" : "\x89"}}) +
         pkl::stop;
}
std::string storage(const std::string& key, std::int64_t numel, const std::string& view = "N") {
  return pkl::tuple_of({pkl::text("storage"), pkl::global("torch", "FloatStorage"), pkl::text(key),
                        pkl::text("cpu"), pkl::integer(numel), view}) +
         "Q";
}
std::string view(std::int64_t offset, std::int64_t numel) {
  return pkl::tuple_of({pkl::text("99"), pkl::integer(offset), pkl::integer(numel)});
}
std::string keys(const std::vector<std::string>& list) {
  std::string out = pkl::proto2 + "](";
  for (const std::string& key : list) out += pkl::text(key);
  return out + "e.";
}
std::string legacy(const std::string& object, const std::string& key_list, const std::string& data,
                   bool little = true) {
  return kMagic + kProtocol + system_info(little) + object + key_list + data;
}
std::string object(const std::string& id, std::int64_t offset = 0, std::int64_t size = 4) {
  return pkl::file({{"w", pkl::tensor_v2(id, offset, {size}, {1})}});
}
std::string data() { return le(4, 8) + kFour; }

TEST(Legacy, IsRead) {
  const TempFolder folder;
  const Checkpoint checkpoint =
      open(folder, legacy(object(storage("11", 4)), keys({"11"}), data()));
  EXPECT_EQ(checkpoint.container, Container::torch_legacy);
  EXPECT_EQ(read_f32(checkpoint.tensors.at(0).tensor), (std::vector<float>{0, 1, 2, 3}));
}

TEST(Legacy, StorageViewsAreWindowsOfTheirStorage) {
  const TempFolder folder;
  const std::string id = storage("11", 4, view(1, 2));
  const Checkpoint checkpoint = open(folder, legacy(object(id, 0, 2), keys({"11"}), data()));
  EXPECT_EQ(read_f32(checkpoint.tensors.at(0).tensor), (std::vector<float>{1, 2}));
  EXPECT_EQ(checkpoint.tensors[0].storage_offset, 1u);
  WB_EXPECT_ERROR(error_of(legacy(object(id, 1, 2), keys({"11"}), data())), Code::pickle_tensor,
                  "reaches beyond its storage 11");
  WB_EXPECT_ERROR(
      error_of(legacy(object(storage("11", 4, view(3, 2)), 0, 1), keys({"11"}), data())),
      Code::pickle_storage, "a storage view reaches beyond its storage");
  WB_EXPECT_ERROR(
      error_of(legacy(object(storage("11", 4, pkl::text("x")), 0, 1), keys({"11"}), data())),
      Code::pickle_storage, "not (key, offset, length)");
}

// PyTorch's writer converts to little-endian on every machine; the flag is about the machine.
TEST(Legacy, DataIsLittleEndianWhateverMachineWroteIt) {
  const TempFolder folder;
  const Checkpoint checkpoint =
      open(folder, legacy(object(storage("11", 4)), keys({"11"}), data(), false));
  EXPECT_EQ(read_f32(checkpoint.tensors.at(0).tensor), (std::vector<float>{0, 1, 2, 3}));
  EXPECT_THAT(checkpoint.notes, testing::Contains(testing::HasSubstr("big-endian machine")));
}

TEST(Legacy, CountsOnDiskMustBeThoseOfTheIds) {
  const Error error = error_of(legacy(object(storage("11", 4)), keys({"11"}), le(3, 8) + kFour));
  WB_EXPECT_ERROR(error, Code::pickle_storage, "the storage 11 has the wrong size");
  EXPECT_EQ(error.expected(), "4 elements");
  EXPECT_EQ(error.actual(), "3");
}

TEST(Legacy, TheKeyListAndTheIdsMustAgree) {
  const std::string good = object(storage("11", 4));
  WB_EXPECT_ERROR(error_of(legacy(good, keys({"11", "12"}), data() + data())),
                  Code::pickle_structure, "the storage 12, which no tensor uses");
  WB_EXPECT_ERROR(error_of(legacy(good, keys({}), "")), Code::pickle_storage, "no storage 11");
  WB_EXPECT_ERROR(error_of(legacy(good, keys({"11", "11"}), data() + data())),
                  Code::pickle_structure, "the storage 11 twice");
  WB_EXPECT_ERROR(error_of(legacy(good, pkl::proto2 + "}.", data())), Code::pickle_structure,
                  "no list of storages");
}

TEST(Legacy, TheFileEndsWithItsLastStorage) {
  const std::string good = legacy(object(storage("11", 4)), keys({"11"}), data());
  WB_EXPECT_ERROR(error_of(good + "more"), Code::pickle_structure, "goes on for 4 bytes");
  const Error error = error_of(good.substr(0, good.size() - 1));
  WB_EXPECT_ERROR(error, Code::truncated, "shorter than what it promises");
  WB_EXPECT_ERROR(error_of(good.substr(0, good.size() - 20)), Code::truncated, "shorter");
}

TEST(Legacy, ThePreambleIsChecked) {
  WB_EXPECT_ERROR(error_of(kMagic + pkl::proto2 + "M\xe8\x03."), Code::pickle_structure,
                  "protocol version other than 1001");
  WB_EXPECT_ERROR(error_of(kMagic + kProtocol + pkl::proto2 + "N."), Code::pickle_structure,
                  "no description of its machine");
  WB_EXPECT_ERROR(error_of(kMagic), Code::pickle_structure, "cut short");
}

TEST(Legacy, IdsBelongOnlyIntoTheObject) {
  const std::string id = pkl::file({{"x", storage("11", 4)}});
  WB_EXPECT_ERROR(error_of(kMagic + kProtocol + id), Code::pickle_storage, "where there are none");
}

TEST(Legacy, WholeModulesAndTarFilesAreRefusedByName) {
  const std::string module = pkl::proto2 +
                             pkl::tuple_of({pkl::text("module"), pkl::none, pkl::text("m.py"),
                                            pkl::text("class M: pass")}) +
                             "Q.";
  WB_EXPECT_ERROR(error_of(legacy(module, keys({}), "")), Code::format_refused, "a whole module");
  std::string tar(1024, '\0');
  tar.replace(0, 8, "storages");
  tar.replace(257, 5, "ustar");
  WB_EXPECT_ERROR(error_of(tar), Code::format_refused, "a tar archive");
}

}  // namespace
}  // namespace wb::test
