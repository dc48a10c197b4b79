// Ranges of mapped files that lose pages, beside what base_test.cpp has of whole files; and faults
// that are nobody's here, each in a process of its own, for the handler is the process's.
#include "base/read_guard.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "unit/error_of.h"

namespace wb {
namespace {

const std::size_t kPage = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

// Three pages of ones, mapped; gone with the object.
class Mapped {
 public:
  Mapped() {
    fd_ = ::mkstemp(path.data());
    const std::string ones(3 * kPage, '\1');
    EXPECT_EQ(::write(fd_, ones.data(), ones.size()), static_cast<ssize_t>(ones.size()));
    void* at = ::mmap(nullptr, 3 * kPage, PROT_READ, MAP_SHARED, fd_, 0);
    EXPECT_NE(at, MAP_FAILED);
    begin = static_cast<const unsigned char*>(at);
  }
  ~Mapped() {
    ::munmap(const_cast<unsigned char*>(begin), 3 * kPage);
    ::close(fd_);
    ::unlink(path.c_str());
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  GuardedRange guarded() const { return {begin, 3 * kPage, fd_, path}; }
  void cut() const { EXPECT_EQ(::ftruncate(fd_, static_cast<off_t>(kPage)), 0); }
  unsigned read(std::size_t page) const {
    return *static_cast<const volatile unsigned char*>(begin + page * kPage);
  }

  std::string path = testing::TempDir() + "wb-guard-XXXXXX";
  const unsigned char* begin = nullptr;

 private:
  int fd_ = -1;
};

TEST(ReadGuard, TouchingFindsWhatASystemCallWouldOnlyRefuse) {
  install_read_guard();
  const Mapped file;
  const GuardedRange range = file.guarded();
  file.cut();
  touch_pages(file.begin, kPage);
  EXPECT_NO_THROW(require_readable());
  touch_pages(file.begin, kPage + 1);  // the last byte lies in a page that is gone
  EXPECT_THROW(require_readable(), Error);
  forget_lost_pages();
  touch_pages(nullptr, 0);
}

TEST(ReadGuard, ARangeThatMovedStillGuards) {
  install_read_guard();
  const Mapped file;
  GuardedRange first = file.guarded();
  GuardedRange second(std::move(first));
  GuardedRange third;
  third = std::move(second);
  file.cut();
  EXPECT_EQ(file.read(1), 0u);
  EXPECT_THROW(require_readable(), Error);
  forget_lost_pages();
}

TEST(ReadGuard, ManyRangesAreToldApart) {
  install_read_guard();
  const Mapped one, two;
  std::vector<GuardedRange> others;
  for (int i = 0; i < 100; ++i) others.push_back(one.guarded());
  others.erase(others.begin() + 1, others.end());
  others.push_back(two.guarded());
  two.cut();
  EXPECT_EQ(two.read(1), 0u);
  EXPECT_EQ(error_of([] { require_readable(); }).file(), two.path);
  forget_lost_pages();
}

// ---- faults elsewhere, each in a new process ----

void plain_handler(int) { ::_exit(41); }
void wide_handler(int, siginfo_t* info, void*) { ::_exit(info->si_addr != nullptr ? 42 : 43); }

class ReadGuardDeathTest : public testing::Test {
 protected:
  ReadGuardDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

[[noreturn]] void fault_elsewhere() {
  install_read_guard();
  const Mapped file;
  file.cut();
  static_cast<void>(file.read(2));
  ::_exit(0);
}

// A sanitizer's own handler may stand behind ours: then its report is the end.
bool ended_by_bus_error(int status) {
  return testing::KilledBySignal(SIGBUS)(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

TEST_F(ReadGuardDeathTest, WithoutAnotherHandlerTheProcessEnds) {
  EXPECT_EXIT(fault_elsewhere(), ended_by_bus_error, "");
}

TEST_F(ReadGuardDeathTest, AnotherHandlerGetsTheFault) {
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, plain_handler);
        fault_elsewhere();
      },
      testing::ExitedWithCode(41), "");
}

TEST_F(ReadGuardDeathTest, AnotherHandlerGetsTheAddressToo) {
  EXPECT_EXIT(
      {
        struct sigaction action {};
        action.sa_sigaction = wide_handler;
        action.sa_flags = SA_SIGINFO;
        ::sigaction(SIGBUS, &action, nullptr);
        fault_elsewhere();
      },
      testing::ExitedWithCode(42), "");
}

TEST_F(ReadGuardDeathTest, ASignalThatIsSentEndsTheProcess) {
  EXPECT_EXIT(
      {
        install_read_guard();
        const Mapped file;
        const GuardedRange range = file.guarded();
        ::raise(SIGBUS);
        ::_exit(0);
      },
      ended_by_bus_error, "");
}

}  // namespace
}  // namespace wb
