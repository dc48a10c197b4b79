// `weightbridge recipes new SRC`: a first recipe for a checkpoint that no recipe knows. What is
// found is said as a table and as questions; the recipe goes to a file, or to stdout behind them.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string_view>

#include "cli/cli.h"
#include "cli/recipes_new.h"
#include "cli/source.h"
#include "draft/draft.h"

namespace wb::cli {

namespace {

struct Flags {
  std::string path, output;
  draft::DraftOptions draft;
};

// Narrow enough for half a screen beside an editor.
constexpr std::size_t kWidth = 60;

std::string groups_text(const draft::Draft& d) {
  std::string out =
      bold("tensors") + dim("  and how sure their roles are; {l}, {e} are indices") + "\n";
  for (const draft::DraftGroup& g : d.groups) {
    out += "  " + printable(g.pattern) +
           dim(fmt::format("  {}{}", g.shape, g.count > 1 ? fmt::format(" x {}", g.count) : "")) +
           "\n";
    const std::string role = g.role.empty()
                                 ? yellow("????") + "  nobody knows"
                                 : fmt::format("{:>3.0f} %  {}", 100 * g.confidence, g.role);
    out += "    " + role + "\n";
    if (!g.role.empty() && g.confidence < 0.95)
      out += dim("           " + wrapped(g.why, 11, kWidth)) + "\n";
  }
  return out;
}

std::string questions_text(const draft::Draft& d) {
  if (d.questions.empty()) return "";
  std::string out = bold(counted(d.questions.size(), "question")) + "\n";
  for (const draft::Question& q : d.questions) {
    out += "  " + printable(q.key) + "\n";
    out += "    " + wrapped(printable(q.text) + "?", 4, kWidth) + "\n";
    std::string values;
    for (const std::string& v : q.values) values += (values.empty() ? "" : " | ") + v;
    if (!values.empty()) out += "    " + wrapped(printable(values), 4, kWidth) + "\n";
    out += "    " + dim(wrapped(printable(q.experiment), 4, kWidth)) + "\n";
  }
  return out;
}

std::string summary_text(const draft::Draft& d) {
  std::string out = groups_text(d);
  out += bold("dimensions") + "\n  ";
  std::string dims;
  for (const auto& [name, value] : d.dims) {
    dims += fmt::format("{}{}\u00a0{}", dims.empty() ? "" : ", ", name, value);
  }
  out += wrapped(dims, 2, kWidth) + "\n";
  if (!d.assumed.empty()) {
    out += bold("assumed, as nothing says otherwise") + dim("  --ask-all asks") + "\n";
    for (const std::string& a : d.assumed) out += "  " + wrapped(printable(a), 4, kWidth) + "\n";
  }
  out += questions_text(d);
  for (const std::string& n : d.notes)
    out += yellow("note: ") + wrapped(printable(n), 6, kWidth) + "\n";
  return out;
}

// A path as a word of a shell's command.
std::string shell_word(const std::string& path) {
  const bool plain = !path.empty() && std::all_of(path.begin(), path.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("/._-+,:@").find(c) != std::string_view::npos;
  });
  if (plain) return path;
  std::string out = "'";
  for (char c : path) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::string next_text(const draft::Draft& d, const Flags& flags, const std::string& file) {
  std::string out = bold("next") + "\n";
  const auto step = [&](const std::string& text) {
    out += "  " + wrapped(printable(text), 4, kWidth) + "\n";
  };
  // Whole, however long: a command is to be copied.
  const auto command = [&](const std::string& text) {
    out += "    weightbridge " + printable(text) + "\n";
  };
  if (!d.recognised.empty()) {
    step("The shipped recipe " + d.recognised +
         " knows this checkpoint: no recipe of your own is needed.");
  }
  if (!d.unknown.empty()) {
    step(fmt::format("Give {} of no known use a line in [tensors] or [left_out].",
                     counted(d.unknown.size(), "pattern")));
  }
  if (!d.questions.empty()) {
    step(
        "Export tokens and logits of your own run (tools/export_reference.py), then let the "
        "numbers answer:");
    command(fmt::format("recipes solve {} --recipe {} --reference FILE -o solved.toml",
                        shell_word(flags.path), shell_word(file)));
    step("or answer the questions in the file by hand, and see what would be made:");
  }
  command(fmt::format("plan {} --recipe {}", shell_word(flags.path), shell_word(file)));
  return out;
}

Json document(const draft::Draft& d, const std::string& file) {
  Json groups = Json::array(), questions = Json::array();
  for (const draft::DraftGroup& g : d.groups) {
    groups.push_back({{"pattern", g.pattern},
                      {"count", g.count},
                      {"dtype", g.dtype},
                      {"shape", g.shape},
                      {"role", g.role.empty() ? Json(nullptr) : Json(g.role)},
                      {"confidence", g.confidence},
                      {"why", g.why}});
  }
  for (const draft::Question& q : d.questions) {
    questions.push_back({{"kind", q.field ? "field" : "setting"},
                         {"key", q.key},
                         {"text", q.text},
                         {"values", q.values},
                         {"experiment", q.experiment}});
  }
  Json dims = Json::object();
  for (const auto& [name, value] : d.dims) dims[name] = value;
  return Json{{"prefix", d.prefix},
              {"recognised", d.recognised.empty() ? Json(nullptr) : Json(d.recognised)},
              {"outside", d.outside},
              {"groups", groups},
              {"dims", dims},
              {"assumed", d.assumed},
              {"questions", questions},
              {"notes", d.notes},
              {"unknown", d.unknown},
              {"file", file.empty() ? Json(nullptr) : Json(file)},
              {"recipe", d.toml}};
}

void write_file(const std::string& path, const std::string& text) {
  if (std::filesystem::exists(path)) {
    throw Error(Code::output_exists, "the file is there already")
        .file(path)
        .advice("Give another name with -o; a recipe that was worked on is not written over.");
  }
  std::ofstream stream(path, std::ios::binary);
  stream << text;
  stream.flush();
  if (!stream) {
    throw Error(Code::file_write, "the recipe cannot be written")
        .file(path)
        .advice("Check that its folder is there, its permissions and the space on the disk.");
  }
}

int run_new(const Flags& flags, bool json) {
  const Checkpoint checkpoint = open_checkpoint(flags.path);
  std::string name =
      std::filesystem::path(flags.output.empty() ? flags.path : flags.output).stem().string();
  if (name.empty()) name = "my-layout";
  const draft::Draft d = draft::draft_recipe(checkpoint, name, flags.draft);
  if (!flags.output.empty()) write_file(flags.output, d.toml);
  if (json) {
    print_json(document(d, flags.output));
    return kDone;
  }
  std::string out = bold(printable(flags.path)) + "\n";
  if (!d.prefix.empty()) out += "prefix " + prefix_text(d.prefix) + "\n";
  if (d.outside > 0) out += fmt::format("{} outside of the prefix\n", counted(d.outside, "tensor"));
  out += summary_text(d);
  if (flags.output.empty()) {
    print(d.toml);
    remark(out);
    remark("The recipe went to stdout; -o FILE puts it into a file.");
    return kDone;
  }
  print(out + next_text(d, flags, flags.output));
  return kDone;
}

}  // namespace

void add_recipes_new(CLI::App& recipes, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = recipes.add_subcommand(
      "new",
      "Draft a recipe for a checkpoint that none knows, with questions where weights can't tell");
  command
      ->add_option("SRC", flags->path,
                   "Checkpoint file, or a folder with safetensors files or one checkpoint file")
      ->required()
      ->option_text(" ");
  command->add_option("-o,--output", flags->output, "Recipe file to write (default: to stdout)")
      ->check(not_a_flag)
      ->option_text("FILE");
  command
      ->add_option("--prefix", flags->draft.prefix,
                   "What tensor names begin with, e.g. model_state_dict. (default: found)")
      ->option_text("PREFIX");
  command->add_flag("--ask-all", flags->draft.ask_all,
                    "Ask what is assumed too: rope scaling, expert groups, constant factors");
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return run_new(*flags, session.json); };
  });
}

}  // namespace wb::cli
