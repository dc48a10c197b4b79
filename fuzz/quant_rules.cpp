// Any text as a file of --quant-rules: every rule that is accepted names a format that MLX has, and
// holding its pattern against a path ends, whatever the pattern.
#include "cli/quantise_rules.h"

#include <string>

#include "base/error.h"
#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const wb::QuantFormat base = wb::default_format(wb::QuantMode::affine);
  try {
    const auto rules =
        wb::cli::parse_quant_rules(wb::fuzz::text_of(data, size), "rules.toml", base);
    const std::string path = "model.layers.0.self_attn." + std::string(200, 'a') + ".q_proj";
    for (const wb::QuantRule& rule : rules) {
      if (rule.format) wb::check_format(*rule.format);
      wb::matches(rule.pattern, path);
      WB_CHECK(wb::matches("*", rule.pattern));
      WB_CHECK(wb::matches("*" + rule.pattern + "*", "a" + rule.pattern + "b"));
      WB_CHECK(wb::matches(rule.pattern, rule.pattern));
    }
  } catch (const wb::Error& error) {
    WB_CHECK(error.code() == wb::Code::config_invalid || error.code() == wb::Code::limit_exceeded);
    WB_CHECK(!error.sentence().empty() && !error.advice().empty());
  }
  return 0;
}
