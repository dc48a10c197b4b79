// torch.save's zip archives (formats.md E1-E3): one top folder that holds data.pkl,
// data/<key> and version. Stored records stay where they are in the mapped file.
// Refuses TorchScript archives, other zip files, and records of the wrong size.
#include <algorithm>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/containers.h"
#include "checkpoint/flatten.h"
#include "checkpoint/inflated_storage.h"
#include "checkpoint/names.h"
#include "checkpoint/torch_objects.h"
#include "checkpoint/unpickler.h"
#include "checkpoint/zip_reader.h"

namespace wb {

namespace {
constexpr std::uint64_t kMaxSmallRecord = 4096;
constexpr std::uint64_t kPickleFloor = 1u << 20, kPickleFactor = 32;

[[noreturn]] void wrong_layout(const std::string& what) {
  throw Error(Code::zip_layout, what)
      .advice("Only archives that torch.save wrote are read; save the checkpoint again with it.");
}

// The folder that every entry stands under, with its slash.
std::string top_folder(const ZipReader& zip) {
  if (zip.entries().empty()) wrong_layout("the zip archive is empty");
  const std::string& first = zip.entries().front().name;
  const std::size_t slash = first.find('/');
  if (slash == first.npos) {
    wrong_layout("the zip archive has \"" + printable(first) + "\" outside any folder");
  }
  const std::string folder = first.substr(0, slash + 1);
  for (const ZipEntry& entry : zip.entries()) {
    if (!entry.name.starts_with(folder)) {
      wrong_layout("the zip archive has \"" + printable(entry.name) + "\" outside its folder \"" +
                   printable(folder) + "\"");
    }
  }
  return folder;
}

void refuse_torchscript(const ZipReader& zip, const std::string& folder) {
  for (const ZipEntry& entry : zip.entries()) {
    const std::string_view rest = std::string_view(entry.name).substr(folder.size());
    if (rest == "constants.pkl" || rest.starts_with("code/") || rest == "model.json") {
      throw Error(Code::format_refused, "the file is a TorchScript archive, which holds code")
          .advice("Save the weights alone: torch.save(torch.jit.load(path).state_dict(), out).");
    }
  }
}

Bytes checked_content(const ZipReader& zip, const ZipEntry& entry, std::uint64_t limit,
                      const OpenOptions& options,
                      std::vector<std::shared_ptr<const Storage>>& keep) {
  if (entry.size > limit) {
    throw Error(Code::limit_exceeded, "the record " + printable(entry.name) + " is too large")
        .expected("at most " + std::to_string(limit) + " bytes")
        .actual(std::to_string(entry.size))
        .advice(raise_limit("pickle-bytes"));
  }
  keep.push_back(zip.content(entry, options.check_crc));
  const Bytes bytes = keep.back()->bytes();
  if (!entry.deflated && entry.crc32 != 0 && options.check_crc) {
    verify_crc({entry.name, zip.file(), entry.data_offset, entry.size, entry.crc32});
  }
  return bytes;
}

std::string small_record(const ZipReader& zip, const ZipEntry& entry, const OpenOptions& options) {
  std::vector<std::shared_ptr<const Storage>> keep;
  std::string text(as_text(checked_content(zip, entry, kMaxSmallRecord, options, keep)));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

void check_version(const ZipReader& zip, const std::string& folder, const OpenOptions& options) {
  const ZipEntry* entry = zip.find(folder + "version");
  if (entry == nullptr) entry = zip.find(folder + ".data/version");
  if (entry == nullptr) wrong_layout("the zip archive has no version record");
  const std::string text = small_record(zip, *entry, options);
  const bool digits = !text.empty() && text.size() <= 2 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  const int version = digits ? std::stoi(text) : 0;
  if (version < 1 || version > 10) {
    throw Error(Code::zip_layout, "the archive's format version is unknown")
        .expected("1 to 10")
        .actual(printable(text))
        .advice("Save it with an older PyTorch, or use a newer weightbridge.");
  }
}

bool is_big_endian(const ZipReader& zip, const std::string& folder, const OpenOptions& options) {
  const ZipEntry* entry = zip.find(folder + "byteorder");
  if (entry == nullptr) return false;
  const std::string text = small_record(zip, *entry, options);
  if (text != "little" && text != "big") {
    throw Error(Code::zip_layout, "the archive's byte order is unknown")
        .expected("\"little\" or \"big\"")
        .actual("\"" + printable(text) + "\"")
        .advice("The checkpoint is damaged; fetch it again.");
  }
  return text == "big";
}

// Every storage gets its record, whose size must be exactly the one that the ids claim.
void attach_records(const ZipReader& zip, const std::string& folder, const OpenOptions& options,
                    StorageTable& table) {
  for (TorchStorage& storage : table.storages()) {
    const std::string record = folder + "data/" + std::string(storage.key);
    const ZipEntry* entry = zip.find(record);
    if (entry == nullptr) {
      throw Error(Code::pickle_storage, "the archive has no record " + printable(record))
          .advice("The checkpoint is incomplete; fetch it again.");
    }
    if (entry->size != storage.nbytes) {
      throw Error(Code::pickle_storage, "the record " + printable(record) + " has the wrong size")
          .expected(std::to_string(storage.nbytes) + " bytes (" + std::to_string(storage.numel) +
                    " elements of " + storage.class_name + ")")
          .actual(std::to_string(entry->size))
          .advice("The checkpoint is damaged or hostile; get it again from its author.");
    }
    storage.content = zip.content(*entry, options.check_crc);
    storage.file = zip.file()->path();
  }
}

void account_records(const ZipReader& zip, const std::string& folder, const StorageTable& table,
                     Checkpoint& out) {
  std::uint64_t without_crc = 0, unused = 0;
  const std::string data = folder + "data/";
  for (const ZipEntry& entry : zip.entries()) {
    if (!entry.name.starts_with(data)) continue;
    if (table.find(std::string_view(entry.name).substr(data.size())) == nullptr) ++unused;
    if (entry.deflated || entry.size == 0) continue;
    if (entry.crc32 == 0) {
      ++without_crc;
    } else {
      out.crcs.push_back({entry.name, zip.file(), entry.data_offset, entry.size, entry.crc32});
    }
  }
  if (without_crc > 0) {
    out.notes.push_back(std::to_string(without_crc) +
                        " records state no CRC-32; damage in them cannot be found");
  }
  if (unused > 0) {
    out.notes.push_back(std::to_string(unused) + " records are not used by any tensor");
  }
}

// A byte of pickle costs many bytes of memory, so that a compressed one is held shorter than other
// records are.
void check_pickle_inflation(const ZipEntry& entry) {
  const std::uint64_t most = std::max(
      kPickleFloor, checked_mul(entry.compressed_size, kPickleFactor, "the inflation limit"));
  if (!entry.deflated || entry.size <= most) return;
  throw Error(Code::limit_exceeded, "the compressed data.pkl would inflate to too many bytes")
      .expected("at most " + std::to_string(most))
      .actual(std::to_string(entry.size))
      .advice("This looks like a zip bomb; re-zip the checkpoint stored if you trust it.");
}

void open_archive(const FilePtr& file, const OpenOptions& options, Checkpoint& out) {
  const ZipReader zip(file, options.max_inflated_bytes);
  const std::string folder = top_folder(zip);
  refuse_torchscript(zip, folder);
  const ZipEntry* entry = zip.find(folder + "data.pkl");
  if (entry == nullptr)
    wrong_layout("the zip archive has no data.pkl, so torch.save did not write it");
  check_version(zip, folder, options);
  check_pickle_inflation(*entry);
  std::vector<std::shared_ptr<const Storage>> keep;  // the pickle's nodes view these bytes
  const Bytes bytes = checked_content(zip, *entry, options.max_pickle_bytes, options, keep);
  const Pickle pickle = unpickle(bytes, unpickle_options(options, 5));
  if (pickle.length != bytes.size()) {
    throw Error(Code::pickle_structure, "data.pkl goes on after its STOP")
        .expected(std::to_string(pickle.length) + " bytes")
        .actual(std::to_string(bytes.size()))
        .advice("Something was appended to it; do not trust this file.");
  }
  StorageTable table(pickle);
  attach_records(zip, folder, options, table);
  const TensorReader reader(pickle, table, is_big_endian(zip, folder, options));
  flatten(pickle, reader, options, out);
  account_records(zip, folder, table, out);
}
}  // namespace

void open_torch_zip(const FilePtr& file, const OpenOptions& options, Checkpoint& out) {
  out.container = Container::torch_zip;
  out.files.push_back(file);
  try {
    open_archive(file, options, out);
  } catch (Error& error) {
    error.file(file->path());
    throw;
  }
}

void verify_crc(const StoredCrc& stored) {
  const std::uint32_t crc = crc32_of(stored.file->range(stored.offset, stored.length));
  if (crc == stored.crc32) return;
  throw Error(Code::zip_crc,
              "the record " + printable(stored.record) + " does not match its CRC-32")
      .file(stored.file->path())
      .expected(crc_text(stored.crc32))
      .actual(crc_text(crc))
      .advice("The file is damaged; fetch it again.");
}

}  // namespace wb
