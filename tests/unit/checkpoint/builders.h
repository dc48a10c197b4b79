// Builders of small files, right and wrong, byte by byte: pickles, zip archives
// and safetensors. They know the formats independently of src/checkpoint, so that
// a test can say exactly which byte is a lie. Nothing here needs Python.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "unit/error_of.h"
#include "unit/temp_folder.h"

namespace wb::test {

std::string le(std::uint64_t value, unsigned width);

// --- pickles: each function returns opcodes, to be joined ---
namespace pkl {
inline const std::string proto2 = "\x80\x02";
inline const std::string stop = ".";
inline const std::string mark = "(";
inline const std::string tuple = "t";
inline const std::string reduce = "R";
inline const std::string none = "N";
inline const std::string empty_dict = "}";
inline const std::string empty_list = "]";
inline const std::string empty_tuple = ")";
std::string global(const std::string& module, const std::string& name);
std::string text(const std::string& text);  // BINUNICODE
std::string integer(std::int64_t value);    // BININT, or LONG1 when it needs more
std::string tuple_of(const std::vector<std::string>& items);
std::string dict_of(const std::vector<std::pair<std::string, std::string>>& items);
std::string sizes(const std::vector<std::int64_t>& values);  // a tuple of integers
std::string ordered_dict();
// A persistent id with five items.
std::string storage(const std::string& cls, const std::string& key, std::int64_t numel);
std::string tensor_v2(const std::string& storage, std::int64_t offset,
                      const std::vector<std::int64_t>& size,
                      const std::vector<std::int64_t>& stride);
// proto2 ... stop around {name: value, ...}
std::string file(const std::vector<std::pair<std::string, std::string>>& items);
}  // namespace pkl

// --- zip archives ---
struct ZipItem {
  std::string name, content;
  bool deflate = false;
  bool torch_style = true;  // flags 0x0808, zero local sizes, a descriptor after the data
  // What the directory says; filled from the content when an archive is built.
  std::uint32_t crc = 0;
  std::uint64_t compressed_size = 0, size = 0, header_offset = 0;
  std::uint16_t flags = 0, method = 0, disk = 0;
  std::string local_name;  // other than `name` to lie
  std::uint16_t local_method = 0;
  std::string extra;  // of the directory entry
};
struct ZipLies {
  // Called with the laid-out items before the directory is written.
  std::function<void(std::vector<ZipItem>&)> directory;
  bool zip64 = false;         // write a zip64 end record and locator
  std::string comment, tail;  // after the end record
  int count_delta = 0;        // added to both counts of the end record
  std::uint16_t disk = 0;
};
std::string zip(std::vector<ZipItem> items, const ZipLies& lies = {});
// A torch archive: archive/data.pkl, archive/version and archive/data/<key> records.
std::vector<ZipItem> torch_items(const std::string& pickle,
                                 const std::vector<std::pair<std::string, std::string>>& records);
std::string torch_zip(const std::string& pickle,
                      const std::vector<std::pair<std::string, std::string>>& records,
                      const ZipLies& lies = {});

// --- safetensors: the length, `header` and `data` ---
std::string safetensors(const std::string& header, const std::string& data);

// Opens `content` as a file and returns the error that it meets; fails the test without one.
Error error_of(const std::string& content, const OpenOptions& options = {});
Checkpoint open(const TempFolder& folder, const std::string& content,
                const OpenOptions& options = {});
std::string fixture(const std::string& name);

}  // namespace wb::test

// The code, a part of the sentence, and an advice: what every error must have.
#define WB_EXPECT_ERROR(error, expected_code, part)                              \
  do {                                                                           \
    const ::wb::Error& wb_error = (error);                                       \
    EXPECT_EQ(::wb::code_name(wb_error.code()), ::wb::code_name(expected_code)); \
    EXPECT_THAT(wb_error.sentence(), ::testing::HasSubstr(part));                \
    EXPECT_FALSE(wb_error.advice().empty());                                     \
  } while (false)
