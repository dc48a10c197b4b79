// From class names to canonical ones; see load.h. Every name of the stock classes is
// in StockReader, every name of the exact class in model/exact_class.h.
#include "runtime/load.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "model/exact_class.h"
#include "runtime/folder.h"

namespace wb {

namespace {

namespace fs = std::filesystem;

class StockReader {
 public:
  StockReader(Folder& folder, const ModelSpec& spec, MlxReader reader, bool v3)
      : folder_(folder), s_(spec), a_(spec.attention), reader_(reader), v3_(v3) {}

  std::map<std::string, Tensor> run() {
    put("embed.weight", folder_.weight("model.embed_tokens", {s_.vocab_size, s_.hidden_size}));
    put("norm.weight", folder_.take("model.norm.weight", {s_.hidden_size}));
    put("head.weight", folder_.weight("lm_head", {s_.vocab_size, s_.hidden_size}));
    for (std::uint64_t l = 0; l < s_.num_hidden_layers; ++l) layer(l);
    return std::move(out_);
  }

 private:
  void put(const std::string& name, Tensor t) { out_.insert_or_assign(name, std::move(t)); }

  void layer(std::uint64_t l) {
    const std::string from = "model.layers." + std::to_string(l) + ".";
    const std::string to = "layers." + std::to_string(l) + ".";
    put(to + "attn_norm.weight", folder_.take(from + "input_layernorm.weight", {s_.hidden_size}));
    put(to + "mlp_norm.weight",
        folder_.take(from + "post_attention_layernorm.weight", {s_.hidden_size}));
    queries(from + "self_attn.", to + "attn.");
    latents(from + "self_attn.", to + "attn.");
    keys_and_values(from + "self_attn.", to + "attn.");
    put(to + "attn.o.weight",
        folder_.weight(from + "self_attn.o_proj",
                       {s_.hidden_size, a_.num_attention_heads * a_.v_head_dim}));
    if (a_.o_bias) {
      put(to + "attn.o.bias", folder_.take(from + "self_attn.o_proj.bias", {s_.hidden_size}));
    }
    if (s_.is_moe(l)) {
      mixture(from + "mlp.", to + "mlp.");
    } else {
      network(from + "mlp.", to + "mlp.dense.", s_.dense.intermediate_size);
    }
  }

  void queries(const std::string& from, const std::string& to) {
    const std::uint64_t heads = a_.num_attention_heads, nope = a_.qk_nope_head_dim;
    const std::uint64_t width = nope + a_.qk_rope_head_dim;
    std::uint64_t in = s_.hidden_size;
    std::string last = "q_proj";
    if (a_.q_lora_rank > 0) {
      in = a_.q_lora_rank;
      last = "q_b_proj";
      put(to + "q_down.weight", folder_.weight(from + "q_a_proj", {in, s_.hidden_size}));
      if (a_.q_down_bias) put(to + "q_down.bias", folder_.take(from + "q_a_proj.bias", {in}));
      put(to + "q_norm.weight", folder_.take(from + "q_a_layernorm.weight", {in}));
    }
    const Tensor q = folder_.weight(from + last, {heads * width, in}).reshape({heads, width, in});
    if (nope > 0) put(to + "q_nope.weight", q.slice(1, 0, nope));
    if (width > nope) put(to + "q_rope.weight", q.slice(1, nope, width));
  }

  void latents(const std::string& from, const std::string& to) {
    const std::uint64_t rank = a_.kv_lora_rank, rope = a_.qk_rope_head_dim;
    const Tensor both = folder_.weight(from + "kv_a_proj_with_mqa", {rank + rope, s_.hidden_size});
    put(to + "kv_down.weight", both.slice(0, 0, rank));
    if (rope > 0) {
      put(to + "k_rope.weight",
          both.slice(0, rank, rank + rope).reshape({1, rope, s_.hidden_size}));
    }
    put(to + "kv_norm.weight", folder_.take(from + "kv_a_layernorm.weight", {rank}));
    if (!a_.kv_down_bias) return;
    const Tensor bias = folder_.take(from + "kv_a_proj_with_mqa.bias", {rank + rope});
    put(to + "kv_down.bias", bias.slice(0, 0, rank));
    if (rope > 0) put(to + "k_rope.bias", bias.slice(0, rank, rank + rope).reshape({1, rope}));
  }

