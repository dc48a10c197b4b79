// Any bytes as the index of a folder with two shards, which hold the tensors a, b and c. An index
// that is accepted names files of the folder and no others, and hides no tensor of theirs.
#include <string>

#include "input.h"
#include "opened.h"
#include "scratch.h"

namespace {

std::string shard(const std::string& header, std::size_t data) {
  std::string length(8, '\0');
  length[0] = static_cast<char>(header.size() & 0xFF);
  length[1] = static_cast<char>(header.size() >> 8);
  return length + header + std::string(data, 'x');
}

struct Folder : wb::fuzz::Scratch {
  Folder() {
    write("1.safetensors", shard(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                 R"("b":{"dtype":"F16","shape":[1,2],"data_offsets":[4,8]}})",
                                 8));
    write("2.safetensors", shard(R"({"c":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4));
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  folder.write("model.safetensors.index.json", wb::fuzz::text_of(data, size));
  wb::Checkpoint checkpoint;
  try {
    wb::open_safetensors_folder(folder.path(), wb::fuzz::options(), checkpoint);
  } catch (const wb::Error& error) {
    WB_CHECK(!error.sentence().empty() && !error.advice().empty());
    return 0;
  }
  wb::fuzz::check_opened(checkpoint);
  for (const auto& file : checkpoint.files) {
    WB_CHECK(std::filesystem::path(file->path()).parent_path() == folder.path());
  }
  std::size_t expected = 0;
  for (const auto& file : checkpoint.files) {
    if (file->path().ends_with("/1.safetensors")) expected += 2;
    if (file->path().ends_with("/2.safetensors")) expected += 1;
  }
  WB_CHECK(checkpoint.tensors.size() == expected);
  return 0;
}
