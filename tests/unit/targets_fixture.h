// A test that runs once for each instruction set that Highway knows and this processor has. For
// layers whose tests are linked with Highway.
#pragma once

#include <gtest/gtest.h>
#include <hwy/highway.h>
#include <hwy/targets.h>

#include <cstdint>
#include <string>

namespace wb {

// The parameter is a set of Highway's. Skips, loudly, where the processor lacks it. `running` says
// what the code under test runs on, by Highway's name: a set that a file was not compiled for would
// run on the least one instead.
class TargetTest : public ::testing::TestWithParam<std::int64_t> {
 protected:
  explicit TargetTest(const char* (*running)()) : running_(running) {}

  void SetUp() override {
    hwy::SetSupportedTargetsForTest(0);
    if ((hwy::SupportedTargets() & GetParam()) == 0) {
      GTEST_SKIP() << "SKIPPED: this processor has no " << hwy::TargetName(GetParam());
    }
    // Files that are not compiled for AVX3_DL run on AVX3 beside those that are.
    const std::int64_t beside = GetParam() == HWY_AVX3_DL ? HWY_AVX3 : 0;
    hwy::SetSupportedTargetsForTest(GetParam() | beside);
    hwy::GetChosenTarget().DeInit();
    ASSERT_STREQ(running_(), hwy::TargetName(GetParam()));
  }
  void TearDown() override {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }

 private:
  const char* (*running_)();
};

// The sets to run on, for INSTANTIATE_TEST_SUITE_P.
inline auto all_targets() {
#if defined(__x86_64__)
  return ::testing::Values(HWY_SSSE3, HWY_SSE4, HWY_AVX2, HWY_AVX3);
#else
  return ::testing::Values(HWY_NEON);
#endif
}
inline std::string target_name(const ::testing::TestParamInfo<std::int64_t>& each) {
  return hwy::TargetName(each.param);
}

}  // namespace wb
