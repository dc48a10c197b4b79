// What of a conversion is done: one line of JSON per file and per source, appended to a
// file in the partial folder as soon as it holds, so that a conversion that was cut off
// at any moment can go on. Owns the format; refuses a journal of another conversion.
// Every line is checked again against the bytes before it is believed (convert.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "convert/executor.h"

namespace wb {

struct JournalRecord {
  enum Kind { file, source, consumed } kind;
  std::string name;  // file: in the folder; source, consumed: of the source file
  std::uint64_t bytes;
  Fingerprint print;
};

class Journal {
 public:
  // Appends to the journal of `rank` in `folder`; `job` identifies the conversion. With `sync`
  // every record is on disk when add() returns. Throws file_write, no_space.
  Journal(const std::string& folder, const std::string& job, unsigned rank, bool sync);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  void add(const JournalRecord& record);

 private:
  int fd_ = -1;
  std::string path_;
  std::uint64_t size_ = 0;
  bool sync_;
};

// Every record of every rank's journal in `folder` that belongs to `job`. A last line that was cut
// off is left out, as is a journal of another job.
std::vector<JournalRecord> read_journals(const std::string& folder, const std::string& job);
bool has_journal(const std::string& folder, const std::string& job);
// Whether any journal in `folder`, of whatever job, says that a source file was consumed.
bool has_consumed(const std::string& folder);
void remove_journals(const std::string& folder);

}  // namespace wb
