// One safetensors file (formats.md D1-D3): the length, the header, the bytes. The
// rules are those of the format's own library, not the looser ones of some readers:
// no holes, no overlaps, nothing after the last tensor.
#include <algorithm>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/containers.h"
#include "checkpoint/names.h"
#include "checkpoint/safetensors_header.h"

namespace wb {

namespace {
[[noreturn]] void wrong_header(const std::string& what, const std::string& expected,
                               const std::string& actual) {
  throw Error(Code::safetensors_header, what)
      .expected(expected)
      .actual(actual)
      .advice("The file is damaged or was made by a faulty writer; get it again from its author.");
}
[[noreturn]] void wrong_entry(const SafetensorsEntry& entry, const std::string& what,
                              const std::string& expected, const std::string& actual) {
  throw Error(Code::safetensors_tensor, what)
      .tensor(printable(entry.name))
      .expected(expected)
      .actual(actual)
      .advice("The file is damaged or was made by a faulty writer; get it again from its author.");
}
std::string bytes_text(std::uint64_t n) { return std::to_string(n) + " bytes"; }

// The header's text, which opens with '{' and may be padded with spaces only.
std::string_view header_text(const MappedFile& file, const OpenOptions& options) {
  if (file.size() < 8) {
    throw Error(Code::truncated, "the safetensors file is shorter than its length field")
        .expected("at least 8 bytes")
        .actual(std::to_string(file.size()))
        .advice("The copy is incomplete; fetch the file again.");
  }
  const std::uint64_t length = load_u64(file.bytes(), 0);
  if (length > options.max_header_bytes) {
    throw Error(Code::limit_exceeded, "the safetensors header is too long")
        .expected("at most " + bytes_text(options.max_header_bytes))
        .actual(std::to_string(length))
        .advice(raise_limit("header-bytes"));
  }
  const std::string_view text = as_text(file.range(8, length));
  if (text.empty() || text.front() != '{') {
    wrong_header("the safetensors header does not start with '{'", "'{'",
                 text.empty() ? "nothing" : "\"" + printable(text.substr(0, 1)) + "\"");
  }
  return text;
}

void check_size(const SafetensorsEntry& entry) {
  if (entry.end < entry.begin) {
    wrong_entry(entry, "its data ends before it begins", "at least " + std::to_string(entry.begin),
                std::to_string(entry.end));
  }
  const std::uint64_t all_bits =
      checked_mul(numel(entry.shape), bits(entry.dtype), "a tensor's bit size");
  if (all_bits % 8 != 0) {
    wrong_entry(entry, "its elements do not fill whole bytes", "a multiple of 8 bits",
                std::to_string(all_bits));
  }
  if (all_bits / 8 != entry.end - entry.begin) {
    wrong_entry(entry, "its byte range does not fit its dtype and shape", bytes_text(all_bits / 8),
                std::to_string(entry.end - entry.begin));
  }
}

// In the order of their offsets the tensors must cover the data exactly.
void check_cover(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_size) {
  std::vector<const SafetensorsEntry*> order;
  for (const SafetensorsEntry& entry : entries) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(),
                   [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
                     return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
                   });
  std::uint64_t at = 0;
  for (const SafetensorsEntry* entry : order) {
    if (entry->begin != at) {
      wrong_entry(*entry,
                  entry->begin < at ? "its data overlaps another tensor's"
                                    : "its data leaves a hole before it",
                  "an offset of " + std::to_string(at), std::to_string(entry->begin));
    }
    at = entry->end;
  }
  if (at > data_size) {
    throw Error(Code::truncated, "the file ends before the data of its last tensor")
        .expected(bytes_text(at) + " of data")
        .actual(std::to_string(data_size))
        .advice("The copy is incomplete; fetch the file again.");
  }
  if (at < data_size) {
    wrong_header("the file goes on after its last tensor", bytes_text(at) + " of data",
                 std::to_string(data_size));
  }
}

SourceTensor source_tensor(const SafetensorsEntry& entry, const FilePtr& file,
                           std::uint64_t data_start, std::uint64_t id) {
  if (bits(entry.dtype) % 8 != 0) {
    throw Error(Code::dtype_unsupported, "its elements are " + std::string(name(entry.dtype)) +
                                             ", which are not whole bytes")
        .tensor(entry.name)
        .advice("Convert the tensor to a type of 8 bits or more before saving.");
  }
  SourceTensor out;
  out.name = entry.name;
  out.file = file->path();
  out.storage_id = id;
  out.storage_bytes = entry.end - entry.begin;
  const auto storage = file->path().ends_with(kConsumedEnd) ? consumed_storage : mapped_storage;
  out.tensor =
      Tensor::stored(entry.name, storage(file, data_start + entry.begin, entry.end - entry.begin),
                     entry.dtype, entry.shape);
  return out;
}

void open_file(const FilePtr& file, const OpenOptions& options, Checkpoint& out) {
  const std::string_view text = header_text(*file, options);
  SafetensorsHeader header = parse_safetensors_header(text, options.max_tensors);
  for (const SafetensorsEntry& entry : header.entries) {
    try {
      check_size(entry);
    } catch (Error& error) {
      error.tensor(printable(entry.name));
      throw;
    }
  }
  const std::string_view padding = text.substr(text.find_last_of('}') + 1);
  if (padding.find_first_not_of(' ') != padding.npos) {
    wrong_header("the safetensors header is padded with something other than spaces", "spaces",
                 "\"" + printable(padding.substr(0, 16)) + "\"");
  }
  const std::uint64_t data_start = 8 + text.size();
  check_cover(header.entries, file->size() - data_start);
  for (const SafetensorsEntry& entry : header.entries) {
    out.tensors.push_back(source_tensor(entry, file, data_start, out.tensors.size()));
  }
  for (auto& [key, value] : header.metadata) out.facts["__metadata__"][key] = value;
}
}  // namespace

bool is_safetensors(Bytes bytes) {
  if (bytes.size() < 9) return false;
  const std::uint64_t length = load_u64(bytes, 0);
  const char first = as_text(bytes)[8];
  // Any length up to 2^48 before a '{' is meant as one; otherwise it must at least fit.
  if (first == '{') return length >> 48 == 0;
  const bool space = first == ' ' || first == '\n' || first == '\t' || first == '\r';
  return space && length >= 2 && length <= bytes.size() - 8;
}

void open_safetensors(const FilePtr& file, const OpenOptions& options, Checkpoint& out) {
  out.container = Container::safetensors;
  out.files.push_back(file);
  try {
    open_file(file, options, out);
  } catch (Error& error) {
    error.file(file->path());
    throw;
  }
}

}  // namespace wb
