// Zip archives that lie, and archives that only look unusual (formats.md E2, E3, E14).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "checkpoint/inflated_storage.h"
#include "checkpoint/zip_reader.h"
#include "tensor/read.h"
#include "unit/checkpoint/builders.h"

namespace wb::test {
namespace {

const std::string kOnes("\0\0\x80\x3f\0\0\x80\x3f", 8);  // two f32 ones

std::string one_tensor() {
  return pkl::file({{"w", pkl::tensor_v2(pkl::storage("FloatStorage", "0", 2), 0, {2}, {1})}});
}
std::vector<ZipItem> items() { return torch_items(one_tensor(), {{"0", kOnes}}); }

Error zip_error(const ZipLies& lies) { return error_of(zip(items(), lies)); }
Error directory_error(std::function<void(std::vector<ZipItem>&)> lie) {
  ZipLies lies;
  lies.directory = std::move(lie);
  return zip_error(lies);
}
Error items_error(const std::function<void(std::vector<ZipItem>&)>& change) {
  auto changed = items();
  change(changed);
  return error_of(zip(changed));
}

void expect_ones(const Checkpoint& checkpoint) {
  ASSERT_NE(checkpoint.find("w"), nullptr);
  EXPECT_EQ(read_f32(checkpoint.find("w")->tensor), (std::vector<float>{1, 1}));
}

// ---- what must be read ----

TEST(ZipRead, LocalPaddingAndDescriptorsAreSkipped) {
  const TempFolder folder;
  expect_ones(open(folder, zip(items())));
}

TEST(ZipRead, Zip64EndRecordsAreRead) {
  const TempFolder folder;
  ZipLies lies;
  lies.zip64 = true;
  expect_ones(open(folder, zip(items(), lies)));
}

TEST(ZipRead, Zip64FieldsReplaceAllOnes) {
  const TempFolder folder;
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& all) {
    ZipItem& item = all[1];
    item.extra = le(0x7777, 2) + le(2, 2) + "xx" + le(1, 2) + le(24, 2) + le(item.size, 8) +
                 le(item.compressed_size, 8) + le(item.header_offset, 8);
    item.size = item.compressed_size = item.header_offset = 0xFFFFFFFF;
  };
  expect_ones(open(folder, zip(items(), lies)));
}

TEST(ZipRead, ACommentAtTheEndIsFine) {
  const TempFolder folder;
  ZipLies lies;
  lies.comment = "made by hand";
  expect_ones(open(folder, zip(items(), lies)));
}

TEST(ZipRead, DeflatedRecordsInflateOnceOnFirstUse) {
  const TempFolder folder;
  auto all = items();
  for (ZipItem& item : all) item.deflate = true;
  const Checkpoint checkpoint = open(folder, zip(all));
  expect_ones(checkpoint);
  expect_ones(checkpoint);
  EXPECT_TRUE(checkpoint.crcs.empty());
}

TEST(ZipRead, InflationLeavesNoFileBehind) {
  const TempFolder folder, temporary;
  ::setenv("TMPDIR", temporary.path().c_str(), 1);
  auto all = items();
  all[1].deflate = true;
  expect_ones(open(folder, zip(all)));
  EXPECT_TRUE(std::filesystem::is_empty(temporary.path()));
  ::unsetenv("TMPDIR");
}

TEST(ZipRead, TheTemporaryFolderIsNamedWhenItFails) {
  const TempFolder folder;
  auto all = items();
  all[1].deflate = true;
  const Checkpoint checkpoint = open(folder, zip(all));
  ::setenv("TMPDIR", (folder.path() + "/absent").c_str(), 1);
  try {
    read_all(checkpoint.find("w")->tensor);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    WB_EXPECT_ERROR(error, Code::file_write, "a temporary file for inflated records");
    EXPECT_EQ(error.file(), folder.path() + "/absent");
  }
  ::unsetenv("TMPDIR");
}

TEST(ZipRead, AFullDiskIsToldApartFromOtherFailures) {
  WB_EXPECT_ERROR(temporary_file_error(ENOSPC, "cannot be written"), Code::no_space,
                  "a temporary file for inflated records cannot be written");
  WB_EXPECT_ERROR(temporary_file_error(EIO, "cannot be written"), Code::file_write,
                  "a temporary file for inflated records cannot be written");
}

TEST(ZipRead, EmptyDirectoryEntriesAreSkipped) {
  const TempFolder folder;
  auto all = items();
  all.emplace_back().name = "archive/data/";
  expect_ones(open(folder, zip(all)));
}

TEST(ZipRead, RecordsWithoutCrcAreNoted) {
  const TempFolder folder;
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& all) { all[1].crc = 0; };
  const Checkpoint checkpoint = open(folder, zip(items(), lies));
  expect_ones(checkpoint);
  EXPECT_TRUE(checkpoint.crcs.empty());
  EXPECT_THAT(checkpoint.notes, testing::Contains(testing::HasSubstr("1 records state no CRC-32")));
}

