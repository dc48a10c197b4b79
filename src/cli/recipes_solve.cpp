// `weightbridge recipes solve SRC --recipe DRAFT --reference FILE`: what weights can't
// tell, found from a run of the user's own. Owns flags, the printed tables and the
// writing of the solved recipe.
#include "cli/recipes_solve.h"

#include <fstream>
#include <memory>

#include "cli/output.h"
#include "cli/source.h"
#include "package/texts.h"
#include "recipe/document.h"
#include "recipe/shipped.h"
#include "solve/solve.h"

namespace wb::cli {

namespace {

struct Flags {
  SourceFlags source;
  std::string reference, output;
  unsigned threads = 0;
};

constexpr std::size_t kShownValues = 8;

std::string recipe_text(const std::string& recipe) {
  for (const EmbeddedRecipe& shipped : embedded_recipes()) {
    if (shipped.file == "recipes/" + recipe + ".toml") return std::string(shipped.text);
  }
  return read_document(recipe);
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << text;
  stream.close();
  if (!stream) {
    throw Error(Code::file_write, "the recipe cannot be written")
        .file(path)
        .advice("Check the path and its permissions.");
  }
}

const char* word(TriedAs as) {
  switch (as) {
    case TriedAs::chosen:
      return "chosen";
    case TriedAs::ruled_out:
      return "ruled out";
    case TriedAs::same:
      return "as near";
    case TriedAs::impossible:
      break;
  }
  return "impossible";
}

std::string stages_text(const Solution& s) {
  std::string out;
  for (std::size_t i = 0; i < s.stages.size(); ++i) {
    const StageReport& stage = s.stages[i];
    out += fmt::format("{}. {}\n", i + 1, bold(stage.name));
    out += fmt::format("   error {:.1e}, {} ({} readings)\n", stage.fit.relative,
                       stage.fit.solved ? "rounding explains it" : "rounding does not explain it",
                       grouped(stage.looks));
  }
  return out;
}

// One sentence for all values that are as near for the same reason.
std::string same_text(const FieldReport& field) {
  std::map<std::string, std::pair<std::string, double>> by_reason;  // values, logits apart
  for (const FieldReport::Same& same : field.same) {
    auto& [values, apart] = by_reason[same.proof];
    values += (values.empty() ? "" : ", ") + plain(same.value);
    apart = std::max(apart, same.logits_apart);
  }
  std::string out;
  for (const auto& [proof, what] : by_reason) {
    const std::string text =
        proof.empty() ? fmt::format(
                            "not told apart by this reference: {} (logits differ by at most "
                            "{:.1e}); it would take {}",
                            what.first, what.second, field.same[0].would_tell)
                      : fmt::format("the same for every input: {}; {}", what.first, proof);
    out += "  " + wrapped(printable(text), 2, 58) + "\n";
  }
  return out;
}

std::string field_text(const FieldReport& field) {
  std::string out = fmt::format("{} = {}", printable(field.unknown.key), plain(field.value));
  out = bold(out);
  if (!field.formula.empty()) out += " = " + field.formula;
  out += dim(fmt::format("  (stage {})", field.stage + 1)) + "\n";
  std::vector<std::vector<std::string>> rows;
  std::size_t hidden = 0;
  for (const Tried& t : field.tried) {
    if (rows.size() == kShownValues && t.as != TriedAs::chosen && t.as != TriedAs::same) {
      ++hidden;
      continue;
    }
    const bool impossible = t.as == TriedAs::impossible;
    rows.push_back(
        {plain(t.value), impossible ? "-" : fmt::format("{:.1e}", t.relative), word(t.as)});
  }
  out += table(rows, 2, {1});
  if (hidden > 0) out += fmt::format("  and {} more, ruled out\n", hidden);
  if (field.without_effect) out += "  nothing in the recipe depends on it\n";
  out += same_text(field);
  return out;
}

std::string verdict_text(const Flags& flags, const Solution& s) {
  std::string out;
  const ReferenceComparison& c = s.comparison;
  out += fmt::format("  largest logit difference {:.2e}\n  what rounding explains {:.2e}\n",
                     c.logits.max_abs, c.tolerances.logits_max_abs);
  if (s.solved) {
    out += bold("solved: the recipe reproduces the reference\n");
    if (!flags.output.empty()) out += fmt::format("written: {}\n", printable(flags.output));
    return out;
  }
  for (std::size_t l = 0; l < s.layers.size(); ++l) {
    out += fmt::format("  layer {}: {}\n", l,
                       s.layers[l].agrees
                           ? "follows from its input"
                           : fmt::format("parts, {:.3g} times rounding", s.layers[l].own_units));
  }
  out += bold("NOT solved: the values above are the nearest\n");
  if (s.parts_at) {
    out += fmt::format("  it parts at layer {}\n", *s.parts_at);
  } else if (s.head_parts) {
    out += "  every layer agrees: it parts between the last layer\n  and the logits\n";
  } else if (s.layers.empty()) {
    out += "  which layer parts needs hidden states: export them\n  with layers=...\n";
  }
  if (!flags.output.empty()) {
    out += fmt::format("written as the nearest: {}\n", printable(flags.output));
  }
  return out;
}

Json document(const Flags& flags, const Solution& s) {
  Json stages = Json::array(), fields = Json::array(), layers = Json::array();
  for (const StageReport& stage : s.stages) {
    stages.push_back({{"name", stage.name},
                      {"solved", stage.fit.solved},
                      {"relative_error", stage.fit.relative},
                      {"readings", stage.looks},
                      {"decided", stage.decided}});
  }
  for (const FieldReport& field : s.fields) {
    Json tried = Json::array(), same = Json::array();
    for (const Tried& t : field.tried) {
      Json row{{"value", t.value}, {"verdict", word(t.as)}};
      if (t.as == TriedAs::impossible) {
        row["why"] = t.why;
      } else {
        row["relative_error"] = t.relative;
      }
      tried.push_back(std::move(row));
    }
    for (const FieldReport::Same& other : field.same) {
      same.push_back({{"value", other.value},
                      {"proof", other.proof},
                      {"would_tell", other.would_tell},
                      {"largest_logit_difference", other.logits_apart}});
    }
    fields.push_back({{"key", field.unknown.key},
                      {"kind", field.unknown.setting ? "setting" : "field"},
                      {"value", field.value},
                      {"formula", field.formula},
                      {"stage", field.stage + 1},
                      {"tried", tried},
                      {"without_effect", field.without_effect},
                      {"same", same}});
  }
  for (const LayerReport& layer : s.layers) {
    layers.push_back({{"agrees", layer.agrees}, {"rounding_units", layer.own_units}});
  }
  Json out{{"source", flags.source.path},
           {"recipe", flags.source.recipe},
           {"reference", flags.reference},
           {"solved", s.solved},
           {"stages", stages},
           {"fields", fields},
           {"layers", layers},
           {"parts_at", nullptr},
           {"readings", s.looks},
           {"comparison", to_json(s.comparison)}};
  if (s.parts_at) out["parts_at"] = *s.parts_at;
  if (!flags.output.empty()) out["written"] = flags.output;
  return out;
}

int run_solve(const Flags& flags, bool json) {
  const Checkpoint checkpoint = open_source(flags.source);
  const Recognition recognition = recognise_source(flags.source, checkpoint);
  const Checkpoint reference = open_checkpoint(flags.reference);
  SolveOptions options;
  options.threads = flags.threads;
  const Solution s =
      solve(recognition, checkpoint, parse_settings(flags.source), reference, options);
  if (!flags.output.empty()) {
    write_file(flags.output, with_answers(recipe_text(flags.source.recipe), s.fields));
  }
  if (json) {
    print_json(document(flags, s));
  } else {
    std::string text = stages_text(s);
    for (const FieldReport& field : s.fields) text += "\n" + field_text(field);
    print(text + "\n" + verdict_text(flags, s));
  }
  return s.solved ? kDone : kVerificationFailed;
}

}  // namespace

void add_recipes_solve(CLI::App& recipes, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = recipes.add_subcommand(
      "solve", "Find what weights can't tell from tokens and logits of your own run");
  add_source_flags(*command, flags->source);
  command->get_option("--recipe")->required();
  command
      ->add_option("--reference", flags->reference,
                   "Tokens and logits that your own program exported (safetensors)")
      ->required()
      ->check(not_a_flag)
      ->option_text("FILE");
  command->add_option("-o,--output", flags->output, "Write the recipe with the answers in place")
      ->check(not_a_flag)
      ->option_text("SOLVED.toml");
  command->add_option("--threads", flags->threads, "Threads to work on (default: every core)")
      ->check(CLI::Range(1u, 1024u))
      ->option_text("N");
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return run_solve(*flags, session.json); };
  });
}

}  // namespace wb::cli
