// See model.h.
#include "cli/model.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"
#include "runtime/load.h"
#include "tensor/read.h"

namespace wb::cli {

namespace fs = std::filesystem;

namespace {

nlohmann::json read_manifest(const std::string& folder) {
  const std::string path = folder + "/weightbridge.json";
  std::error_code failed;
  if (!fs::exists(path, failed)) return nullptr;
  nlohmann::json manifest = read_json_file(path, "Convert the checkpoint again.");
  if (!manifest.is_object()) {
    throw Error(Code::config_invalid, "the manifest is not a JSON object")
        .file(path)
        .advice("Convert the checkpoint again.");
  }
  return manifest;
}

[[noreturn]] void bad_tokens(const std::string& text, const std::string& why) {
  throw Error(Code::usage, "--tokens cannot be read: " + why)
      .actual("\"" + text + "\"")
      .advice(
          "Give ids as 1,2,3, or a file of raw ids (.u16, .u32), or safetensors with \"tokens\".");
}

bool is_list(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || c == ',' || c == ' ';
  });
}

std::vector<std::uint32_t> listed_tokens(const std::string& text) {
  std::vector<std::uint32_t> out;
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    if (*at == ',' || *at == ' ') {
      ++at;
      continue;
    }
    std::uint32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc()) bad_tokens(text, "an id does not fit 32 bits");
    out.push_back(id);
    at = next;
  }
  return out;
}

std::vector<std::uint32_t> raw_tokens(const std::string& path, std::size_t size) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  if (bytes.size() % size != 0) bad_tokens(path, "the file is not a whole number of ids");
  std::vector<std::uint32_t> out;
  for (std::size_t i = 0; i < bytes.size(); i += size) {
    std::uint32_t id = 0;
    for (std::size_t b = 0; b < size; ++b)
      id |= std::to_integer<std::uint32_t>(bytes[i + b]) << (8 * b);
    out.push_back(id);
  }
  return out;
}

std::vector<std::uint32_t> tensor_tokens(const std::string& path) {
  const Checkpoint file = open_checkpoint(path);
  const SourceTensor* found = file.find("tokens");
  if (found == nullptr) bad_tokens(path, "it holds no tensor \"tokens\"");
  std::vector<std::uint32_t> out;
  for (const float id : read_f32(found->tensor)) {  // ids below 2^24: exact
    if (!(id >= 0) || id >= 0x1p24f) bad_tokens(path, "an id is negative or too large");
    out.push_back(static_cast<std::uint32_t>(id));
  }
  return out;
}

}  // namespace

LoadedModel load_source(const SourceFlags& flags, MlxReader reader) {
  if (!flags.recipe.empty() || !is_mlx_folder(flags.path)) return load_any(flags, reader);
  // A published checkpoint names the class in its config.json as well; a recipe that
  // recognises it reads it in all the forms that it is stored in, which the class does not.
  const Checkpoint checkpoint = open_source(flags);
  std::optional<Recognition> found;
  try {
    found = recognise_source(flags, checkpoint);
  } catch (const Error& error) {
    if (error.code() != Code::recipe_unknown) throw;
    return load_any(flags, reader);
  }
  LoadedModel out;
  out.files = checkpoint.files;
  out.model = apply_source(flags, *found, checkpoint);
  return out;
}

LoadedModel load_any(const SourceFlags& flags, MlxReader reader) {
  LoadedModel out;
  if (flags.recipe.empty() && is_mlx_folder(flags.path)) {
    out.is_folder = true;
    out.model = load_model(flags.path, {reader});
    out.manifest = read_manifest(flags.path);
    return out;
  }
  const Checkpoint checkpoint = open_source(flags);
  out.files = checkpoint.files;
  out.model = apply_source(flags, recognise_source(flags, checkpoint), checkpoint);
  return out;
}

void settings_from_manifest(SourceFlags& flags, const nlohmann::json& manifest,
                            std::vector<std::string>& remarks) {
  if (!flags.settings.empty() || !manifest.contains("settings") || !manifest["settings"].is_array())
    return;
  for (const auto& s : manifest["settings"]) {
    if (!s.is_object() || text_member(s, "origin") != "--set" || !s.contains("key") ||
        !s["key"].is_string())
      continue;
    flags.settings.push_back(s["key"].get<std::string>() + "=" +
                             plain(s.value("value", nlohmann::json())));
    remarks.push_back("As in the folder's weightbridge.json: --set " + flags.settings.back());
  }
}

MlxReader reader_from_name(const std::string& name) {
  if (name == "mlx-lm") return MlxReader::mlx_lm;
  if (name == "swift") return MlxReader::swift;
  throw Error(Code::usage, "--as names no reader of MLX folders")
      .expected("mlx-lm or swift")
      .actual("\"" + name + "\"")
      .advice("Leave it out for mlx-lm.");
}

std::optional<Tokenizer> tokenizer_for(const std::string& given, const std::string& model_path) {
  std::error_code failed;
  if (!given.empty()) {
    const bool folder = fs::is_directory(given, failed);
    return Tokenizer::load(folder ? given + "/tokenizer.json" : given);
  }
  fs::path place(model_path);
  if (!fs::is_directory(place, failed)) place = place.parent_path();
  place /= "tokenizer.json";
  if (!fs::exists(place, failed)) return std::nullopt;
  return Tokenizer::load(place.string());
}

Tokenizer require_tokenizer(const std::string& given, const std::string& model_path) {
  if (auto tokenizer = tokenizer_for(given, model_path)) return *std::move(tokenizer);
  throw Error(Code::usage,
              "text needs a tokenizer, and there is no tokenizer.json beside the model")
      .file(model_path)
      .advice("Give one with --tokenizer, or give ids with --tokens.");
}

std::vector<std::uint32_t> parse_tokens(const std::string& text, std::uint64_t vocab_size) {
  std::vector<std::uint32_t> out;
  if (is_list(text)) {
    out = listed_tokens(text);
  } else if (text.ends_with(".u16")) {
    out = raw_tokens(text, 2);
  } else if (text.ends_with(".u32")) {
    out = raw_tokens(text, 4);
  } else {
    out = tensor_tokens(text);
  }
  if (out.empty()) bad_tokens(text, "it holds no id");
  for (const std::uint32_t id : out) {
    if (id >= vocab_size) {
      throw Error(Code::usage, "a token is outside the vocabulary")
          .expected("ids below " + std::to_string(vocab_size))
          .actual(std::to_string(id))
          .advice("Use ids of this model's own tokenizer.");
    }
  }
  return out;
}

}  // namespace wb::cli
