// What has to hold of every checkpoint that a container's reader accepts, whatever the bytes were.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/containers.h"
#include "checkpoint/names.h"
#include "tensor/node.h"
#include "tensor/read.h"

namespace wb::fuzz {

inline OpenOptions options() {
  OpenOptions options;
  options.max_pickle_bytes = 1u << 20;
  options.max_tensors = 1u << 12;
  options.max_header_bytes = 1u << 20;
  return options;
}

// A storage that stands in a file as it is lies inside that file.
inline void check_place(const Tensor& tensor) {
  for (const auto& node : tensor.inputs()) {
    if (node->storage == nullptr) continue;
    const auto place = node->storage->file_range();
    if (!place) continue;
    WB_CHECK(place->offset <= place->file->size());
    WB_CHECK(node->storage->size() <= place->file->size() - place->offset);
  }
}

// Names are unique, sorted and printable as UTF-8; tensors lie in their files; every byte of one
// can be read (small ones are), though inflating may find a lie.
inline void check_opened(Checkpoint& checkpoint) {
  constexpr std::uint64_t kRead = 1u << 16;
  sort_tensors(checkpoint);
  for (const StoredCrc& crc : checkpoint.crcs) {
    WB_CHECK(crc.offset <= crc.file->size() && crc.length <= crc.file->size() - crc.offset);
  }
  std::string_view before;
  for (const SourceTensor& t : checkpoint.tensors) {
    WB_CHECK(is_utf8(t.name) && t.name.find('\0') == t.name.npos && before < t.name);
    before = t.name;
    WB_CHECK(checkpoint.find(t.name) == &t);
    WB_CHECK(std::any_of(checkpoint.files.begin(), checkpoint.files.end(),
                         [&](const auto& file) { return file->path() == t.file; }));
    check_place(t.tensor);
    if (t.tensor.nbytes() <= kRead) {
      WB_CHECK(read_all(t.tensor).size() == t.tensor.nbytes());
    }
  }
}

// Opens as a file of one container what `open` (containers.h) takes.
template <class Open>
void open_as(const Open& open, const std::shared_ptr<const MappedFile>& file) {
  Checkpoint checkpoint;
  try {
    open(file, options(), checkpoint);
    check_opened(checkpoint);
    for (const StoredCrc& crc : checkpoint.crcs) verify_crc(crc);
  } catch (const Error& error) {
    WB_CHECK(!error.sentence().empty() && !error.advice().empty());
  }
}

}  // namespace wb::fuzz
