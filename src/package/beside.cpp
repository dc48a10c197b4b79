// See beside.h.
#include "package/beside.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/json.h"
#include "model/exact_class.h"
#include "package/sums.h"
#include "package/texts.h"
#include "package/words.h"
#include "weightbridge/version.h"

namespace wb {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using words::grouped;
using words::plain;
using words::printable;

namespace {

constexpr const char* kTokenizerNames[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "merges.txt",     "chat_template.jinja",   "generation_config.json"};
constexpr const char* kClassFile = "weightbridge_mla.py";

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

nlohmann::json parse_tokenizer(const std::string& path) {
  auto parsed = read_json_file(path, "Give the tokenizer.json of the model.", kTokenizerJson);
  if (!parsed.is_object() || !parsed.contains("model") || !parsed["model"].is_object()) {
    throw Error(Code::usage, "is no tokenizer.json: it has no object \"model\"")
        .file(path)
        .advice("Give the tokenizer.json of the model, or the folder that holds it.");
  }
  return parsed;
}

// Highest token id, plus one; 0 when the file keeps its vocabulary otherwise.
std::uint64_t token_count(const nlohmann::json& tokenizer) {
  std::uint64_t count = 0;
  const auto see = [&](const nlohmann::json& id) {
    if (id.is_number_unsigned()) count = std::max(count, id.get<std::uint64_t>() + 1);
  };
  const auto vocab = tokenizer["model"].find("vocab");
  if (vocab != tokenizer["model"].end() && vocab->is_object()) {
    for (const auto& [token, id] : vocab->items()) see(id);
  }
  const auto added = tokenizer.find("added_tokens");
  if (added != tokenizer.end() && added->is_array()) {
    for (const auto& token : *added) {
      if (token.is_object() && token.contains("id")) see(token["id"]);
    }
  }
  return count;
}

bool has_added_token(const nlohmann::json& tokenizer, std::string_view content) {
  const auto added = tokenizer.find("added_tokens");
  if (added == tokenizer.end() || !added->is_array()) return false;
  return std::any_of(added->begin(), added->end(), [&](const nlohmann::json& token) {
    return token.is_object() && token.value("content", nlohmann::json()) == content;
  });
}

// Both loaders know these two classes; GPT-2's is what its end token tells.
Json tokenizer_config(const nlohmann::json& tokenizer) {
  constexpr std::string_view kEnd = "<|endoftext|>";
  const bool gpt2 = tokenizer["model"].value("type", nlohmann::json()) == "BPE" &&
                    has_added_token(tokenizer, kEnd);
  Json config{{"tokenizer_class", gpt2 ? "GPT2Tokenizer" : "PreTrainedTokenizer"}};
  if (gpt2) {
    for (const char* key : {"bos_token", "eos_token", "unk_token"}) config[key] = kEnd;
  }
  return config;
}

// (name in the folder, path) of every tokenizer file of `dir`.
std::vector<ExtraFile> files_in(const fs::path& dir) {
  std::vector<ExtraFile> files;
  for (const char* name : kTokenizerNames) {
    if (is_file(dir / name)) files.push_back({name, (dir / name).string(), ""});
  }
  return files;
}

std::string names_of(const std::vector<ExtraFile>& files) {
  std::string out;
  for (const ExtraFile& f : files) out += (out.empty() ? "" : ", ") + f.name;
  return out;
}

std::vector<ExtraFile> given_files(const std::string& given) {
  if (is_file(given)) return {{"tokenizer.json", given, ""}};
  std::error_code failed;
  if (!fs::is_directory(given, failed)) {
    throw Error(Code::file_open, "there is no such tokenizer file or folder")
        .file(given)
        .advice("Give a tokenizer.json, or a folder that holds one, with --tokenizer.");
  }
  std::vector<ExtraFile> files = files_in(given);
  if (files.empty() || files[0].name != "tokenizer.json") {
    throw Error(Code::usage, "the folder holds no tokenizer.json")
        .file(given)
        .advice("Give the folder that the tokenizer was saved to.");
  }
  return files;
}

void replace_all(std::string& text, std::string_view key, std::string_view value) {
  for (std::size_t at = text.find(key); at != text.npos; at = text.find(key, at + value.size())) {
    text.replace(at, key.size(), value);
  }
}

}  // namespace

FolderFiles tokenizer_files(const std::string& given, const std::string& checkpoint_path,
                            std::uint64_t vocab_size) {
  FolderFiles out;
  if (!given.empty()) {
    out.files = given_files(given);
  } else {
    const fs::path path(checkpoint_path);
    const fs::path dir = is_file(path) ? path.parent_path() : path;
    out.files = files_in(dir.empty() ? "." : dir);
    if (out.files.empty() || out.files[0].name != "tokenizer.json") {
      out.remarks.push_back(
          "No tokenizer.json was found beside the checkpoint; give one with --tokenizer, or put it "
          "into the folder: MLX programs need it to turn text into tokens.");
      return out;
    }
    out.remarks.push_back("Tokenizer files found beside the checkpoint: " + names_of(out.files) +
                          ".");
  }
  const nlohmann::json tokenizer = parse_tokenizer(out.files[0].source);
  if (std::uint64_t tokens = token_count(tokenizer); tokens > vocab_size) {
    out.remarks.push_back(
        fmt::format("The tokenizer has {} tokens and the model {}: tokens past the "
                    "model's are out of its range. Is it the model's own?",
                    tokens, vocab_size));
  }
  if (std::none_of(out.files.begin(), out.files.end(),
                   [](const ExtraFile& f) { return f.name == "tokenizer_config.json"; })) {
    const Json config = tokenizer_config(tokenizer);
    out.files.push_back({"tokenizer_config.json", "", config.dump(2) + "\n"});
    out.remarks.push_back(
        fmt::format("tokenizer_config.json was not there and is written with "
                    "tokenizer_class {}.",
                    config["tokenizer_class"].get<std::string>()));
  }
  return out;
}

void add_class_file(LoweredModel& model, FolderFiles& folder) {
  if (model.config.value("model_type", Json()) != kExactModelType) return;
  const std::string_view text = shipped_text(std::string("mlx/") + kClassFile);
  if (text.empty()) return;
  model.config["model_file"] = kClassFile;
  folder.files.push_back({kClassFile, "", std::string(text)});
}

ExtraFile model_card(const std::string& source, const CanonicalModel& canonical,
                     const LoweredModel& model) {
  std::string text(shipped_text("share/model-card.md"));
  const Sums sums = sums_of(model);
  const bool own_class = model.config.contains("model_file");
  std::string losses;
  for (const Loss& loss : model.losses) {
    losses +=
        fmt::format("| {} | {} | {} |\n", loss.number, loss.source_computes, loss.target_makes);
  }
  if (losses.empty()) {
    losses = "Nothing is lost: this folder computes what the source computes, up to rounding.\n";
  } else {
    losses =
        "What the source computes and this folder does not:\n\n"
        "| # | the source | this folder |\n|---|---|---|\n" +
        losses;
  }
  std::string settings;
  for (const SettingUsed& s : canonical.settings) {
    settings += fmt::format("- {} = {} ({})\n", s.key, plain(s.value), s.origin);
  }
  if (settings.empty()) settings = "- none\n";
  const std::pair<const char*, std::string> values[] = {
      {"{{source}}", printable(source)},
      {"{{recipe}}", canonical.recipe},
      {"{{target}}", model.target},
      {"{{version}}", WEIGHTBRIDGE_VERSION},
      {"{{parameters}}", grouped(sums.parameters)},
      {"{{sums}}", sums_text(sums)},
      {"{{run_flags}}", own_class ? " --trust-remote-code" : ""},
      {"{{class_note}}",
       own_class
           ? "`weightbridge_mla.py` in this folder is the class that computes it; mlx-lm runs "
             "it only with `--trust-remote-code`, so read it first.\n"
           : ""},
      {"{{losses}}", losses},
      {"{{settings}}", settings}};
  for (const auto& [key, value] : values) replace_all(text, key, value);
  return {"README.md", "", text};
}

}  // namespace wb