  // kv_b_proj whole, or already parted into embed_q (transposed) and unembed_out, which only
  // mlx-lm's deepseek_v3 has.
  void keys_and_values(const std::string& from, const std::string& to) {
    const std::uint64_t heads = a_.num_attention_heads, rank = a_.kv_lora_rank;
    const std::uint64_t nope = a_.qk_nope_head_dim, value = a_.v_head_dim;
    const bool parted = v3_ && reader_ == MlxReader::mlx_lm;
    const std::string whole = from + "kv_b_proj";
    constexpr std::array<int, 3> swap = {0, 2, 1};
    if (parted && !folder_.has(whole + ".weight")) {
      put(to + "k_nope.weight",
          folder_.weight(from + "embed_q", {heads, rank, nope}).permute(swap));
      put(to + "v.weight", folder_.weight(from + "unembed_out", {heads, value, rank}));
      return;
    }
    const Tensor kv =
        folder_.weight(whole, {heads * (nope + value), rank}).reshape({heads, nope + value, rank});
    Tensor k = kv.slice(1, 0, nope), v = kv.slice(1, nope, nope + value);
    if (auto f = folder_.format(whole, whole); f && parted) {
      // mlx-lm decodes the whole, parts it, and quantises both parts again, the keys along
      // another axis: that is what it computes with.
      const DType dtype = folder_.scales_dtype(whole);
      k = requantize(from + "embed_q", k.permute(swap), *f, dtype).permute(swap);
      v = requantize(from + "unembed_out", v, *f, dtype);
    }
    put(to + "k_nope.weight", k);
    put(to + "v.weight", v);
  }

  void network(const std::string& from, const std::string& to, std::uint64_t width) {
    put(to + "gate.weight", folder_.weight(from + "gate_proj", {width, s_.hidden_size}));
    put(to + "up.weight", folder_.weight(from + "up_proj", {width, s_.hidden_size}));
    put(to + "down.weight", folder_.weight(from + "down_proj", {s_.hidden_size, width}));
  }

  void mixture(const std::string& from, const std::string& to) {
    const std::uint64_t experts = s_.moe.n_routed_experts, hidden = s_.hidden_size;
    const std::uint64_t width = s_.moe.routed.intermediate_size;
    put(to + "router.weight", folder_.take(from + "gate.weight", {experts, hidden}));
    if (s_.router.expert_bias != ExpertBias::none) {
      put(to + "router.expert_bias",
          folder_.take(from + "gate.e_score_correction_bias", {experts}));
    }
    expert_stack(from, to, "gate", {width, hidden});
    expert_stack(from, to, "up", {width, hidden});
    expert_stack(from, to, "down", {hidden, width});
    if (s_.moe.shared.intermediate_size > 0) {
      network(from + "shared_experts.", to + "shared.", s_.moe.shared.intermediate_size);
    }
  }

  // One tensor per expert, which the classes stack while loading, or a stack as written.
  void expert_stack(const std::string& from, const std::string& to, const std::string& part,
                    const Shape& shape) {
    const std::uint64_t experts = s_.moe.n_routed_experts;
    const std::string stack = from + "switch_mlp." + part + "_proj";
    auto one = [&](std::uint64_t e) {
      return from + "experts." + std::to_string(e) + "." + part + "_proj";
    };
    auto name = [&](std::uint64_t e) {
      return to + "experts." + std::to_string(e) + "." + part + ".weight";
    };
    if (folder_.has(one(0) + ".weight")) {
      for (std::uint64_t e = 0; e < experts; ++e) {
        put(name(e), folder_.weight_of(one(e), stack, shape));
      }
      return;
    }
    const Tensor all = folder_.weight(stack, {experts, shape[0], shape[1]});
    for (std::uint64_t e = 0; e < experts; ++e) {
      put(name(e), all.slice(0, e, e + 1).reshape(shape));
    }
  }

