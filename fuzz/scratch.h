// A folder for the fuzzers that need one: in $TMPDIR, which tools/fuzz.py puts into memory and
// takes away after a run, whatever became of it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace wb::fuzz {

class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "wb-fuzz-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // As a new file, so that what is still mapped of one that was there stays as it is.
  std::string write(const std::string& name, const std::string& content) const {
    const std::filesystem::path place = path_ / name;
    std::filesystem::remove(place);
    std::ofstream(place, std::ios::binary) << content;
    return place.string();
  }

 private:
  std::filesystem::path path_;
};

}  // namespace wb::fuzz
