// The central directory and its checks; see zip_reader.h.
#include "checkpoint/zip_reader.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/bytes.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/inflated_storage.h"
#include "checkpoint/names.h"

namespace wb {

namespace {
constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr std::uint64_t kEndSize = 22, kLocator64Size = 20, kEnd64Size = 56;
constexpr std::uint64_t kCentralSize = 46, kLocalSize = 30;
constexpr std::uint32_t kMax32 = 0xFFFFFFFF;
constexpr std::uint16_t kMax16 = 0xFFFF;
constexpr std::uint16_t kEncrypted = 0x0001, kDescriptor = 0x0008, kStrong = 0x0040,
                        kMasked = 0x2000;
constexpr std::uint64_t kInflationFactor = 64;
constexpr std::uint64_t kDeflateMaxRatio = 1032;

[[noreturn]] void fail(const std::string& what) {
  throw Error(Code::zip_structure, "the zip archive " + what)
      .advice("The archive is damaged or hostile; get it again from its author.");
}
[[noreturn]] void fail(const std::string& what, std::uint64_t expected, std::uint64_t actual) {
  throw Error(Code::zip_structure, "the zip archive " + what)
      .expected(std::to_string(expected))
      .actual(std::to_string(actual))
      .advice("The archive is damaged or hostile; get it again from its author.");
}
[[noreturn]] void unsupported(const std::string& what) {
  throw Error(Code::zip_unsupported, "the zip archive " + what)
      .advice("Save the checkpoint again with torch.save, or re-zip it stored and unencrypted.");
}
std::string in_quotes(std::string_view name) { return "\"" + printable(name) + "\""; }

struct Directory {
  std::uint64_t offset = 0, size = 0, count = 0;
};

// The one end record whose comment reaches exactly to the end of the file. Two such
// candidates mean that one hides in the other's comment: readers would disagree.
std::uint64_t find_end(Bytes bytes) {
  if (bytes.size() < kEndSize) fail("has no end record");
  const std::uint64_t last = bytes.size() - kEndSize;
  const std::uint64_t first = last > kMax16 ? last - kMax16 : 0;
  std::optional<std::uint64_t> found;
  for (std::uint64_t at = last + 1; at-- > first;) {
    if (load_u32(bytes, at) != kEnd) continue;
    if (at + kEndSize + load_u16(bytes, at + 20) != bytes.size()) continue;
    if (found) fail("has two end records, one inside the other's comment");
    found = at;
  }
  if (!found) fail("has no end record that closes the file; it is cut short or has bytes after it");
  return *found;
}

// Reads the zip64 end record that the locator before `end` names. False without one.
bool read_end64(Bytes bytes, std::uint64_t end, Directory& directory,
                std::uint64_t& directory_end) {
  if (end < kLocator64Size || load_u32(bytes, end - kLocator64Size) != kLocator64) return false;
  const std::uint64_t locator = end - kLocator64Size;
  if (load_u32(bytes, locator + 4) != 0 || load_u32(bytes, locator + 16) > 1) {
    unsupported("spans several disks");
  }
  const std::uint64_t at = load_u64(bytes, locator + 8);
  if (!within(bytes, at, kEnd64Size) || load_u32(bytes, at) != kEnd64) {
    fail("has a zip64 locator that does not lead to a zip64 end record");
  }
  const std::uint64_t size = load_u64(bytes, at + 4);
  if (size < kEnd64Size - 12 || size > locator || at + 12 + size != locator) {
    fail("has a zip64 end record that does not end at its locator");
  }
  if (load_u32(bytes, at + 16) != 0 || load_u32(bytes, at + 20) != 0) {
    unsupported("spans several disks");
  }
  directory = {load_u64(bytes, at + 48), load_u64(bytes, at + 40), load_u64(bytes, at + 32)};
  if (load_u64(bytes, at + 24) != directory.count) fail("has two different entry counts");
  directory_end = at;
  return true;
}

// A field of the classic end record beside its zip64 twin: equal, or all ones.
void check_twin(std::uint64_t classic, std::uint64_t all_ones, std::uint64_t wide,
                const char* what) {
  if (classic != all_ones && classic != wide) {
    fail(std::string("has two end records that disagree about ") + what, wide, classic);
  }
}

Directory read_directory_place(Bytes bytes) {
  const std::uint64_t end = find_end(bytes);
  const std::uint16_t disk = load_u16(bytes, end + 4), start_disk = load_u16(bytes, end + 6);
  const std::uint16_t here = load_u16(bytes, end + 8), count = load_u16(bytes, end + 10);
  const std::uint32_t size = load_u32(bytes, end + 12), offset = load_u32(bytes, end + 16);
  Directory directory{offset, size, count};
  std::uint64_t directory_end = end;
  if (read_end64(bytes, end, directory, directory_end)) {
    check_twin(count, kMax16, directory.count, "the number of entries");
    check_twin(size, kMax32, directory.size, "the directory's size");
    check_twin(offset, kMax32, directory.offset, "the directory's offset");
  } else {
    if (disk != 0 || start_disk != 0) unsupported("spans several disks");
    if (here != count) fail("has two different entry counts", count, here);
  }
  if (!within(bytes, directory.offset, directory.size) ||
      directory.offset + directory.size != directory_end) {
    fail("has a directory that does not end where the end record starts", directory_end,
         directory.offset);
  }
  if (directory.count > directory.size / kCentralSize) {
    fail("counts more entries than its directory has room for", directory.size / kCentralSize,
         directory.count);
  }
  return directory;
}

// Replaces the fields that hold all ones by those of the zip64 extra (id 1).
void apply_zip64(Bytes extra, ZipEntry& entry) {
  bool seen = false;
  for (std::uint64_t at = 0; at < extra.size();) {
    if (!within(extra, at, 4)) fail("has a malformed extra field at " + in_quotes(entry.name));
    const std::uint16_t id = load_u16(extra, at);
    const std::uint64_t length = load_u16(extra, at + 2);
    if (!within(extra, at + 4, length)) {
      fail("has a malformed extra field at " + in_quotes(entry.name));
    }
    if (id == 1) {
      if (std::exchange(seen, true)) fail("has two zip64 fields at " + in_quotes(entry.name));
      Bytes fields = extra.subspan(at + 4, length);
      for (std::uint64_t* field : {&entry.size, &entry.compressed_size, &entry.header_offset}) {
        if (*field != kMax32) continue;
        if (fields.size() < 8)
          fail("has a zip64 field that is too short at " + in_quotes(entry.name));
        *field = load_u64(fields, 0);
        fields = fields.subspan(8);
      }
    }
    at += 4 + length;
  }
}

void check_entry_name(std::string_view name) {
  auto refuse = [&](const char* why) {
    throw Error(Code::zip_structure,
                "the zip archive names an entry " + in_quotes(name) + ", which " + why)
        .advice("torch.save writes no such names; do not trust this file.");
  };
  if (name.empty()) refuse("is empty");
  if (name.front() == '/') refuse("is an absolute path");
  if (name.find('\\') != name.npos) refuse("holds a backslash");
  if (name.find('\0') != name.npos) refuse("holds a NUL byte");
  if (name.size() > 1 && name[1] == ':') refuse("names a drive");
  if (!is_utf8(name)) refuse("is not valid UTF-8");
  std::string_view rest = name;
  if (rest.back() == '/') rest.remove_suffix(1);  // a directory entry
  while (true) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") refuse("is not a plain path");
    if (slash == rest.npos) break;
    rest.remove_prefix(slash + 1);
  }
}

// Parses the central header at `at` and moves `at` past it.
ZipEntry read_central(Bytes bytes, std::uint64_t& at, std::uint64_t end) {
  const Bytes directory = bytes.first(end);
  if (!within(directory, at, kCentralSize) || load_u32(directory, at) != kCentral) {
    fail("has a directory with fewer entries than it counts");
  }
  const std::uint64_t name_length = load_u16(directory, at + 28);
  const std::uint64_t extra_length = load_u16(directory, at + 30);
  const std::uint64_t comment_length = load_u16(directory, at + 32);
  const std::uint64_t variable = name_length + extra_length + comment_length;
  if (!within(directory, at + kCentralSize, variable))
    fail("has a directory entry that is cut short");
  ZipEntry entry;
  entry.name = as_text(directory.subspan(at + kCentralSize, name_length));
  check_entry_name(entry.name);
  const std::uint16_t flags = load_u16(directory, at + 8), method = load_u16(directory, at + 10);
  if ((flags & (kEncrypted | kStrong | kMasked)) != 0) {
    unsupported("holds an encrypted entry, " + in_quotes(entry.name));
  }
  if (method != 0 && method != 8) {
    unsupported("compresses " + in_quotes(entry.name) + " by method " + std::to_string(method) +
                "; only 0 (stored) and 8 (deflate) are read");
  }
  entry.deflated = method == 8;
  entry.crc32 = load_u32(directory, at + 16);
  entry.compressed_size = load_u32(directory, at + 20);
  entry.size = load_u32(directory, at + 24);
  entry.header_offset = load_u32(directory, at + 42);
  if (load_u16(directory, at + 34) != 0) unsupported("spans several disks");
  apply_zip64(directory.subspan(at + kCentralSize + name_length, extra_length), entry);
  at += kCentralSize + variable;
  return entry;
}

void check_sizes(const ZipEntry& entry) {
  if (!entry.deflated && entry.compressed_size != entry.size) {
    fail("stores " + in_quotes(entry.name) + " with two different sizes", entry.size,
         entry.compressed_size);
  }
  if (entry.name.back() == '/' && entry.size != 0) {
    fail("has a directory entry with data, " + in_quotes(entry.name), 0, entry.size);
  }
  // Deflate cannot exceed 1032:1, so a larger claim is a lie, found before inflating.
  if (entry.deflated && entry.size / kDeflateMaxRatio > entry.compressed_size) {
    fail("claims more for " + in_quotes(entry.name) + " than deflate can yield",
         checked_mul(entry.compressed_size, kDeflateMaxRatio, "an inflated size"), entry.size);
  }
}

// The local header must tell the same story as the directory, where it tells one.
void check_local(Bytes bytes, std::uint64_t directory_offset, ZipEntry& entry) {
  const Bytes area = bytes.first(directory_offset);
  const std::uint64_t at = entry.header_offset;
  if (!within(area, at, kLocalSize) || load_u32(area, at) != kLocal) {
    fail("has no local header for " + in_quotes(entry.name) + " where its directory says");
  }
  const std::uint16_t flags = load_u16(area, at + 6);
  const std::uint64_t name_length = load_u16(area, at + 26), extra_length = load_u16(area, at + 28);
  if (!within(area, at + kLocalSize, name_length + extra_length)) {
    fail("has a local header that is cut short for " + in_quotes(entry.name));
  }
  if (as_text(area.subspan(at + kLocalSize, name_length)) != entry.name) {
    fail("names " + in_quotes(entry.name) + " otherwise in its local header");
  }
  if ((flags & (kEncrypted | kStrong | kMasked)) != 0) {
    unsupported("holds an encrypted entry, " + in_quotes(entry.name));
  }
  const unsigned method = entry.deflated ? 8 : 0;
  if (load_u16(area, at + 8) != method) {
    fail("gives two methods for " + in_quotes(entry.name), method, load_u16(area, at + 8));
  }
  if ((flags & kDescriptor) == 0) {  // otherwise the fields are zero and mean nothing
    const std::uint32_t compressed = load_u32(area, at + 18), size = load_u32(area, at + 22);
    if (compressed != kMax32 && compressed != entry.compressed_size) {
      fail("gives two sizes for " + in_quotes(entry.name), entry.compressed_size, compressed);
    }
    if (size != kMax32 && size != entry.size) {
      fail("gives two sizes for " + in_quotes(entry.name), entry.size, size);
    }
  }
  entry.data_offset = at + kLocalSize + name_length + extra_length;
  if (!within(area, entry.data_offset, entry.compressed_size)) {
    fail("places " + in_quotes(entry.name) + " beyond the start of its directory");
  }
}

void check_disjoint(const std::vector<ZipEntry>& entries) {
  std::vector<const ZipEntry*> order;
  for (const ZipEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const ZipEntry* a, const ZipEntry* b) {
    return a->header_offset < b->header_offset;
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const std::uint64_t end = order[i - 1]->data_offset + order[i - 1]->compressed_size;
    if (order[i]->header_offset < end) {
      fail("lets " + in_quotes(order[i]->name) + " overlap " + in_quotes(order[i - 1]->name), end,
           order[i]->header_offset);
    }
  }
}

void check_unique(const std::vector<ZipEntry>& entries) {
  std::vector<std::string> names;
  for (const ZipEntry& entry : entries) {
    std::string folded = entry.name;
    for (char& c : folded) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    names.push_back(std::move(folded));
  }
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) {
    fail("names the entry " + in_quotes(*twin) + " twice (or differing only in case)");
  }
}