// ---- CRC ----

TEST(ZipCrc, AFlippedByteIsFound) {
  const Error error = directory_error([](std::vector<ZipItem>& all) { all[1].crc ^= 1; });
  WB_EXPECT_ERROR(error, Code::zip_crc, "archive/data/0 does not match its CRC-32");
  EXPECT_FALSE(error.expected().empty());
  EXPECT_FALSE(error.actual().empty());
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& all) { all[0].crc ^= 1; }),
                  Code::zip_crc, "archive/data.pkl does not match its CRC-32");
}

TEST(ZipCrc, CompressedRecordsAreCheckedWhileInflating) {
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& all) { all[1].crc ^= 1; };
  auto all = items();
  all[1].deflate = true;
  const std::string content = zip(all, lies);
  WB_EXPECT_ERROR(error_of(content), Code::zip_crc, "archive/data/0 does not match its CRC-32");
  const TempFolder folder;
  expect_ones(open(folder, content, {.check_crc = false}));
}

// The CRC-32 of "123456789" is the check value that every catalogue of CRCs gives.
TEST(ZipCrc, IsTheCommonCrc32) {
  const std::string digits = "123456789";
  EXPECT_EQ(crc32_of(std::as_bytes(std::span(digits))), 0xCBF43926u);
  EXPECT_EQ(crc_text(0xCBF43926u), "0xcbf43926");
}

// ---- what must be refused ----

TEST(ZipRefused, DuplicateNames) {
  auto twice = [](const char* name) {
    return items_error([&](std::vector<ZipItem>& all) {
      all.emplace_back().name = name;
      all.back().content = kOnes;
    });
  };
  WB_EXPECT_ERROR(twice("archive/data/0"), Code::zip_structure, "\"archive/data/0\" twice");
  WB_EXPECT_ERROR(twice("archive/DATA.pkl"), Code::zip_structure, "differing only in case");
}

TEST(ZipRefused, OverlappingEntries) {
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& all) {
                    all.back().header_offset = all[0].header_offset;
                    all.back().name = all[0].name + "2";
                  }),
                  Code::zip_structure, "otherwise in its local header");
  // A record that claims the bytes of the one after it.
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& all) {
                    all[0].size += 64;
                    all[0].compressed_size += 64;
                  }),
                  Code::zip_structure, "overlap \"archive/data.pkl\"");
}

TEST(ZipRefused, TwoEntriesOnOneLocalHeader) {
  auto all = items();
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& entries) { entries.push_back(entries[1]); };
  lies.count_delta = 0;
  WB_EXPECT_ERROR(zip_error(lies), Code::zip_structure, "overlap \"archive/data/0\"");
}

TEST(ZipRefused, EntryInsideTheDirectory) {
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& all) {
                    all.back().size += 40;
                    all.back().compressed_size += 40;
                  }),
                  Code::zip_structure, "beyond the start of its directory");
  WB_EXPECT_ERROR(
      directory_error([](std::vector<ZipItem>& all) { all.back().header_offset += 70; }),
      Code::zip_structure, "no local header for \"archive/version\"");
}

