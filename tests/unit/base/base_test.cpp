// Errors, checked sizes, mapped files, threads and fingerprints.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/threads.h"

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

}  // namespace
}  // namespace wb
