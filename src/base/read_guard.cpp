// The handler and what it knows; see read_guard.h. Everything that it reads is an atomic in a list
// whose nodes are never freed, and everything that it calls is a system call.
#include "base/read_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/once.h"

namespace wb {

struct GuardedRange::Slot {
  // begin is 0 while the slot is free; the rest is set before begin, and read after it.
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::size_t> size{0};
  std::atomic<int> fd{-1};
  std::atomic<const char*> path{nullptr};
  Slot* next = nullptr;
};

namespace {

using Slot = GuardedRange::Slot;
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free);

std::atomic<Slot*> slots{nullptr};
std::mutex slots_mutex;  // of those who register, never of the handler

// The first loss. `claimed` chooses who writes it, `lost` says that it is written.
std::atomic<bool> claimed{false}, lost{false};
char lost_path[4096];
std::uint64_t lost_size, lost_found;

std::uintptr_t page_size = 4096;
struct sigaction previous {};

Slot* slot_of(std::uintptr_t address) {
  for (Slot* s = slots.load(std::memory_order_acquire); s != nullptr; s = s->next) {
    const std::uintptr_t begin = s->begin.load(std::memory_order_acquire);
    const std::size_t size = s->size.load(std::memory_order_acquire);
    if (begin == 0 || begin != s->begin.load(std::memory_order_acquire)) continue;
    const std::size_t whole = (size + page_size - 1) & ~(page_size - 1);
    if (address >= begin && address - begin < whole) return s;
  }
  return nullptr;
}

void remember(const Slot& slot) {
  if (claimed.exchange(true)) return;
  const char* path = slot.path;
  std::size_t n = 0;
  while (n + 1 < sizeof lost_path && path[n] != '\0') lost_path[n] = path[n], ++n;
  lost_path[n] = '\0';
  lost_size = slot.size;
  struct stat st {};
  lost_found = ::fstat(slot.fd, &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
  lost.store(true, std::memory_order_release);
}

// Zeros from the page of `address` to the end of the mapping.
bool replace_pages(const Slot& slot, std::uintptr_t address) {
  const std::uintptr_t end = slot.begin + slot.size, from = address & ~(page_size - 1);
  if (from >= end) return false;
  return ::mmap(reinterpret_cast<void*>(from), end - from, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

void write_text(std::string_view text) {
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, text.data(), text.size());
}

// No page to put there: the process ends here, with the sentence and the system's exit code. A
// partial folder stays, as after a kill; the next conversion sweeps it or goes on with it.
[[noreturn]] void give_up() {
  write_text("weightbridge: ");
  write_text(std::string_view(lost_path, ::strlen(lost_path)));
  write_text(": lost pages while it was read, and there is no memory to go on.\n");
  ::_exit(exit_status(Code::file_open));
}

void pass_on(int signal, siginfo_t* info, void* context) {
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    // The instruction runs again, or the signal is sent again, and nobody stands in its way.
    ::signal(signal, SIG_DFL);
    if (info->si_code <= 0) ::raise(signal);
  } else {
    previous.sa_handler(signal);
  }
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const Slot* slot = info->si_code > 0 ? slot_of(address) : nullptr;
  if (slot == nullptr) return pass_on(signal, info, context);
  remember(*slot);
  if (!replace_pages(*slot, address)) give_up();
  errno = error;
}

}  // namespace

void install_read_guard() {
  static Once once;
  once.run([] {
    page_size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    ::sigaction(SIGBUS, nullptr, &previous);
    ::sigaction(SIGBUS, &action, nullptr);
  });
}

void require_readable() {
  if (!lost.load(std::memory_order_acquire)) return;
  const bool shorter = lost_found < lost_size;
  throw Error(Code::file_open, shorter ? "was cut short by someone else while it was read"
                                       : "could not be read back from its disk")
      .file(lost_path)
      .expected(std::to_string(lost_size) + " bytes")
      .actual(shorter ? std::to_string(lost_found) : "an error of the disk or its connection")
      .advice(shorter ? "Let whoever writes the file finish, then run this again."
                      : "Check that the disk is sound and connected, then run this again.");
}

void forget_lost_pages() {
  lost = false;
  claimed = false;
}

GuardedRange::GuardedRange(const void* begin, std::size_t size, int fd, const std::string& path) {
  if (size == 0) return;
  std::lock_guard lock(slots_mutex);
  for (Slot* s = slots.load(); s != nullptr && slot_ == nullptr; s = s->next) {
    if (s->begin.load() == 0) slot_ = s;
  }
  const bool fresh = slot_ == nullptr;
  if (fresh) slot_ = new Slot;
  slot_->size = size;
  slot_->fd = fd;
  slot_->path = path.c_str();
  slot_->begin.store(reinterpret_cast<std::uintptr_t>(begin), std::memory_order_release);
  if (!fresh) return;
  slot_->next = slots.load();
  slots.store(slot_, std::memory_order_release);
}

GuardedRange::~GuardedRange() {
  if (slot_ != nullptr) slot_->begin.store(0, std::memory_order_release);
}

GuardedRange::GuardedRange(GuardedRange&& other) noexcept
    : slot_(std::exchange(other.slot_, nullptr)) {}

GuardedRange& GuardedRange::operator=(GuardedRange&& other) noexcept {
  std::swap(slot_, other.slot_);
  return *this;
}

void touch_pages(const void* begin, std::size_t size) {
  const auto* bytes = static_cast<const volatile unsigned char*>(begin);
  for (std::size_t at = 0; at < size; at += page_size) static_cast<void>(bytes[at]);
  if (size > 0) static_cast<void>(bytes[size - 1]);
}

}  // namespace wb