  Folder& folder_;
  const ModelSpec& s_;
  const AttentionSpec& a_;
  MlxReader reader_;
  bool v3_;
  std::map<std::string, Tensor> out_;
};

// "layers.3.mlp.experts.7.gate.weight" taken apart.
struct ParsedName {
  std::string pattern;  // "{block}.mlp.experts.{e}.gate"
  std::string suffix;   // ".weight", ".bias" or ""
  std::string block;    // "model.layers.3", "mtp.0.block"
  std::uint64_t expert = 0, head = 0;
};

std::uint64_t take_number(std::string& text, std::size_t at, const std::string& capture) {
  std::size_t end = at;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  const std::uint64_t n = std::stoull(text.substr(at, end - at));
  text.replace(at, end - at, capture);
  return n;
}

ParsedName parse_name(std::string name) {
  ParsedName p;
  for (const char* suffix : {".weight", ".bias"}) {
    if (name.ends_with(suffix)) {
      p.suffix = suffix;
      name.resize(name.size() - p.suffix.size());
      break;
    }
  }
  if (name.starts_with("layers.")) {
    const std::uint64_t l = take_number(name, 7, "");
    p.block = "model.layers." + std::to_string(l);
    name = "{block}" + name.substr(7);
  } else if (name.starts_with("mtp.")) {
    p.head = take_number(name, 4, "{m}");
    p.block = "mtp." + std::to_string(p.head) + ".block";
    if (name.starts_with("mtp.{m}.block.")) name = "{block}" + name.substr(13);
  }
  if (auto at = name.find(".experts."); at != std::string::npos) {
    p.expert = take_number(name, at + 9, "{e}");
  }
  p.pattern = name;
  return p;
}

std::string expanded(std::string_view pattern, const ParsedName& p) {
  std::string out(pattern);
  if (auto at = out.find("{block}"); at != std::string::npos) out.replace(at, 7, p.block);
  if (auto at = out.find("{m}"); at != std::string::npos) {
    out.replace(at, 3, std::to_string(p.head));
  }
  return out;
}

const ExactRow& exact_row(const std::string& pattern) {
  for (const ExactRow& row : exact_rows()) {
    if (row.canonical == pattern) return row;
  }
  WB_BUG(("the exact class has no name for " + pattern).c_str());
}

Tensor read_exact(Folder& folder, const CanonicalTensor& wanted, std::uint64_t experts) {
  const ParsedName p = parse_name(wanted.name);
  const ExactRow& row = exact_row(p.pattern);
  const std::string path = expanded(row.mlx, p);
  Shape shape = wanted.shape;
  if (row.layout == ExactLayout::flatten_heads) {
    shape[0] = checked_mul(shape[0], shape[1], "the heads' width");
    shape.erase(shape.begin() + 1);
  } else if (row.layout == ExactLayout::stack_experts) {
    shape.insert(shape.begin(), experts);
  }
  Tensor t =
      p.suffix == ".weight" ? folder.weight(path, shape) : folder.take(path + p.suffix, shape);
  if (row.layout == ExactLayout::stack_experts) t = t.slice(0, p.expert, p.expert + 1);
  return t.shape() == wanted.shape ? t : t.reshape(wanted.shape);
}

// Kept multi-token heads stand in a file that the loaders do not see; heads that were kept under
// the names of their source are not the class's.
bool has_heads(const std::string& file) {
  if (!fs::exists(file)) return false;
  const Checkpoint kept = open_checkpoint(file);
  return std::any_of(kept.tensors.begin(), kept.tensors.end(),
                     [](const SourceTensor& t) { return t.name.starts_with("mtp."); });
}

void load_exact(Folder& folder, const nlohmann::json& config, CanonicalModel& model) {
  model.spec = spec_from_exact_config(config);
  if (!folder.has_prefix("mtp.")) model.spec.num_nextn_predict_layers = 0;
  for (const CanonicalTensor& wanted : canonical_tensors(model.spec)) {
    model.tensors.emplace(wanted.name, read_exact(folder, wanted, model.spec.moe.n_routed_experts));
  }
  folder.check_all_used();
}

void load_stock(Folder& folder, const nlohmann::json& config, MlxReader reader,
                CanonicalModel& model) {
  model.spec = spec_from_stock_config(config, reader);
  const bool v3 = config.at("model_type") == "deepseek_v3";
  if (v3) {
    // What the class takes away before it loads.
    folder.drop([](const std::string& name) {
      return name.starts_with("model.layers.61") ||
             name.find("rotary_emb.inv_freq") != std::string::npos;
    });
  }
  model.tensors = StockReader(folder, model.spec, reader, v3).run();
  folder.check_all_used();
}

}  // namespace

bool is_mlx_folder(const std::string& path) {
  std::error_code error;
  if (!fs::exists(fs::path(path) / "config.json", error)) return false;
  try {
    const nlohmann::json config = read_config(path);
    auto type = config.find("model_type");
    if (type == config.end() || !type->is_string()) return false;
    const std::string name = type->get<std::string>();
    if (name != kExactModelType && !is_stock_model_type(name)) return false;
    return !weight_files(path, MlxReader::swift).empty();
  } catch (const Error&) {
    return false;
  }
}

namespace {
bool is_exact(const nlohmann::json& config) {
  return config.contains("model_type") && config["model_type"] == kExactModelType;
}
CanonicalModel load(Folder& folder, const nlohmann::json& config, const LoadOptions& options) {
  CanonicalModel model;
  const bool exact = is_exact(config);
  model.recipe = exact ? std::string(kExactModelType) : "stock class";
  exact ? load_exact(folder, config, model) : load_stock(folder, config, options.reader, model);
  return model;
}
}  // namespace

CanonicalModel load_model(const nlohmann::json& config,
                          const std::vector<std::pair<std::string, Tensor>>& tensors,
                          const LoadOptions& options) {
  Folder folder(config, tensors);
  CanonicalModel model = load(folder, config, options);
  check_complete(model);
  return model;
}

CanonicalModel load_model(const std::string& path, const LoadOptions& options) {
  const std::string config_path = (fs::path(path) / "config.json").string();
  const nlohmann::json config = read_config(path);
  std::vector<std::string> files = weight_files(path, options.reader);
  CanonicalModel model;
  try {
    if (is_exact(config) && has_heads((fs::path(path) / "mtp.safetensors").string())) {
      files.push_back("mtp.safetensors");
    }
    Folder folder(path, config, files);
    model = load(folder, config, options);
  } catch (Error& e) {
    e.file(config_path);  // kept only where no file is named yet
    throw;
  }
  check_complete(model);
  return model;
}

}  // namespace wb