void check_inflation(const std::vector<ZipEntry>& entries, std::uint64_t file_size,
                     std::uint64_t max_inflated) {
  std::uint64_t total = 0;
  for (const ZipEntry& entry : entries) {
    if (entry.deflated) total = checked_add(total, entry.size, "the inflated size");
  }
  const std::uint64_t limit =
      std::max(max_inflated, checked_mul(file_size, kInflationFactor, "the inflation limit"));
  if (total > limit) {
    throw Error(Code::limit_exceeded, "the compressed records would inflate to too many bytes")
        .expected("at most " + std::to_string(limit))
        .actual(std::to_string(total))
        .advice("This looks like a zip bomb. " + raise_limit("inflated-bytes"));
  }
}
}  // namespace

ZipReader::ZipReader(std::shared_ptr<const MappedFile> file, std::uint64_t max_inflated)
    : file_(std::move(file)) {
  const Bytes bytes = file_->bytes();
  const Directory directory = read_directory_place(bytes);
  const std::uint64_t end = directory.offset + directory.size;
  std::uint64_t at = directory.offset;
  entries_.reserve(directory.count);
  for (std::uint64_t i = 0; i < directory.count; ++i) {
    ZipEntry entry = read_central(bytes, at, end);
    check_sizes(entry);
    check_local(bytes, directory.offset, entry);
    entries_.push_back(std::move(entry));
  }
  if (at != end) fail("has a directory with more bytes than its entries take", at, end);
  check_disjoint(entries_);
  check_unique(entries_);
  check_inflation(entries_, file_->size(), max_inflated);
  std::erase_if(entries_, [](const ZipEntry& entry) { return entry.name.back() == '/'; });
  for (std::size_t i = 0; i < entries_.size(); ++i) by_name_.emplace(entries_[i].name, i);
}

const ZipEntry* ZipReader::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

std::shared_ptr<const Storage> ZipReader::content(const ZipEntry& entry, bool check_crc) const {
  if (!entry.deflated) return mapped_storage(file_, entry.data_offset, entry.size);
  DeflatedRun run{file_, entry.name, entry.data_offset, entry.compressed_size, entry.size, {}};
  if (check_crc) run.crc32 = entry.crc32;
  return inflated_storage(std::move(run));
}

}  // namespace wb
