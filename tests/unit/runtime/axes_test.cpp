// Every switch of ModelSpec: small exact-class folders, written here from the names and
// shapes of axes.json, read back by load_model, and run against logits that a plain f64
// implementation in Python computed (tools/make_runtime_fixtures.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "runtime/load.h"
#include "unit/runtime/axes_fixture.h"
#include "unit/runtime/runtime_fixture.h"

namespace wb {
namespace {

using nlohmann::json;

TEST(Axes, EverySwitchIsThePlainImplementations) {
  const json variants = json::parse(std::ifstream(fixture("runtime/axes.json")));
  ASSERT_GT(variants.size(), 60u);
  std::map<std::string, std::set<std::string>> met;  // key -> its values
  for (const json& v : variants) {
    SCOPED_TRACE(v["name"].get<std::string>());
    test::TempFolder folder;
    const json config = write_variant(variants, v, folder.path());
    const std::vector<std::uint32_t> tokens = v["tokens"];
    const std::vector<float> want = v["logits"];
    // 1e-4 at logits of the usual size; without norms they grow, and rounding with them.
    float largest = 10.0f;
    for (float w : want) largest = std::max(largest, std::fabs(w));
    const double scale = static_cast<double>(largest) / 10.0;
    const Decoder decoder(load_model(folder.path()));
    EXPECT_LE(max_difference(decoder.forward(tokens).logits, want), 1e-4 * scale);
    EXPECT_LE(max_difference(logits_in_steps(decoder, tokens, {4}), want), 1e-4 * scale);
    const Decoder plain(load_model(folder.path()), {ops::Kernels::plain, 1});
    EXPECT_LE(max_difference(plain.forward(tokens).logits, want), 2e-5 * scale);
    if (v.contains("mtp")) {
      const std::vector<float> wanted = v["mtp"];
      std::vector<float> got;
      ForwardOptions options;
      options.mtp = true;
      for (const MtpOutput& head : decoder.forward(tokens, options).mtp) {
        got.insert(got.end(), head.logits.begin(), head.logits.end());
      }
      ASSERT_EQ(got.size(), wanted.size());
      EXPECT_LE(max_difference(got, wanted), 1e-4 * scale);
    }
    for (const auto& [key, value] : config.items()) met[key].insert(value.dump());
  }
  // Every field of the spec was met with two values.
  for (const auto& [key, values] : met) {
    if (key == "model_type") continue;
    EXPECT_GE(values.size(), 2u) << key;
  }
  for (const FieldInfo& f : spec_fields()) {
    EXPECT_TRUE(met.count(exact_config_key(f.path))) << f.path;
  }
}

}  // namespace
}  // namespace wb
