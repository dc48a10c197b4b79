// Builders of test files; see builders.h.
#include "unit/checkpoint/builders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tensor/read.h"

namespace wb::test {

std::string le(std::uint64_t value, unsigned width) {
  std::string out;
  for (unsigned i = 0; i < width; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
  return out;
}

namespace pkl {
std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
std::string text(const std::string& text) { return "X" + le(text.size(), 4) + text; }
std::string integer(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  if (value >= INT32_MIN && value <= INT32_MAX) return "J" + le(bits, 4);
  return "\x8a" + le(8, 1) + le(bits, 8);
}
std::string tuple_of(const std::vector<std::string>& items) {
  std::string out = mark;
  for (const std::string& item : items) out += item;
  return out + tuple;
}
std::string dict_of(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = empty_dict + mark;
  for (const auto& [key, value] : items) out += text(key) + value;
  return out + "u";
}
std::string sizes(const std::vector<std::int64_t>& values) {
  std::vector<std::string> items;
  for (std::int64_t v : values) items.push_back(integer(v));
  return tuple_of(items);
}
std::string ordered_dict() { return global("collections", "OrderedDict") + empty_tuple + reduce; }
std::string storage(const std::string& cls, const std::string& key, std::int64_t numel) {
  const bool untyped = cls == "UntypedStorage";
  return tuple_of({text("storage"), global(untyped ? "torch.storage" : "torch", cls), text(key),
                   text("cpu"), integer(numel)}) +
         "Q";
}
std::string tensor_v2(const std::string& storage, std::int64_t offset,
                      const std::vector<std::int64_t>& size,
                      const std::vector<std::int64_t>& stride) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple_of({storage, integer(offset), sizes(size), sizes(stride), "\x89", ordered_dict()}) +
         reduce;
}
std::string file(const std::vector<std::pair<std::string, std::string>>& items) {
  return proto2 + dict_of(items) + stop;
}
}  // namespace pkl

namespace {
std::string deflated(const std::string& content) {
  z_stream stream{};
  if (deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string out(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string local_part(ZipItem& item, std::uint64_t offset) {
  const std::string data = item.deflate ? deflated(item.content) : item.content;
  item.header_offset = offset;
  item.size = item.content.size();
  item.compressed_size = data.size();
  item.crc =
      static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(item.content.data()),
                                       static_cast<uInt>(item.content.size())));
  item.method = item.deflate ? 8 : 0;
  if (item.local_method == 0) item.local_method = item.method;
  if (item.torch_style) item.flags |= 0x0808;
  const std::string& name = item.local_name.empty() ? item.name : item.local_name;
  const bool zero = item.torch_style;
  // torch pads with a local extra field "FB"; four bytes of it show that it is skipped.
  const std::string extra = zero ? "FB" + le(4, 2) + "ZZZZ" : "";
  std::string out = "PK\x03\x04" + le(20, 2) + le(item.flags, 2) + le(item.local_method, 2) +
                    le(0, 4) + le(zero ? 0 : item.crc, 4) + le(zero ? 0 : data.size(), 4) +
                    le(zero ? 0 : item.size, 4) + le(name.size(), 2) + le(extra.size(), 2) + name +
                    extra + data;
  if (zero) out += "PK\x07\x08" + le(item.crc, 4) + le(data.size(), 4) + le(item.size, 4);
  return out;
}

std::string central_part(const ZipItem& item) {
  return "PK\x01\x02" + le(20, 2) + le(20, 2) + le(item.flags, 2) + le(item.method, 2) + le(0, 4) +
         le(item.crc, 4) + le(item.compressed_size, 4) + le(item.size, 4) +
         le(item.name.size(), 2) + le(item.extra.size(), 2) + le(0, 2) + le(item.disk, 2) +
         le(0, 2) + le(0, 4) + le(item.header_offset, 4) + item.name + item.extra;
}
}  // namespace

std::string zip(std::vector<ZipItem> items, const ZipLies& lies) {
  std::string out;
  for (ZipItem& item : items) out += local_part(item, out.size());
  if (lies.directory) lies.directory(items);
  const std::uint64_t start = out.size();
  for (const ZipItem& item : items) out += central_part(item);
  const std::uint64_t size = out.size() - start, count = items.size() + lies.count_delta;
  if (lies.zip64) {
    const std::uint64_t end64 = out.size();
    out += "PK\x06\x06" + le(44, 8) + le(45, 2) + le(45, 2) + le(0, 4) + le(0, 4) + le(count, 8) +
           le(count, 8) + le(size, 8) + le(start, 8);
    out += "PK\x06\x07" + le(0, 4) + le(end64, 8) + le(1, 4);
  }
  out += "PK\x05\x06" + le(lies.disk, 2) + le(lies.disk, 2) + le(count, 2) + le(count, 2) +
         le(size, 4) + le(start, 4) + le(lies.comment.size(), 2) + lies.comment;
  return out + lies.tail;
}

std::vector<ZipItem> torch_items(const std::string& pickle,
                                 const std::vector<std::pair<std::string, std::string>>& records) {
  std::vector<ZipItem> items(1);
  items[0].name = "archive/data.pkl";
  items[0].content = pickle;
  for (const auto& [key, content] : records) {
    items.emplace_back().name = "archive/data/" + key;
    items.back().content = content;
  }
  items.emplace_back().name = "archive/version";
  items.back().content = "3\n";
  return items;
}

std::string torch_zip(const std::string& pickle,
                      const std::vector<std::pair<std::string, std::string>>& records,
                      const ZipLies& lies) {
  return zip(torch_items(pickle, records), lies);
}

std::string safetensors(const std::string& header, const std::string& data) {
  return le(header.size(), 8) + header + data;
}

Error error_of(const std::string& content, const OpenOptions& options) {
  const TempFolder folder;
  const std::string path = folder.write("hostile.bin", content);
  Error error = wb::error_of([&] {
    const Checkpoint checkpoint = open_checkpoint(path, options);
    // Some lies only show when the bytes are read.
    for (const StoredCrc& crc : checkpoint.crcs) verify_crc(crc);
    for (const SourceTensor& t : checkpoint.tensors) {
      if (t.tensor.nbytes() <= (64u << 20)) read_all(t.tensor);
    }
  });
  EXPECT_THAT(error.file(), ::testing::HasSubstr("hostile.bin"));
  return error;
}

Checkpoint open(const TempFolder& folder, const std::string& content, const OpenOptions& options) {
  return open_checkpoint(folder.write("model.pt", content), options);
}

std::string fixture(const std::string& name) {
  return std::string(WB_SOURCE_DIR) + "/tests/fixtures/checkpoints/" + name;
}

}  // namespace wb::test
