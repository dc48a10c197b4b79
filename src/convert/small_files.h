// The files of a folder beside its tensor files: config.json, the index, what the caller adds, and
// the manifest, whose text is made last. Refuses names that are no plain file names, or that two
// files would share. Internal to convert/.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "convert/convert.h"
#include "convert/executor.h"
#include "convert/folder.h"
#include "convert/layout.h"

namespace wb {

inline constexpr const char* kManifest = "weightbridge.json";

// The name that manifest and journal know a source by, whatever --consume has made of its file.
std::string recorded_name(const MappedFile& source);
std::span<const std::byte> bytes_of(const std::string& text);

// A small file's content, wherever it comes from.
struct SmallFile {
  std::string name;
  std::shared_ptr<const MappedFile> source;  // or
  std::string text;
  std::span<const std::byte> bytes() const { return source ? source->bytes() : bytes_of(text); }
};

// All but the manifest. Throws file_write for a name, and what opening a file to copy throws.
std::vector<SmallFile> small_files(const ConvertJob& job, const FolderLayout& layout);
// A new file of these bytes. Throws file_write, no_space.
std::unique_ptr<OutputFile> write_small(const std::string& path, std::span<const std::byte> bytes);

// job.manifest with what was read (`sources`: fingerprints by job.sources) and what was written.
std::string manifest_text(const ConvertJob& job, const std::vector<Fingerprint>& sources,
                          const std::vector<WrittenFile>& files);

}  // namespace wb
