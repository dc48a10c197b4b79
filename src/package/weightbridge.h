// weightbridge as a library: open a checkpoint, plan, convert. All that a program needs to write
// the folder that `weightbridge convert` writes, byte for byte; everything else of the program
// stays the program's. This header includes nothing of the project but the version.
//
// Errors are thrown as weightbridge::Error. Objects may be moved between threads, and used by one
// at a time. A plan keeps its checkpoint's files mapped: a file that another process cuts short
// while it is read ends the process, unless guard_mapped_files() was called.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "weightbridge/version.h"

namespace weightbridge {

// What the program prints as a sentence and --json as an object.
class Error : public std::runtime_error {
 public:
  struct Parts {
    std::string code, sentence, file, tensor, expected, actual, advice;
    int exit_status = 3;
  };
  explicit Error(Parts parts);
  const std::string& code() const { return parts_.code; }  // "zip_crc": src/base/error_codes.def
  const std::string& file() const { return parts_.file; }
  const std::string& tensor() const { return parts_.tensor; }
  const std::string& expected() const { return parts_.expected; }
  const std::string& actual() const { return parts_.actual; }
  const std::string& advice() const { return parts_.advice; }  // what to do
  int exit_status() const { return parts_.exit_status; }       // 2 usage, 3 input, 4 system

 private:
  Parts parts_;
};

struct TensorInfo {
  std::string name, dtype;           // "F32", "BF16", ...
  std::vector<std::uint64_t> shape;  // as in the file
};

// As the flags of the same names; empty is the default. Every member has an initialiser, so that
// naming some of them draws no warning.
struct PlanOptions {
  std::string target = "auto";   // auto, exact, stock, shape-match
  std::string dtype = "source";  // source, f32, f16, bf16
  std::string recipe = {};       // a file, or a shipped recipe's name; recognised else
  std::vector<std::pair<std::string, std::string>> settings = {};  // what weights can't tell
  unsigned bits = 0;             // quantise; 0 leaves weights alone
  std::uint64_t group_size = 0;  // 0: the mode's own
  std::string mode = {};         // affine, mxfp4, mxfp8, nvfp4
};

struct ConvertOptions {
  bool force = false;            // replace an existing folder
  bool sync = true;              // return when the disk has everything
  bool check_crc = true;         // hold the source to its CRC-32 sums
  unsigned threads = 0;          // 0: every core
  std::uint64_t shard_size = 0;  // most bytes of one weight file; 0: 5 GiB
};

struct WrittenFile {
  std::string name;
  std::uint64_t bytes;
  std::string xxh3_128;
};

// What would be written, and the writing. Nothing is read of a weight before convert().
class Plan {
 public:
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;
  ~Plan();
  const std::string& recipe() const;
  const std::string& target() const;
  std::vector<TensorInfo> tensors() const;  // of the weight files
  std::vector<std::string> losses() const;  // what the source computes and the folder does not
  std::string config() const;               // config.json
  // Writes the folder, whole or not at all.
  std::vector<WrittenFile> convert(const std::string& folder,
                                   const ConvertOptions& options = {}) const;
  struct Impl;

 private:
  friend class Checkpoint;
  explicit Plan(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A checkpoint, its structure read and checked. Nothing in it is ever run.
class Checkpoint {
 public:
  // `path`: a file, or a folder with safetensors files or one PyTorch file.
  static Checkpoint open(const std::string& path);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();
  std::string container() const;            // "PyTorch zip archive", ...
  std::vector<TensorInfo> tensors() const;  // sorted by name
  Plan plan(const PlanOptions& options = {}) const;
  struct Impl;

 private:
  explicit Checkpoint(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

// The version that is linked, "0.1.0"; WEIGHTBRIDGE_VERSION is the header's.
std::string version();
// Handles SIGBUS for the whole process: a file that loses pages while it is read becomes an Error.
// Other faults go to the handler that was there before.
void guard_mapped_files();

}  // namespace weightbridge
