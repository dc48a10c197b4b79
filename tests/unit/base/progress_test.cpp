// The words and the width of progress lines. Expected texts are written by hand
// from the sizes (1 MiB = 1048576 bytes).
#include "base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wb {
namespace {

using testing::HasSubstr;
using testing::Not;

// Columns that a line takes: escape codes none, a UTF-8 sequence one.
std::size_t columns_of(const std::string& line) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b') {
      while (i < line.size() && line[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(line[i]) & 0xc0) != 0x80) {
      ++n;
    }
  }
  return n;
}

TEST(HumanBytes, UsesBinaryUnitsWithOneDigit) {
  EXPECT_EQ(human_bytes(0), "0 bytes");
  EXPECT_EQ(human_bytes(1), "1 byte");
  EXPECT_EQ(human_bytes(1023), "1023 bytes");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(444820170), "424.2 MiB");  // the reference file
  EXPECT_EQ(human_bytes(5ull << 30), "5.0 GiB");
  EXPECT_EQ(human_bytes((1ull << 20) - 1), "1.0 MiB");  // not "1024.0 KiB"
  EXPECT_EQ(human_bytes((1ull << 63) - 1), "8.0 EiB");
}

TEST(HumanSeconds, RoundsUpAndKnowsWhatItDoesNotKnow) {
  EXPECT_EQ(human_seconds(0), "0:00");
  EXPECT_EQ(human_seconds(6.2), "0:07");
  EXPECT_EQ(human_seconds(125), "2:05");
  EXPECT_EQ(human_seconds(3723), "1:02:03");
  EXPECT_EQ(human_seconds(-1), "--:--");
  EXPECT_EQ(human_seconds(1e12), "--:--");
}

TEST(RenderProgress, SaysBytesRateAndTimeLeft) {
  ProgressView view{"Writing", 270ull << 20, 540ull << 20, 90.0 * 1048576};
  std::string line = render_progress(view, 100, {});
  EXPECT_THAT(line, HasSubstr("Writing"));
  EXPECT_THAT(line, HasSubstr(" 50 %"));
  EXPECT_THAT(line, HasSubstr("270.0 MiB of 540.0 MiB"));
  EXPECT_THAT(line, HasSubstr("90.0 MiB/s"));
  EXPECT_THAT(line, HasSubstr("0:03 left"));  // 270 MiB at 90 MiB/s
  EXPECT_THAT(line, HasSubstr("#"));
  EXPECT_THAT(line, Not(HasSubstr("\x1b")));
  EXPECT_THAT(render_progress(view, 100, {true, true}), HasSubstr("\x1b["));
}

TEST(RenderProgress, KeepsBytesRateAndTimeAtTwentyColumns) {
  ProgressView view{"Writing", 270ull << 20, 540ull << 20, 90.0 * 1048576};
  EXPECT_EQ(render_progress(view, 20, {}), "50% 270M 90M/s 0:03");
}

TEST(RenderProgress, NeverFillsTheLastColumn) {
  const std::uint64_t totals[] = {
      0, 1, 1000, 1023 << 10, (1000ull << 20) - 1, 540ull << 20, 999ull << 40, (1ull << 63) - 1};
  for (std::uint64_t total : totals) {
    for (double rate : {0.0, 1.0, 1e4, 1.1e9, 1e15}) {
      for (std::uint64_t done : {std::uint64_t{0}, total / 3, total}) {
        for (unsigned columns = 0; columns <= 140; ++columns) {
          for (bool fancy : {false, true}) {
            std::string line =
                render_progress({"Writing", done, total, rate}, columns, {fancy, fancy});
            ASSERT_LE(columns_of(line) + (columns > 0 ? 1 : 0), columns)
                << columns << " columns, " << total << ", rate " << rate << ": " << line;
          }
        }
        std::string narrow = render_progress({"Writing", done, total, rate}, 20, {});
        EXPECT_THAT(narrow, HasSubstr("/s")) << "bytes, rate and time fit 20 columns";
      }
    }
  }
}

TEST(ProgressBar, WritesNothingWhereThereIsNoTerminal) {
  FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    ProgressBar bar(fileno(file), "Writing");
    bar.update(1, 2);
    bar.update(2, 2);
  }
  std::fseek(file, 0, SEEK_END);
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace wb
