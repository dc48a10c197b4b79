// Any bytes as a checkpoint file: opened or refused with a wb::Error, nothing else.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "checkpoint/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != static_cast<ssize_t>(size)) return 0;
  try {
    const wb::Checkpoint checkpoint = wb::open_checkpoint("/proc/self/fd/" + std::to_string(fd));
    for (const wb::StoredCrc& crc : checkpoint.crcs) wb::verify_crc(crc);
  } catch (const wb::Error&) {
  }
  close(fd);
  return 0;
}
