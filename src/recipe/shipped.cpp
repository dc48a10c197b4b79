// The recipes that ship, each parsed once. A mistake in one is ours: the tests parse them all.
#include "recipe/shipped.h"

#include <deque>

#include "base/once.h"
#include "base/threads.h"

namespace wb {

namespace {

RecipePtr parsed(const EmbeddedRecipe& embedded) {
  ParsedRecipe result = parse_recipe(std::string(embedded.text), std::string(embedded.file));
  if (result.recipe == nullptr) {
    const RecipeMistake& m = result.mistakes.front();
    WB_BUG((std::string(embedded.file) + ":" + std::to_string(m.line) + ": " + m.text).c_str());
  }
  return result.recipe;
}

struct Slot {
  Once once;
  RecipePtr recipe;
};

}  // namespace

RecipePtr shipped_recipe(std::size_t i) {
  static std::deque<Slot> slots(embedded_recipes().size());
  Slot& slot = slots.at(i);
  slot.once.run([&] { slot.recipe = parsed(embedded_recipes()[i]); });
  return slot.recipe;
}

const std::vector<RecipePtr>& shipped_recipes() {
  static const std::vector<RecipePtr> recipes = [] {
    std::vector<RecipePtr> out(embedded_recipes().size());
    parallel_for(out.size(), 0, [&](std::size_t i, unsigned) { out[i] = shipped_recipe(i); });
    return out;
  }();
  return recipes;
}

std::vector<std::string> literal_evidence(std::string_view text) {
  std::vector<std::string> out;
  constexpr std::string_view kKey = "\nrecognise";
  const std::size_t key = text.find(kKey);
  const std::size_t open = key == text.npos ? key : text.find('[', key);
  if (open == text.npos) return out;
  bool comment = false;
  for (std::size_t at = open + 1; at < text.size() && (comment || text[at] != ']'); ++at) {
    if (text[at] == '\n') comment = false;
    if (text[at] == '#') comment = true;
    if (comment || text[at] != '"') continue;
    const std::size_t end = text.find('"', at + 1);
    if (end == text.npos) break;
    const std::string_view name = text.substr(at + 1, end - at - 1);
    if (name.find('{') == name.npos) out.emplace_back(name);
    at = end;
  }
  return out;
}

}  // namespace wb
