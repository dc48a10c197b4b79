// Errors, checked sizes, mapped files, threads and fingerprints.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <new>
#include <thread>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/once.h"
#include "base/read_guard.h"
#include "base/threads.h"
#include "unit/error_of.h"

namespace wb {
namespace {

TEST(ErrorType, SentenceNamesPlaceAndBothNumbers) {
  Error e(Code::shape_mismatch, "the shape is wrong");
  e.tensor("wte.weight")
      .file("model.pt")
      .expected("[4, 8]")
      .actual("[4, 9]")
      .advice("Fetch it again.");
  EXPECT_STREQ(e.what(),
               "model.pt: wte.weight: the shape is wrong: expected [4, 8], found [4, 9].");
  EXPECT_EQ(code_name(e.code()), "shape_mismatch");
  EXPECT_EQ(exit_status(e.code()), 3);
  EXPECT_EQ(exit_status(Code::usage), 2);
  EXPECT_EQ(exit_status(Code::no_space), 4);
  e.file("other");  // the innermost context stands
  EXPECT_EQ(e.file(), "model.pt");
}

TEST(Checked, OverflowIsAnErrorWithBothOperands) {
  EXPECT_EQ(checked_mul(1u << 20, 1u << 20, "x"), std::uint64_t{1} << 40);
  try {
    checked_add(~std::uint64_t{0}, 1, "an offset");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::size_overflow);
    EXPECT_STREQ(e.what(), "an offset does not fit 63 bits: 18446744073709551615 + 1.");
  }
  EXPECT_THROW(checked_mul(std::uint64_t{1} << 32, std::uint64_t{1} << 31, "x"), Error);
  EXPECT_THROW(checked_sub(1, 2, "x"), Error);
}

TEST(MappedFiles, RangesAreCheckedAndErrorsNameTheFile) {
  std::string path = testing::TempDir() + "wb_mapped_test";
  std::ofstream(path) << "hello";
  auto file = MappedFile::open(path);
  EXPECT_EQ(file->size(), 5u);
  EXPECT_EQ(static_cast<char>(file->range(1, 4)[0]), 'e');
  try {
    file->range(3, 3);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::truncated);
    EXPECT_EQ(e.sentence(),
              path + ": the file is shorter than what it promises: expected 6 bytes, found 5.");
  }
  std::remove(path.c_str());
  try {
    MappedFile::open(path);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::file_open);
    EXPECT_THAT(e.sentence(), testing::EndsWith("cannot be opened: No such file or directory."));
  }
  EXPECT_THROW(MappedFile::open("/dev/null"), Error);
}

// Opening one to read would wait for somebody who writes.
TEST(MappedFiles, ANamedPipeIsRefusedAtOnce) {
  const std::string path = testing::TempDir() + "wb-pipe-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  try {
    MappedFile::open(path);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.sentence(), testing::HasSubstr("is not a regular file"));
  }
  std::remove(path.c_str());
}

// On every thread: the pages that are gone read as zeros, and the loss is told from then on.
TEST(ReadGuard, LostPagesReadAsZerosAndAreToldOf) {
  install_read_guard();
  const std::string path = testing::TempDir() + "wb_lost_pages";
  constexpr std::size_t kSize = 64 << 10;
  std::ofstream(path) << std::string(kSize, 'x');
  const auto file = MappedFile::open(path);
  require_readable();
  file->require_unchanged();
  std::filesystem::resize_file(path, 4096);
  EXPECT_NO_THROW(require_readable());  // nobody has read beyond
  std::atomic<int> x{0}, zero{0};
  const auto read = [&] {
    for (const std::byte b : file->bytes()) ++(b == std::byte{'x'} ? x : zero);
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) threads.emplace_back(read);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(x, 3 * 4096);
  EXPECT_EQ(zero, 3 * (static_cast<int>(kSize) - 4096));
  const Error error = error_of([] { require_readable(); });
  EXPECT_EQ(error.code(), Code::file_open);
  EXPECT_EQ(error.sentence(), path +
                                  ": was cut short by someone else while it was read: expected "
                                  "65536 bytes, found 4096.");
  EXPECT_THROW(file->require_unchanged(), Error);
  forget_lost_pages();
  EXPECT_NO_THROW(require_readable());
  EXPECT_THROW(file->require_unchanged(), Error);  // by its size
  std::remove(path.c_str());
}

