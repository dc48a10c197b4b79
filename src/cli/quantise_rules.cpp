// See quantise_rules.h.
#include "cli/quantise_rules.h"

#include <optional>

#include "base/error.h"
#include "recipe/document.h"

namespace wb::cli {

namespace {

[[noreturn]] void wrong_rule(const std::string& file, const Place& place, const std::string& what) {
  throw Error(Code::config_invalid, "line " + std::to_string(place.line) + ", column " +
                                        std::to_string(place.column) + ": " + what)
      .file(file)
      .advice(
          "A rule is \"PATTERN\" = false, or = {bits = 6, group_size = 64, mode = \"affine\"} with "
          "what differs from the flags.");
}

std::uint64_t number_of(const std::string& file, const Member& m) {
  if (m.value.kind != ValueKind::integer || m.value.integer <= 0 || m.value.integer > 1 << 20) {
    wrong_rule(file, m.value.place, "\"" + m.key + "\" takes a positive whole number");
  }
  return static_cast<std::uint64_t>(m.value.integer);
}

QuantRule rule_of(const std::string& file, const Member& member, const QuantFormat& base) {
  const DocValue& value = member.value;
  if (value.kind == ValueKind::boolean) {
    return {member.key, value.boolean ? std::optional(base) : std::nullopt};
  }
  if (value.kind != ValueKind::table) {
    wrong_rule(
        file, value.place,
        "a rule's value is " + std::string(in_words(value.kind)) + ", not true, false or a table");
  }
  QuantFormat format = base;
  if (const DocValue* mode = value.find("mode")) {
    const auto known =
        mode->kind == ValueKind::text ? quant_mode_from_name(mode->text) : std::nullopt;
    if (!known) wrong_rule(file, mode->place, "\"mode\" is affine, mxfp4, mxfp8 or nvfp4");
    if (*known != base.mode) format = default_format(*known);
  }
  for (const Member& m : value.members) {
    if (m.key == "bits") {
      format.bits = static_cast<unsigned>(number_of(file, m));
    } else if (m.key == "group_size") {
      format.group_size = number_of(file, m);
    } else if (m.key != "mode") {
      wrong_rule(file, m.place, "a rule has no key \"" + m.key + "\"");
    }
  }
  try {
    check_format(format);
  } catch (const Error& e) {
    wrong_rule(file, value.place,
               "MLX has no such format: " + e.actual() + "; it has " + e.expected());
  }
  return {member.key, format};
}

constexpr std::size_t kMostRules = 4096;
}  // namespace

std::vector<QuantRule> parse_quant_rules(const std::string& toml, const std::string& file,
                                         const QuantFormat& base) {
  std::vector<RecipeMistake> mistakes;
  const DocValue root = parse_document(toml, mistakes);
  if (!mistakes.empty()) {
    wrong_rule(file, {mistakes[0].line, mistakes[0].column}, mistakes[0].text);
  }
  std::vector<QuantRule> rules;
  if (root.members.size() > kMostRules) {
    wrong_rule(file, root.members[kMostRules].place,
               "more than " + std::to_string(kMostRules) + " rules");
  }
  for (const Member& member : root.members) rules.push_back(rule_of(file, member, base));
  return rules;
}

}  // namespace wb::cli