TEST(ZipRefused, LocalHeaderThatDiffers) {
  WB_EXPECT_ERROR(
      items_error([](std::vector<ZipItem>& all) { all[1].local_name = "archive/data/1"; }),
      Code::zip_structure, "names \"archive/data/0\" otherwise");
  WB_EXPECT_ERROR(items_error([](std::vector<ZipItem>& all) { all[1].local_method = 8; }),
                  Code::zip_structure, "two methods for \"archive/data/0\"");
  auto all = items();
  all[1].torch_style = false;  // real sizes stand in the local header
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& entries) {
    entries[1].size = entries[1].compressed_size = 4;
  };
  WB_EXPECT_ERROR(error_of(zip(all, lies)), Code::zip_structure, "two sizes for");
}

TEST(ZipRefused, EncryptionDisksAndMethods) {
  WB_EXPECT_ERROR(items_error([](std::vector<ZipItem>& all) { all[1].flags = 1; }),
                  Code::zip_unsupported, "an encrypted entry, \"archive/data/0\"");
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& all) { all[1].disk = 1; }),
                  Code::zip_unsupported, "spans several disks");
  ZipLies lies;
  lies.disk = 1;
  WB_EXPECT_ERROR(zip_error(lies), Code::zip_unsupported, "spans several disks");
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& all) { all[1].method = 12; }),
                  Code::zip_unsupported, "by method 12");
}

TEST(ZipRefused, DirectoryEntriesWithData) {
  WB_EXPECT_ERROR(items_error([](std::vector<ZipItem>& all) {
                    all.emplace_back().name = "archive/x/";
                    all.back().content = "hidden";
                  }),
                  Code::zip_structure, "a directory entry with data, \"archive/x/\"");
}

TEST(ZipRefused, StoredRecordWithTwoSizes) {
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& all) { all[1].compressed_size = 4; }),
                  Code::zip_structure, "stores \"archive/data/0\" with two different sizes");
}

TEST(ZipRefused, InflationBeyondTheDeclaredSize) {
  auto all = items();
  all[1].deflate = true;
  all[1].content.assign(4096, '\0');
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& entries) { entries[1].size = 8; };
  const Error error = error_of(zip(all, lies));
  WB_EXPECT_ERROR(error, Code::zip_structure, "inflates to more than its directory entry declares");
  EXPECT_EQ(error.expected(), "8 bytes");
}

TEST(ZipRefused, InflationBelowTheDeclaredSize) {
  auto all = items();
  all[1].deflate = true;
  all[1].content = "abcd";
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& entries) { entries[1].size = 8; };
  WB_EXPECT_ERROR(error_of(zip(all, lies)), Code::zip_structure, "inflates to less");
}

TEST(ZipRefused, DamagedDeflateStream) {
  auto all = items();
  all[1].deflate = true;
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& entries) { entries[1].compressed_size -= 2; };
  WB_EXPECT_ERROR(error_of(zip(all, lies)), Code::zip_structure, "not a whole deflate stream");
}

TEST(ZipRefused, SizesThatDeflateCannotReach) {
  auto all = items();
  all[1].deflate = true;
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& entries) { entries[1].size = 3'000'000'000; };
  WB_EXPECT_ERROR(error_of(zip(all, lies)), Code::zip_structure, "than deflate can yield");
}

// 4 MB of stored padding would raise the limit; without it, 1.2 GB out of 2 MB is a bomb.
TEST(ZipRefused, ABombIsFoundBeforeItInflates) {
  auto all = items();
  all[1].content.assign(1u << 20, '\x55');
  all[1].torch_style = false;
  all.push_back(all[1]);
  all.back().name = "archive/data/1";
  ZipLies lies;
  lies.directory = [](std::vector<ZipItem>& entries) {
    for (std::size_t i : {1u, 3u}) {
      entries[i].method = 8;
      entries[i].size = 600'000'000;
    }
  };
  for (std::size_t i : {1u, 3u}) {
    all[i].local_method = 8;
    all[i].torch_style = true;
  }
  const Error error = error_of(zip(all, lies));
  WB_EXPECT_ERROR(error, Code::limit_exceeded, "would inflate to too many bytes");
  EXPECT_EQ(error.actual(), "1200000000");
}

