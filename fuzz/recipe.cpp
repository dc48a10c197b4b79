// Any text as a recipe: parsed, or answered with mistakes, nothing else.
#include "recipe/recipe.h"

#include <cstdint>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  wb::parse_recipe(std::string(reinterpret_cast<const char*>(data), size), "fuzz.toml");
  return 0;
}
