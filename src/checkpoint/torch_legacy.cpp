// PyTorch's format before 1.6 (formats.md E10): five pickles in a row, then every
// storage as an element count and its bytes. The bytes are little-endian on every
// machine: PyTorch's writer converts them, so the little_endian flag in the third
// pickle tells about the machine that wrote, not about the data.
#include <algorithm>
#include <set>
#include <string>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/containers.h"
#include "checkpoint/flatten.h"
#include "checkpoint/names.h"
#include "checkpoint/torch_objects.h"
#include "checkpoint/unpickler.h"

namespace wb {

namespace {
// 0x1950a86a20f9469cfc6c as a pickle integer: LONG1, ten bytes.
constexpr unsigned char kMagic[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                    0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
constexpr std::int64_t kProtocol = 1001;

[[noreturn]] void wrong(const std::string& what) {
  throw Error(Code::pickle_structure, "the legacy file " + what)
      .advice("The checkpoint is damaged or hostile; get it again from its author.");
}

// Reads the pickle at `at` and moves `at` past it.
Pickle next_pickle(Bytes bytes, std::uint64_t& at, const OpenOptions& options, unsigned id_items) {
  const Bytes rest =
      bytes.subspan(at, std::min<std::uint64_t>(bytes.size() - at, options.max_pickle_bytes));
  Pickle pickle = unpickle(rest, unpickle_options(options, id_items));
  at += pickle.length;
  return pickle;
}

void read_preamble(Bytes bytes, std::uint64_t& at, const OpenOptions& options, Checkpoint& out) {
  next_pickle(bytes, at, options, 0);  // the magic number, already recognised
  const Pickle protocol = next_pickle(bytes, at, options, 0);
  const PickleNode& number = protocol.at(protocol.root);
  if (number.kind != Kind::integer || number.number != kProtocol) {
    wrong("has a protocol version other than 1001");
  }
  const Pickle system = next_pickle(bytes, at, options, 0);
  const PickleNode& info = system.at(system.root);
  if (info.kind != Kind::dict) wrong("has no description of its machine");
  for (std::size_t i = 0; i + 1 < info.items.size(); i += 2) {
    const PickleNode &key = system.at(info.items[i]), &value = system.at(info.items[i + 1]);
    if (key.text == "little_endian" && value.kind == Kind::boolean && value.number == 0) {
      out.notes.push_back("written on a big-endian machine; the format stores little-endian bytes");
    }
  }
}

// The storages in the order of the key list, each exactly as long as its ids claim.
void attach_storages(const FilePtr& file, const Pickle& keys, std::uint64_t at,
                     StorageTable& table) {
  const Bytes bytes = file->bytes();
  const PickleNode& list = keys.at(keys.root);
  if (list.kind != Kind::list) wrong("has no list of storages");
  std::set<std::string_view> seen;
  for (NodeId id : list.items) {
    const PickleNode& key = keys.at(id);
    if (key.kind != Kind::text) wrong("lists a storage key that is no string");
    if (!seen.insert(key.text).second) wrong("lists the storage " + printable(key.text) + " twice");
    if (table.find(key.text) == nullptr) {
      wrong("lists the storage " + printable(key.text) + ", which no tensor uses");
    }
    TorchStorage& storage = table.storages()[table.index_of(key.text)];
    const std::uint64_t count = load_le(file->range(at, 8), 0, 8);
    if (count != storage.numel) {
      throw Error(Code::pickle_storage,
                  "the storage " + printable(key.text) + " has the wrong size")
          .expected(std::to_string(storage.numel) + " elements")
          .actual(std::to_string(count))
          .advice("The checkpoint is damaged or hostile; get it again from its author.");
    }
    storage.content = mapped_storage(file, at + 8, storage.nbytes);
    storage.file = file->path();
    at = checked_add(at + 8, storage.nbytes, "a storage's end");
  }
  for (const TorchStorage& storage : table.storages()) {
    if (storage.content == nullptr) {
      throw Error(Code::pickle_storage, "the file has no storage " + printable(storage.key))
          .advice("The checkpoint is incomplete; fetch it again.");
    }
  }
  if (at != bytes.size()) {
    wrong("goes on for " + std::to_string(bytes.size() - at) + " bytes after its last storage");
  }
}
}  // namespace

bool is_torch_legacy(Bytes bytes) {
  if (bytes.size() < 2 || std::to_integer<unsigned>(bytes[0]) != 0x80) return false;
  const std::string_view head = as_text(bytes.first(std::min<std::size_t>(bytes.size(), 32)));
  const std::string_view magic(reinterpret_cast<const char*>(kMagic), sizeof kMagic);
  const std::size_t found = head.find(magic);
  // Right after PROTO, or after PROTO and FRAME.
  return found == 2 || found == 11;
}

void open_torch_legacy(const FilePtr& file, const OpenOptions& options, Checkpoint& out) {
  out.container = Container::torch_legacy;
  out.files.push_back(file);
  try {
    const Bytes bytes = file->bytes();
    std::uint64_t at = 0;
    read_preamble(bytes, at, options, out);
    const Pickle pickle = next_pickle(bytes, at, options, 6);
    const Pickle keys = next_pickle(bytes, at, options, 0);
    StorageTable table(pickle);
    attach_storages(file, keys, at, table);
    flatten(pickle, TensorReader(pickle, table, false), options, out);
  } catch (Error& error) {
    error.file(file->path());
    throw;
  }
}

}  // namespace wb