TEST(ZipRefused, Zip64FieldsThatAreTooShort) {
  auto lie = [](std::string extra) {
    return directory_error([extra = std::move(extra)](std::vector<ZipItem>& all) {
      all[1].extra = extra;
      all[1].size = all[1].compressed_size = 0xFFFFFFFF;
    });
  };
  WB_EXPECT_ERROR(lie(le(1, 2) + le(8, 2) + le(8, 8)), Code::zip_structure, "too short");
  WB_EXPECT_ERROR(lie(le(1, 2) + le(60, 2) + le(8, 8)), Code::zip_structure, "malformed extra");
  const std::string field = le(1, 2) + le(16, 2) + le(8, 8) + le(8, 8);
  WB_EXPECT_ERROR(lie(field + field), Code::zip_structure, "two zip64 fields");
}

TEST(ZipRefused, Zip64OffsetsThatWrap) {
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& all) {
                    all[1].extra = le(1, 2) + le(8, 2) + le(~std::uint64_t{0} - 8, 8);
                    all[1].header_offset = 0xFFFFFFFF;
                  }),
                  Code::zip_structure, "no local header for \"archive/data/0\"");
}

TEST(ZipRefused, Zip64RecordsThatDisagree) {
  ZipLies lies;
  lies.zip64 = true;
  std::string content = zip(items(), lies);
  content[content.size() - 22 + 10] = 9;  // the classic count
  content[content.size() - 22 + 8] = 9;
  WB_EXPECT_ERROR(error_of(content), Code::zip_structure, "disagree about the number of entries");
}

// One byte of an archive with zip64 records, counted from where a record begins: the end record is
// the last 22 bytes, the locator the 20 before it, the zip64 end record the 56 before that.
Error zip64_error(std::size_t from_end, std::size_t field, char value) {
  ZipLies lies;
  lies.zip64 = true;
  std::string content = zip(items(), lies);
  content.at(content.size() - from_end + field) = value;
  return error_of(content);
}

TEST(ZipRefused, Zip64RecordsThatLeadElsewhere) {
  constexpr std::size_t end = 22, locator = 42, record = 98;
  WB_EXPECT_ERROR(zip64_error(locator, 4, 1), Code::zip_unsupported, "spans several disks");
  WB_EXPECT_ERROR(zip64_error(locator, 16, 2), Code::zip_unsupported, "spans several disks");
  WB_EXPECT_ERROR(zip64_error(record, 16, 1), Code::zip_unsupported, "spans several disks");
  WB_EXPECT_ERROR(zip64_error(record, 20, 1), Code::zip_unsupported, "spans several disks");
  for (std::size_t byte : {8, 15}) {  // a little beside it, and far outside
    WB_EXPECT_ERROR(zip64_error(locator, byte, 0x7f), Code::zip_structure,
                    "does not lead to a zip64 end record");
  }
  for (char size : {43, 45}) {
    WB_EXPECT_ERROR(zip64_error(record, 4, size), Code::zip_structure,
                    "does not end at its locator");
  }
  WB_EXPECT_ERROR(zip64_error(record, 11, 0x7f), Code::zip_structure,
                  "does not end at its locator");
  WB_EXPECT_ERROR(zip64_error(record, 24, 9), Code::zip_structure, "two different entry counts");
  WB_EXPECT_ERROR(zip64_error(end, 12, 1), Code::zip_structure,
                  "disagree about the directory's size");
  WB_EXPECT_ERROR(zip64_error(end, 16, 1), Code::zip_structure,
                  "disagree about the directory's offset");
}

