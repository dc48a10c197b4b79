// See size.h.
#include "cli/size.h"

#include <charconv>
#include <map>
#include <string_view>

#include "base/checked.h"

namespace wb::cli {

std::uint64_t parse_size(const std::string& option, const std::string& text,
                         const std::string& advice) {
  static const std::map<std::string_view, std::uint64_t> units = {
      {"", 1},           {"B", 1},          {"kB", 1000},
      {"KB", 1000},      {"MB", 1000000},   {"GB", 1000000000},
      {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}};
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto unit =
      units.find(std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end)));
  if (error != std::errc() || unit == units.end() || number == 0) {
    throw Error(Code::usage, option + " takes a size")
        .expected("a whole number with B, kB, MB, GB, KiB, MiB or GiB")
        .actual("\"" + text + "\"")
        .advice(advice);
  }
  return checked_mul(number, unit->second, option.c_str());
}

}  // namespace wb::cli
