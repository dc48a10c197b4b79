// The state of one conversion, shared by its two parts: convert.cpp is the order of things,
// convert_consume.cpp what becomes of sources that are used up. Internal to convert/.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "convert/convert.h"
#include "convert/executor.h"
#include "convert/folder.h"
#include "convert/journal.h"
#include "convert/layout.h"
#include "convert/small_files.h"

namespace wb {

// One conversion: what convert() does, step by step.
class Conversion {
 public:
  explicit Conversion(const ConvertJob& job);
  ConvertResult run();

 private:
  // Fingerprints of what is done: by layout file and by source, empty where it is not.
  struct Done {
    std::vector<Fingerprint> files, sources;
    std::vector<bool> consumed;  // by source
    Done(std::size_t file_count, std::size_t source_count)
        : files(file_count), sources(source_count), consumed(source_count) {}
  };

  bool first() const { return job_.ranks.rank == 0; }
  std::vector<std::string> gather(const std::string& text) const {
    return job_.ranks.gather ? job_.ranks.gather(text) : std::vector<std::string>{text};
  }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }
  // convert.cpp
  void open_folder();
  void believe(const std::vector<JournalRecord>& records);
  bool is_whole(const JournalRecord& record) const;
  void require_space(const PartialFolder& folder) const;
  void write_small_files(Execution& execution) const;
  void share_out(Execution& execution) const;
  void exchange();
  void require_sources_unchanged() const;
  ConvertResult finish();
  // convert_consume.cpp
  void find_feeders();
  void consume_if_due(std::size_t source);
  void consume(std::size_t source);
  std::vector<std::string> drop_consumed() const;
  void finish_consuming() const;

  const ConvertJob& job_;
  const bool keep_;
  const FolderLayout layout_;
  const std::vector<SmallFile> small_;
  const std::string id_;
  std::optional<PartialFolder> folder_;  // of rank 0
  std::string path_;
  std::optional<Journal> journal_;
  Done done_;
  std::size_t resumed_ = 0;
  std::vector<std::set<std::size_t>> feeds_;  // by source: layout files that are not written yet
  std::vector<bool> feeds_any_;
};

}  // namespace wb
