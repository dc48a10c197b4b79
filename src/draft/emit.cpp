// The recipe as text, and what is said of each [model] field that weights can't tell; see
// drafter.h. Owns wording and order, nothing of what is found.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"
#include "model/field_help.h"

namespace wb::draft {

namespace {

// What a field is called in words is field_help()'s; here is what may stand in it.
struct FieldText {
  const char* path;  // a field, or its last part
  std::vector<std::string> values;
  const char* experiment;
};
const std::vector<FieldText>& field_texts() {
  static const std::vector<FieldText> table = {
      {"softmax_scale",
       {"0.0 (= 1 / sqrt(content + rotated width))", "1 / sqrt(another width)"},
       "look for `/ math.sqrt(` or `scale=` in the attention's forward"},
      {"rope_key_from",
       {"normed_latent", "raw_latent"},
       "look where the norm stands in the attention's forward"},
      {"rope.layout",
       {"half_split", "interleaved"},
       "half_split cuts a head in two (`rotate_half`, chunk(2)); interleaved takes neighbours "
       "(`[..., ::2]`, view_as_complex)"},
      {"rope.base",
       {"10000.0", "500000.0", "1000000.0"},
       "look for 10000 or theta where frequencies are made"},
      {"kind", {"rms", "layer"}, "look for mean() in the norm's forward"},
      {"eps", {"1e-6", "1e-5", "1e-8"}, "look for eps= where norms are made"},
      {"eps_outside_root",
       {"false", "true"},
       "true for x / (rms + eps), false for rsqrt(mean + eps)"},
      {"activation",
       {"silu", "gelu_erf", "gelu_tanh", "relu"},
       "look in the network's forward; F.gelu() is gelu_erf"},
      {"router.score",
       {"softmax_of_chosen", "softmax", "sigmoid"},
       "softmax_of_chosen takes the softmax after top-k, softmax before it"},
      {"router.norm_eps",
       {"0.0", "1e-20", "1e-9"},
       "only where they are divided: look for what is added to the sum"},
      {"router.norm_topk_prob", {"false", "true"}, "look for `/ weights.sum(` after top-k"},
      {"router.routed_scaling_factor",
       {"1.0", "2.5", "16.0"},
       "look for a factor on the routing weights"},
      {"router.expert_bias",
       {"selection", "logits", "scores"},
       "selection: only where top-k chooses; logits: added to the router's numbers; scores: to the "
       "weights too"},
      {"rope.span",
       {"head", "all_heads"},
       "all_heads where the rotation comes before the queries are cut into heads"},
      {"rope.scaling",
       {"none", "linear", "yarn"},
       "look for rope_scaling, rope_factor or yarn where frequencies are made"},
      {"rope.factor", {"1.0", "40.0"}, "only for linear and yarn: look for rope_factor"},
      {"rope.original_max_position_embeddings",
       {"4096"},
       "only for yarn: look for original_seq_len or the length before scaling"},
      {"rope.beta_fast", {"32.0"}, "only for yarn"},
      {"rope.beta_slow", {"1.0"}, "only for yarn"},
      {"rope.mscale", {"1.0"}, "only for yarn: the magnitude that cos and sin are multiplied by"},
      {"rope.mscale_all_dim", {"0.0", "1.0"}, "only for yarn"},
      {"attention.softmax_scale_rope",
       {"0.0 (= softmax_scale)", "1 / sqrt(rotated width)"},
       "look whether content and position scores are divided apart"},
      {"attention.kv_latent_factor",
       {"1.0", "1 / sqrt(heads)"},
       "look for a factor on the compressed keys and values"},
      {"attention.rope_key_factor",
       {"1.0", "1 / heads"},
       "look for a factor on the key's rotated part"},
      {"router.n_group", {"1", "8"}, "look for groups of experts in the router's forward"},
      {"router.topk_group", {"1", "4"}, "only with groups"},
      {"router.group_score", {"top2_sum", "max"}, "only with groups"},
      {"router.group_mask", {"zero", "negative_infinity"}, "only with groups"},
      {"moe.shared_scale",
       {"1.0 (they are summed)", "1 / their number (averaged)"},
       "look for mean() or a division after the shared experts"},
  };
  return table;
}

std::string comment_of(const Line& line) {
  return line.comment.empty() ? "" : "  # " + line.comment;
}

// Text at 96 columns as comment lines. Names come from a file: a line end in one ends no comment.
std::string comment(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  std::string out, row = "#";
  for (std::size_t i = 0; i <= text.size();) {
    std::size_t end = std::min(text.find(' ', i), text.size());
    std::string word = text.substr(i, end - i);
    if (row.size() > 1 && row.size() + 1 + word.size() > 96) {
      out += row + "\n";
      row = "#";
    }
    row += " " + word;
    i = end + 1;
  }
  return out + row + "\n";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

std::string toml_string(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

Question question_for(const std::string& path) {
  for (const FieldText& f : field_texts()) {
    std::string_view wanted = f.path;
    std::string_view p = path;
    // "norm_eps" is not "eps": a last part is one after a dot.
    if (p != wanted && !(p.ends_with(wanted) && p[p.size() - wanted.size() - 1] == '.')) continue;
    return {true, path, std::string(field_help(path)), f.values, f.experiment};
  }
  return {true, path, std::string(field_help(path)), {}, "read the model's source"};
}

std::string Drafter::toml() const {
  std::string out;
  out += comment(
      "A first recipe, drafted from names and shapes alone by `weightbridge recipes new`. Lines "
      "that "
      "say \"?\" and settings that are 0 are questions; it applies once they are answered, by hand "
      "or by "
      "`weightbridge recipes solve`. Percentages say how sure a role is.");
  out += fmt::format("\nname   = {}\ntitle  = {}\nsource = \"\"\n\nrecognise = [\n",
                     toml_string(name_), toml_string("draft for " + name_));
  std::set<std::string> seen;
  for (const std::string& r : recognise_) {
    if (seen.insert(r).second) out += "  " + toml_string(r) + ",\n";
  }
  out += "]\n\n[index]\n";
  seen.clear();
  for (const auto& [variable, count] : index_) {
    if (seen.insert(variable).second) out += fmt::format("{} = {}\n", variable, toml_string(count));
  }
  for (const auto& [section, lines] :
       {std::pair<const char*, const std::vector<Line>&>{"dims", dims_}}) {
    out += fmt::format("\n[{}]\n", section);
    for (const Line& l : lines) out += fmt::format("{} = {}{}\n", l.key, l.value, comment_of(l));
  }
  for (const Ask& a : asks_) {
    out += fmt::format("\n[ask.{}]\ndefault = {}{}\nhelp = {}\n", a.key, a.value,
                       a.value == "0" ? "  # not answered yet" : "", toml_string(a.help));
    if (!a.candidates.empty()) {
      std::string list;
      for (const std::string& c : a.candidates) list += (list.empty() ? "" : ", ") + c;
      out += "candidates = [" + list + "]\n";
    }
    if (!a.min.empty()) out += "min = " + a.min + "\n";
    if (!a.max.empty()) out += "max = " + a.max + "\n";
    std::string from;
    for (const std::string& f : a.from) from += (from.empty() ? "" : ", ") + toml_string(f);
    if (!from.empty()) out += "from = [" + from + "]\n";
  }
  // With heads that hold a block, a line whose tensors they have under the same names is said
  // once for both.
  const auto spread = [&](Line l) {
    if (!mtp_fits_ || !l.layer) return l;
    const std::string text = l.key + " " + l.value;
    for (const Module& m : modules_) {
      if (!in_layer(*m.weight) || text.find(m.stem) == std::string::npos) continue;
      std::string twin = names_.mtp_prefix + below_layer(m.weight->pattern);
      if (std::none_of(names_.groups.begin(), names_.groups.end(),
                       [&](const Group& g) { return g.pattern == twin; })) {
        return l;
      }
    }
    l.key =
        replaced(replaced(l.key, "layers.{l}.", "{block}."), names_.layer_prefix + ".", "{block}.");
    l.value = replaced(l.value, names_.layer_prefix + ".", "{block}.");
    return l;
  };
  const auto section = [&](const char* name, const std::vector<Line>& lines) {
    if (lines.empty()) return;
    out += fmt::format("\n[{}]\n", name);
    std::set<std::string> said;
    for (const Line& l : lines) {
      Line s = spread(l);
      if (!said.insert(s.key).second) continue;
      // A head's own line is left away when a block's line says it.
      said.insert(replaced(s.key, "{block}.", names_.mtp_prefix + "."));
      out += fmt::format("{} = {}{}\n", s.key, s.value, comment_of(s));
    }
  };
  section("shapes", shapes_);
  out += "\n[model]\n";
  for (const Line& l : fields_) {
    bool open = l.value == "\"?\"";  // a question is longer than a line
    out += open ? comment(l.comment) + l.key + " = " + l.value + "\n"
                : fmt::format("{} = {}{}\n", l.key, l.value, comment_of(l));
  }
  if (mtp_fits_) {
    out += fmt::format("\n[blocks]\n\"layers.{{l}}\" = {}\n\"mtp.{{m}}.block\" = {}\n",
                       toml_string(names_.layer_prefix), toml_string(names_.mtp_prefix));
  }
  section("tensors", tensors_);
  section("encoded", encoded_);
  section("left_out", left_out_);
  section("alias", aliases_);
  for (const std::string& pattern : draft_.unknown) {
    out += comment("UNKNOWN: " + pattern +
                   " is not accounted for. It needs a line in [tensors] or [left_out].");
  }
  for (const std::string& note : draft_.notes) out += comment("NOTE: " + note);
  return out;
}

}  // namespace wb::draft