TEST(ZipRefused, EndRecordsThatContradictThemselves) {
  const std::string whole = zip(items());
  const std::size_t end = whole.size() - 22;
  const auto with = [&](std::size_t at, int more) {
    std::string content = whole;
    content.at(at) = static_cast<char>(content.at(at) + more);
    return error_of(content);
  };
  WB_EXPECT_ERROR(with(end + 8, 1), Code::zip_structure, "two different entry counts");
  WB_EXPECT_ERROR(with(end + 6, 1), Code::zip_unsupported, "spans several disks");
  for (int more : {-1, 1}) {
    WB_EXPECT_ERROR(with(end + 12, more), Code::zip_structure,
                    "does not end where the end record starts");
    WB_EXPECT_ERROR(with(end + 16, more), Code::zip_structure,
                    "does not end where the end record starts");
  }
}

TEST(ZipRefused, HeadersThatAreCutShort) {
  auto all = items();
  all[1].torch_style = false;  // its sizes stand in the local header
  const std::string whole = zip(all);
  const std::size_t central = whole.rfind("PK\x01\x02");
  const std::size_t local = whole.find("PK\x03\x04", whole.find("PK\x03\x04") + 1);
  const auto with = [&](std::size_t at, const std::string& bytes) {
    std::string content = whole;
    content.replace(at, bytes.size(), bytes);
    return error_of(content);
  };
  WB_EXPECT_ERROR(with(central + 32, le(0xFFFF, 2)), Code::zip_structure,
                  "a directory entry that is cut short");
  WB_EXPECT_ERROR(with(local + 28, le(0xFFFF, 2)), Code::zip_structure,
                  "a local header that is cut short for \"archive/data/0\"");
  WB_EXPECT_ERROR(with(local + 6, le(1, 2)), Code::zip_unsupported,
                  "an encrypted entry, \"archive/data/0\"");
  WB_EXPECT_ERROR(with(local + 18, le(9, 4)), Code::zip_structure, "two sizes for");
  WB_EXPECT_ERROR(with(local + 22, le(9, 4)), Code::zip_structure, "two sizes for");
  WB_EXPECT_ERROR(directory_error([](std::vector<ZipItem>& entries) { entries[1].extra = "xx"; }),
                  Code::zip_structure, "a malformed extra field at \"archive/data/0\"");
}

TEST(ZipRefused, EndRecordHiddenInAComment) {
  const std::string inner = "PK\x05\x06" + std::string(16, '\0') + le(0, 2);
  ZipLies lies;
  lies.comment = inner;
  WB_EXPECT_ERROR(zip_error(lies), Code::zip_structure, "two end records");
}

TEST(ZipRefused, BytesAfterTheArchiveAndBeforeIt) {
  ZipLies lies;
  lies.tail = "garbage";
  WB_EXPECT_ERROR(zip_error(lies), Code::zip_structure, "no end record that closes the file");
  const std::string whole = zip(items());
  WB_EXPECT_ERROR(error_of(whole.substr(0, whole.size() - 30)), Code::zip_structure,
                  "no end record that closes the file");
  WB_EXPECT_ERROR(error_of("MZ leading" + whole), Code::format_unknown, "MZ leadi");
}

TEST(ZipRefused, CountsThatDoNotMatch) {
  ZipLies lies;
  lies.count_delta = -1;
  WB_EXPECT_ERROR(zip_error(lies), Code::zip_structure, "more bytes than its entries take");
  lies.count_delta = 1;
  lies.directory = [](std::vector<ZipItem>& all) {  // room for another entry, but none there
    all[1].extra = le(0x7777, 2) + le(60, 2) + std::string(60, 'x');
  };
  WB_EXPECT_ERROR(zip_error(lies), Code::zip_structure, "fewer entries than it counts");
  lies.count_delta = 1000;
  WB_EXPECT_ERROR(zip_error(lies), Code::zip_structure, "more entries than its directory has room");
}