TEST(ReadGuard, SlotsAreUsedAgainAndMovesKeepTheRange) {
  install_read_guard();
  const std::string path = testing::TempDir() + "wb_lost_slots";
  for (int round = 0; round < 3; ++round) {
    std::ofstream(path) << std::string(8192, 'x');
    std::vector<std::shared_ptr<const MappedFile>> files;
    for (int i = 0; i < 5; ++i) files.push_back(MappedFile::open(path));
    std::filesystem::resize_file(path, 0);
    EXPECT_EQ(files.back()->bytes()[5000], std::byte{0});
    EXPECT_THROW(require_readable(), Error);
    files.clear();
    EXPECT_THROW(require_readable(), Error);  // what was read of it is in use
    forget_lost_pages();
  }
  std::remove(path.c_str());
}

TEST(MappedFiles, AChangeInPlaceIsSeen) {
  const std::string path = testing::TempDir() + "wb_changed";
  std::ofstream(path) << "hello";
  std::filesystem::last_write_time(path, std::filesystem::file_time_type{});
  const auto file = MappedFile::open(path);
  file->require_unchanged();
  std::ofstream(path, std::ios::in) << "j";
  const Error error = error_of([&] { file->require_unchanged(); });
  EXPECT_EQ(error.sentence(), path +
                                  ": was changed by someone else while it was read: expected 5 "
                                  "bytes, found other contents.");
  std::remove(path.c_str());
}

TEST(Threads, EveryIndexOnceAndTheFirstFailureComesBack) {
  std::vector<std::atomic<int>> seen(1000);
  parallel_for(seen.size(), 4, [&](std::size_t i, unsigned worker) {
    EXPECT_LT(worker, 4u);
    ++seen[i];
  });
  for (auto& s : seen) EXPECT_EQ(s, 1);
  EXPECT_THROW(parallel_for(100, 3,
                            [](std::size_t i, unsigned) {
                              if (i == 50) throw Error(Code::interrupted, "stop");
                            }),
               Error);
}

// The published test values: SHA-256("abc") from FIPS 180-2, XXH3-128 of nothing from
// the xxHash specification.
TEST(Hashes, KnownAnswers) {
  auto sha = make_sha256();
  const char* abc = "abc";
  sha->update(std::as_bytes(std::span(abc, 1)));
  sha->update(std::as_bytes(std::span(abc + 1, 2)));
  EXPECT_EQ(sha->hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(make_xxh3_128()->hex(), "99aa06d3014798d86001c324468d497f");
  auto whole = make_xxh3_128();
  whole->update(std::as_bytes(std::span(abc, 3)));
  EXPECT_EQ(whole->hex(), xxh3_128_hex(std::as_bytes(std::span(abc, 3))));
}

// Long inputs take other ways through the library, one for each instruction set; whichever is
// used here, the fingerprint is that of its plain function.
TEST(Hashes, LongInputsInPieces) {
  std::vector<unsigned char> bytes((1u << 20) + 13);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(i * 2654435761u >> 13);
  }
  XXH128_canonical_t plain;
  XXH128_canonicalFromHash(&plain, XXH3_128bits(bytes.data(), bytes.size()));
  std::string want;
  for (const unsigned char b : plain.digest) want += fmt::format("{:02x}", b);
  const auto all = std::as_bytes(std::span(bytes));
  EXPECT_EQ(xxh3_128_hex(all), want);
  auto pieces = make_xxh3_128();
  for (std::size_t at = 0, n = 1; at < all.size(); at += n, n = n * 3 + 1) {
    pieces->update(all.subspan(at, std::min(n, all.size() - at)));
  }
  EXPECT_EQ(pieces->hex(), want);
}

TEST(Once, ItRunsOnceForAllWhoAsk) {
  Once once;
  std::atomic<int> runs{0}, early{0};
  std::vector<std::thread> threads;
  bool made = false;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      once.run([&] {
        ++runs;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        made = true;
      });
      if (!made) ++early;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(early, 0);
}

TEST(Once, WhatEndedInAnExceptionIsTriedAgain) {
  Once once;
  int runs = 0;
  EXPECT_THROW(once.run([&] {
    ++runs;
    throw std::bad_alloc();
  }),
               std::bad_alloc);
  once.run([&] { ++runs; });
  once.run([&] { ++runs; });
  EXPECT_EQ(runs, 2);
}

}  // namespace
}  // namespace wb
