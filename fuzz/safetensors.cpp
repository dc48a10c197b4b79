// Any bytes as a safetensors file. What is accepted holds to opened.h, covers the data without a
// gap, and is the same file again when its header is written anew.
#include <map>
#include <string>

#include "input.h"
#include "opened.h"

namespace {

// The file as its tensors say it is, without metadata.
std::string rewritten(const wb::Checkpoint& checkpoint) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const wb::SourceTensor& t : checkpoint.tensors) {
    const auto bytes = wb::read_all(t.tensor);
    header[t.name] = {{"dtype", std::string(wb::name(t.tensor.dtype()))},
                      {"shape", t.tensor.shape()},
                      {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  const std::string text = header.dump();
  std::string out;
  for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(text.size() >> (8 * i) & 0xFF);
  return out + text + data;
}

void check_rewritten(const wb::Checkpoint& checkpoint, std::uint64_t size) {
  std::uint64_t total = 0;
  for (const wb::SourceTensor& t : checkpoint.tensors) {
    total += t.tensor.nbytes();
    WB_CHECK(t.contiguous && t.storage_offset == 0 && t.storage_bytes == t.tensor.nbytes());
  }
  WB_CHECK(total <= size);
  const wb::fuzz::MemoryFile again(wb::fuzz::bytes_of(rewritten(checkpoint)));
  wb::Checkpoint second;
  wb::open_safetensors(again.file(), wb::fuzz::options(), second);
  wb::sort_tensors(second);
  WB_CHECK(second.tensors.size() == checkpoint.tensors.size());
  for (std::size_t i = 0; i < second.tensors.size(); ++i) {
    const wb::SourceTensor &a = checkpoint.tensors[i], &b = second.tensors[i];
    WB_CHECK(a.name == b.name && a.tensor.shape() == b.tensor.shape() &&
             a.tensor.dtype() == b.tensor.dtype());
    WB_CHECK(wb::read_all(a.tensor) == wb::read_all(b.tensor));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const wb::fuzz::MemoryFile input(std::as_bytes(std::span(data, size)));
  wb::Checkpoint checkpoint;
  try {
    wb::open_safetensors(input.file(), wb::fuzz::options(), checkpoint);
    wb::fuzz::check_opened(checkpoint);
  } catch (const wb::Error& error) {
    WB_CHECK(!error.advice().empty());
    return 0;
  }
  check_rewritten(checkpoint, size);
  return 0;
}