TEST(ZipRefused, NamesThatAreMeantAsPaths) {
  auto named = [](const std::string& name) {
    return items_error([&](std::vector<ZipItem>& all) { all[1].name = name; });
  };
  WB_EXPECT_ERROR(named("archive/../../etc/x"), Code::zip_structure, "not a plain path");
  WB_EXPECT_ERROR(named("/etc/x"), Code::zip_structure, "is an absolute path");
  WB_EXPECT_ERROR(named("archive\\x"), Code::zip_structure, "holds a backslash");
  WB_EXPECT_ERROR(named("C:x/data"), Code::zip_structure, "names a drive");
  WB_EXPECT_ERROR(named(std::string("archive/a\0b", 11)), Code::zip_structure, "holds a NUL");
  WB_EXPECT_ERROR(named("archive/\xff"), Code::zip_structure, "not valid UTF-8");
}

// ---- the layout of torch.save ----

TEST(ZipLayout, OneFolderAndItsRecords) {
  WB_EXPECT_ERROR(items_error([](std::vector<ZipItem>& all) { all[1].name = "other/data/0"; }),
                  Code::zip_layout, "outside its folder \"archive/\"");
  WB_EXPECT_ERROR(items_error([](std::vector<ZipItem>& all) { all[0].name = "data.pkl"; }),
                  Code::zip_layout, "outside any folder");
  WB_EXPECT_ERROR(items_error([](std::vector<ZipItem>& all) { all[0].name = "archive/DATA.PKL"; }),
                  Code::zip_layout, "no data.pkl");
  WB_EXPECT_ERROR(items_error([](std::vector<ZipItem>& all) { all.pop_back(); }), Code::zip_layout,
                  "no version record");
  WB_EXPECT_ERROR(items_error([](std::vector<ZipItem>& all) { all.back().content = "99\n"; }),
                  Code::zip_layout, "format version is unknown");
  WB_EXPECT_ERROR(error_of(zip({})), Code::zip_layout, "is empty");
}

TEST(ZipLayout, ByteOrderIsLittleOrBig) {
  auto ordered = [](const std::string& order) {
    auto all = items();
    all.emplace_back().name = "archive/byteorder";
    all.back().content = order;
    return zip(all);
  };
  const TempFolder folder;
  expect_ones(open(folder, ordered("little")));
  WB_EXPECT_ERROR(error_of(ordered("middle")), Code::zip_layout, "byte order is unknown");
}

TEST(ZipLayout, TorchScriptIsRefusedByName) {
  for (const char* name : {"archive/constants.pkl", "archive/code/__torch__.py"}) {
    WB_EXPECT_ERROR(items_error([&](std::vector<ZipItem>& all) { all.emplace_back().name = name; }),
                    Code::format_refused, "TorchScript");
  }
}

TEST(ZipLayout, APickleBeyondTheLimitIsNotRead) {
  const Error error = error_of(zip(items()), {.max_pickle_bytes = 16});
  WB_EXPECT_ERROR(error, Code::limit_exceeded, "archive/data.pkl is too large");
  EXPECT_EQ(error.expected(), "at most 16 bytes");
}

// A byte of pickle takes many of memory: a small archive must not hold much of one.
TEST(ZipLayout, ACompressedPickleInflatesToLittle) {
  std::string flood = pkl::proto2;
  for (int i = 0; i < 600'000; ++i) flood += "N0";
  std::vector<ZipItem> all = torch_items(flood + "N" + pkl::stop, {});
  for (ZipItem& item : all) item.deflate = item.name.ends_with("data.pkl");
  WB_EXPECT_ERROR(
      error_of(zip(all)), Code::limit_exceeded,
      "the compressed data.pkl would inflate to too many bytes: expected at most 1048576");
}

TEST(ZipBombs, TheLimitOfAllRecordsIsAnOption) {
  auto all = items();
  all[1].deflate = true;
  all[1].content = std::string(100'000, '\0');
  const Error error = error_of(zip(all), {.max_inflated_bytes = 50'000});
  WB_EXPECT_ERROR(error, Code::limit_exceeded, "inflate to too many bytes");
  EXPECT_THAT(error.advice(), testing::HasSubstr("--limit inflated-bytes="));
}

}  // namespace
}  // namespace wb::test
