// `weightbridge inspect PATH`: what a checkpoint is. Reads structure only. A layout
// that no recipe knows is a finding here, not an error: its names are shown by group.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "base/json.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/integrity.h"
#include "cli/source.h"
#include "package/texts.h"

namespace wb::cli {

namespace {

struct Findings {
  Checkpoint checkpoint;
  std::optional<Recognition> recognition;
  std::optional<CanonicalModel> model;
  std::optional<Error> problem;  // why it cannot be converted as it stands
};

Findings examine(const SourceFlags& flags) {
  Findings found{open_source(flags), {}, {}, {}};
  try {
    found.recognition = recognise_source(flags, found.checkpoint);
    found.model = apply_source(flags, *found.recognition, found.checkpoint);
  } catch (const Error& error) {
    // What the checkpoint is at fault for is a finding; a wrong flag or recipe is not.
    if (exit_status(error.code()) != kBadInput || error.code() == Code::recipe_invalid) throw;
    found.problem = error;
  }
  return found;
}

std::map<std::string, std::size_t> dtype_counts(const Checkpoint& checkpoint) {
  std::map<std::string, std::size_t> counts;
  for (const SourceTensor& t : checkpoint.tensors) ++counts[std::string(name(t.tensor.dtype()))];
  return counts;
}

// Entries that view the same elements: (an earlier name, a later one).
std::vector<std::pair<std::string, std::string>> tied(const Checkpoint& checkpoint) {
  using Place = std::tuple<std::uint64_t, std::uint64_t, DType, Shape>;
  std::map<Place, std::string> first;
  std::vector<std::pair<std::string, std::string>> out;
  for (const SourceTensor& t : checkpoint.tensors) {
    if (t.tensor.numel() == 0) continue;
    auto [it, fresh] = first.try_emplace(
        Place{t.storage_id, t.storage_offset, t.tensor.dtype(), t.tensor.shape()}, t.name);
    if (!fresh) out.emplace_back(it->second, t.name);
  }
  return out;
}

// What another program wrote beside the weights about the model.
std::string model_type(const Checkpoint& checkpoint) {
  if (!checkpoint.config || !checkpoint.config->is_object()) return "";
  const auto it = checkpoint.config->find("model_type");
  return it != checkpoint.config->end() && it->is_string() ? it->get<std::string>() : "";
}

// weightbridge.json of a folder that this program wrote; null for anything else.
nlohmann::json manifest_of(const Checkpoint& checkpoint) {
  const std::string path = checkpoint.path + "/weightbridge.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return nullptr;
  auto parsed = read_json_file(path, "Convert the checkpoint again, or move the file away.");
  return parsed.is_object() ? parsed : nullptr;
}

std::string facts_text(const Findings& found) {
  const Checkpoint& c = found.checkpoint;
  std::vector<std::vector<std::string>> rows;
  const auto row = [&](const char* key, std::string value) {
    rows.push_back({std::string("  ") + key, std::move(value)});
  };
  row("container", fmt::format("{}, {}", name(c.container), counted(c.files.size(), "file")));
  if (found.recognition) {
    const RecipeSummary s = summary(*found.recognition->recipe);
    row("recipe", printable(s.name) + dim("  " + printable(s.title)));
    row("prefix", prefix_text(found.recognition->prefix));
  } else if (const nlohmann::json written = manifest_of(c); !written.is_null()) {
    const auto field = [&](const char* key) {
      return plain(written.value(key, nlohmann::json("")));
    };
    row("written by", fmt::format("weightbridge {}, target {}, from recipe {}", field("version"),
                                  field("target"), field("recipe")));
  } else {
    row("recipe", yellow("none knows this layout"));
  }
  if (!model_type(c).empty()) row("config.json", "model_type " + printable(model_type(c)));
  row("tensors", fmt::format("{}, {} stored, {} as a sum of entries",
                             counted(c.tensors.size(), "entry", "entries"),
                             human_bytes(c.stored_bytes()), human_bytes(c.total_bytes())));
  std::string dtypes;
  for (const auto& [dtype, count] : dtype_counts(c)) {
    dtypes += fmt::format("{}{} ({})", dtypes.empty() ? "" : ", ", dtype, count);
  }
  row("dtypes", dtypes);
  const auto ties = tied(c);
  std::string tie_text;
  for (const auto& [a, b] : ties) {
    tie_text += fmt::format("{}{} = {}", tie_text.empty() ? "" : ", ", printable(a), printable(b));
  }
  row("tied", ties.empty() ? "nothing" : tie_text);
  return table(rows, 0);
}

std::string text(const Findings& found, bool every_tensor) {
  const Checkpoint& c = found.checkpoint;
  std::string out = bold(printable(c.path)) + "\n" + facts_text(found);
  if (found.model) {
    out += bold("dimensions") + "\n  ";
    std::string dims;
    for (const auto& [key, value] : found.model->dims) {
      dims += fmt::format("{}{}\u00a0{}", dims.empty() ? "" : ", ", key, plain(value));
    }
    out += wrapped(dims, 2) + "\n";
    if (!found.model->settings.empty()) {
      out += bold("settings that shapes can't tell") + "\n" + settings_text(*found.model);
    }
  }
  for (const std::string& note : c.notes) out += "note: " + wrapped(printable(note), 6) + "\n";
  if (!found.recognition && !every_tensor) {
    out += bold("names, numbers as {}") + "\n";
    std::vector<std::vector<std::string>> rows;
    for (const NameGroup& g : group_names(c)) {
      rows.push_back({grouped(g.count), printable(g.pattern), g.dtype, g.shape});
    }
    out += table(rows, 2, {0});
  }
  if (every_tensor) {
    out += bold("entries") + "\n";
    std::vector<std::vector<std::string>> rows;
    for (const SourceTensor& t : c.tensors) {
      rows.push_back({printable(t.name), std::string(name(t.tensor.dtype())),
                      to_string(t.tensor.shape()), human_bytes(t.tensor.nbytes()),
                      t.contiguous ? "" : "strided"});
    }
    out += table(rows, 2, {3});
  }
  return out;
}

Json tensors_json(const Checkpoint& checkpoint) {
  Json out = Json::array();
  for (const SourceTensor& t : checkpoint.tensors) {
    out.push_back({{"name", t.name},
                   {"dtype", name(t.tensor.dtype())},
                   {"shape", t.tensor.shape()},
                   {"bytes", t.tensor.nbytes()},
                   {"contiguous", t.contiguous},
                   {"file", t.file}});
  }
  return out;
}

Json document(const Findings& found, bool every_tensor) {
  const Checkpoint& c = found.checkpoint;
  Json out{{"path", c.path},
           {"container", name(c.container)},
           {"files", Json::array()},
           {"entries", c.tensors.size()},
           {"stored_bytes", c.stored_bytes()},
           {"total_bytes", c.total_bytes()},
           {"dtypes", dtype_counts(c)},
           {"tied", Json::array()},
           {"notes", c.notes},
           {"facts", c.facts}};
  for (const auto& file : c.files)
    out["files"].push_back({{"path", file->path()}, {"bytes", file->size()}});
  for (const auto& [a, b] : tied(c)) out["tied"].push_back({{"name", a}, {"same_as", b}});
  out["recipe"] = nullptr;
  if (found.recognition) {
    out["recipe"] = summary(*found.recognition->recipe).name;
    out["prefix"] = found.recognition->prefix;
  }
  if (!model_type(c).empty()) out["model_type"] = model_type(c);
  if (found.model) {
    out["dims"] = dims_json(*found.model);
    out["settings"] = settings_json(*found.model);
    out["spec"] = to_json(found.model->spec);
  }
  if (found.problem) out["problem"] = error_json(*found.problem);
  Json groups = Json::array();
  for (const NameGroup& g : group_names(c)) {
    groups.push_back(
        {{"pattern", g.pattern}, {"count", g.count}, {"dtype", g.dtype}, {"shape", g.shape}});
  }
  out["groups"] = groups;
  if (every_tensor) out["tensors"] = tensors_json(c);
  return out;
}

int inspect(const SourceFlags& flags, bool every_tensor, bool check, bool json) {
  const Findings found = examine(flags);
  std::optional<IntegrityFindings> integrity;
  if (check) integrity = check_integrity(found.checkpoint, 0);
  if (json) {
    Json out = document(found, every_tensor);
    if (integrity) out["checked"] = integrity_json(*integrity);
    print_json(out);
    return kDone;
  }
  print(text(found, every_tensor));
  if (integrity) print(integrity_text(*integrity));
  if (found.problem && found.recognition) {
    remark("It cannot be converted as it stands: " + found.problem->sentence());
    remark(found.problem->advice());
  } else if (found.problem && manifest_of(found.checkpoint).is_null()) {
    remark(found.problem->advice());
  }
  return kDone;
}

}  // namespace

void add_inspect(CLI::App& app, Session& session) {
  struct Flags {
    SourceFlags source;
    bool tensors = false, check = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("inspect", "Say what a checkpoint is: recipe, dimensions, types, sizes");
  add_source_flags(*command, flags->source);
  command->add_flag("--tensors", flags->tensors, "List every tensor");
  command->add_flag("--check", flags->check,
                    "Hold all bytes to their CRC-32 sums and to the hashes recorded beside them");
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] {
      return inspect(flags->source, flags->tensors, flags->check, session.json);
    };
  });
}

}  // namespace wb::cli
