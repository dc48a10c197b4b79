// Any bytes as torch.save's zip archive: directory, pickle, geometry. What is accepted holds to
// opened.h.
#include "input.h"
#include "opened.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const wb::fuzz::MemoryFile input(std::as_bytes(std::span(data, size)));
  wb::fuzz::open_as(wb::open_torch_zip, input.file());
  return 0;
}
