// `weightbridge recipes [show NAME | check FILE]`: the layouts that are known, and
// every mistake in a recipe at once.
#include <memory>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/recipes_new.h"
#include "cli/recipes_solve.h"
#include "package/texts.h"
#include "recipe/document.h"
#include "recipe/recipe.h"
#include "recipe/shipped.h"

namespace wb::cli {

namespace {

Json summary_json(const RecipeSummary& recipe) {
  Json asks = Json::array();
  for (const RecipeSummary::Ask& ask : recipe.asks) {
    asks.push_back({{"key", ask.key}, {"help", ask.help}, {"default", ask.default_value}});
  }
  return Json{
      {"name", recipe.name}, {"title", recipe.title}, {"file", recipe.file}, {"asks", asks}};
}

std::string summary_text(const RecipeSummary& recipe) {
  std::string out = bold(recipe.name) + "\n  " + wrapped(recipe.title, 2) + "\n";
  for (const RecipeSummary::Ask& ask : recipe.asks) {
    out += fmt::format("  --set {}={}  {}\n", ask.key, plain(ask.default_value),
                       dim(ask.help + " (default shown)"));
  }
  return out;
}

int list(bool json) {
  Json documents = Json::array();
  std::string text;
  for (const RecipePtr& recipe : shipped_recipes()) {
    const RecipeSummary s = summary(*recipe);
    documents.push_back(summary_json(s));
    text += summary_text(s);
  }
  if (json) {
    print_json(Json{{"recipes", documents}});
  } else {
    print(text);
  }
  return kDone;
}

std::string text_of(const std::string& file) {
  for (const EmbeddedRecipe& recipe : embedded_recipes()) {
    if (recipe.file == file) return std::string(recipe.text);
  }
  WB_BUG("a shipped recipe without a text");
}

int show(const std::string& name, bool flat, bool json) {
  // A file of one's own is there to be read; what it becomes with all that it extends is not.
  if (flat && name.ends_with(".toml")) {
    const std::string toml = flat_recipe(read_document(name), name);
    if (json) {
      print_json(Json{{"file", name}, {"toml", toml}});
    } else {
      print(toml);
    }
    return kDone;
  }
  std::string known;
  for (const RecipePtr& recipe : shipped_recipes()) {
    const RecipeSummary s = summary(*recipe);
    if (s.name == name) {
      const std::string toml = flat ? flat_recipe(text_of(s.file), s.file) : text_of(s.file);
      if (json) {
        Json document = summary_json(s);
        document["toml"] = toml;
        print_json(document);
      } else {
        print(toml);
      }
      return kDone;
    }
    known += (known.empty() ? "" : ", ") + s.name;
  }
  throw Error(Code::usage, "no shipped recipe has that name")
      .expected(known)
      .actual("\"" + name + "\"")
      .advice(
          "`weightbridge recipes` lists them; a file of your own is read by `recipes check FILE`, "
          "and shown with what it extends by `recipes show --flat FILE.toml`.");
}

int check(const std::string& file, bool json) {
  const ParsedRecipe parsed = parse_recipe(read_document(file), file);
  const bool good = parsed.mistakes.empty();
  Json mistakes = Json::array();
  std::string text;
  for (const RecipeMistake& m : parsed.mistakes) {
    const std::string& in = parsed.files[m.file];
    mistakes.push_back({{"file", in}, {"line", m.line}, {"column", m.column}, {"text", m.text}});
    text += printable(fmt::format("{}:{}:{}: {}\n", in, m.line, m.column, m.text));
  }
  if (json) {
    print_json(Json{{"file", file}, {"good", good}, {"mistakes", mistakes}});
  } else if (good) {
    print(fmt::format("{}: no mistakes\n", printable(file)));
  } else {
    print(text);
    remark(fmt::format("{} in {}; docs/recipes.md explains the language.",
                       counted(parsed.mistakes.size(), "mistake"), file));
  }
  return good ? kDone : kBadInput;
}

}  // namespace

void add_recipes(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("recipes", "List the recipes that ship, show or check one");
  command->footer("A recipe describes one layout of names; docs/recipes.md explains the language.");
  command->require_subcommand(0, 1);
  add_json_flag(*command, session);
  command->callback([&session] {
    if (!session.run) session.run = [&session] { return list(session.json); };
  });

  auto name = std::make_shared<std::string>();
  CLI::App* shower = command->add_subcommand("show", "Print a shipped recipe, to start one from");
  shower->add_option("NAME", *name, "Name of a shipped recipe; with --flat also a file, NAME.toml")
      ->required()
      ->option_text(" ");
  auto flat = std::make_shared<bool>(false);
  shower->add_flag("--flat", *flat, "With all that it extends merged into it, without comments");
  add_json_flag(*shower, session);
  shower->callback([&session, name, flat] {
    session.run = [&session, name, flat] { return show(*name, *flat, session.json); };
  });

  auto file = std::make_shared<std::string>();
  CLI::App* checker =
      command->add_subcommand("check", "Print every mistake in a recipe, as file:line:column");
  checker->add_option("FILE", *file, "Recipe file")->required()->option_text(" ");
  add_json_flag(*checker, session);
  checker->callback(
      [&session, file] { session.run = [&session, file] { return check(*file, session.json); }; });
  add_recipes_new(*command, session);
  add_recipes_solve(*command, session);
}

}  // namespace wb::cli
