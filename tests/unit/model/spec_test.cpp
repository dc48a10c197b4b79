// ModelSpec: one field list behind JSON, config.json and comparison; contradictions
// are refused with both fields; the canonical table expands as source-model's counts say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <set>

#include "base/error.h"
#include "model/canonical.h"
#include "model/exact_class.h"
#include "model/spec.h"
#include "model/spec_values.h"

namespace wb {
namespace {

using nlohmann::json;

// The reference layout at its published size (docs/mappings.md).
ModelSpec reference() {
  ModelSpec s;
  s.vocab_size = 50257;
  s.hidden_size = 512;
  s.num_hidden_layers = 8;
  s.max_position_embeddings = 1024;
  s.positions = Positions::learned;
  s.tie_word_embeddings = true;
  s.norm = {NormKind::rms, 1e-6, true, false};
  s.attention.num_attention_heads = 8;
  s.attention.q_lora_rank = 192;
  s.attention.kv_lora_rank = 128;
  s.attention.qk_nope_head_dim = 64;
  s.attention.qk_rope_head_dim = 32;
  s.attention.v_head_dim = 64;
  s.attention.rope_keys = RopeKeys::per_head;
  s.attention.o_bias = true;
  s.moe.n_routed_experts = 8;
  s.moe.routed = {Activation::silu, true, 512, true};
  s.moe.shared = {Activation::silu, true, 768, true};
  s.router.num_experts_per_tok = 2;
  s.router.expert_bias = ExpertBias::logits;
  s.num_nextn_predict_layers = 1;
  s.mtp_combine_bias = true;
  return s;
}

std::string refusal(const ModelSpec& spec) {
  try {
    validate(spec);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::spec_invalid);
    return e.sentence();
  }
  return "accepted";
}

TEST(Spec, JsonHasEveryFieldAndComesBack) {
  ModelSpec spec = reference();
  spec.rope.scaling = RopeScaling::longrope;
  spec.rope.long_factor = std::vector<double>(16, 1.5);
  spec.rope.original_max_position_embeddings = 64;
  json tree = to_json(spec);
  EXPECT_EQ(tree["attention"]["rope_keys"], "per_head");
  EXPECT_EQ(tree["moe"]["shared"]["intermediate_size"], 768);
  EXPECT_EQ(tree["norm"]["eps_outside_root"], true);
  ModelSpec back = spec_from_json(tree);
  EXPECT_TRUE(compare(spec, back).empty());
  back.router.score = RouterScore::sigmoid;
  back.rope.base = 5e5;
  auto differences = compare(spec, back);
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].path, "rope.base");
  EXPECT_EQ(differences[1].path, "router.score");
  EXPECT_EQ(differences[1].a, "softmax_of_chosen");
  EXPECT_EQ(differences[1].b, "sigmoid");
}

// Changing any one field must be seen by compare and survive both JSON forms.
TEST(Spec, EveryFieldIsCarried) {
  for (const FieldInfo& field : spec_fields()) {
    ModelSpec spec = reference(), other = spec;
    std::vector<json> values;
    switch (field.kind) {
      case FieldKind::integer:
        values = {7};
        break;
      case FieldKind::real:
        values = {0.375};
        break;
      case FieldKind::reals:
        values.push_back(json::array({1.0, 2.0}));
        break;
      case FieldKind::boolean:
        values = {true, false};
        break;
      case FieldKind::enumeration:
        values.assign(field.enum_values.begin(), field.enum_values.end());
        break;
    }
    std::size_t changed = 0;
    for (const json& v : values) {
      set_field(other, field.path, v);
      auto differences = compare(spec, other);
      if (differences.empty()) continue;
      ++changed;
      ASSERT_EQ(differences.size(), 1u) << field.path;
      EXPECT_EQ(differences[0].path, field.path);
      EXPECT_EQ(json(exact_config(other)[exact_config_key(field.path)]), v) << field.path;
    }
    EXPECT_GE(changed, 1u) << field.path;
  }
}

// A field is a constant of the arithmetic only if no value of it changes a tensor.
TEST(Spec, ConstantsChangeNoTensor) {
  auto shapes = [](const ModelSpec& spec) {
    std::map<std::string, Shape> out;
    for (const CanonicalTensor& t : canonical_tensors(spec)) out[t.name] = t.shape;
    return out;
  };
  const ModelSpec spec = reference();
  std::size_t constants = 0;
  for (const FieldInfo& field : spec_fields()) {
    const std::size_t number = field_number(field.path);
    std::vector<json> values(field.enum_values.begin(), field.enum_values.end());
    if (field.kind == FieldKind::boolean) values = {true, false};
    if (field.kind == FieldKind::integer) values = {1, 3};
    if (field.kind == FieldKind::real) values = {0.5};
    if (field.kind == FieldKind::reals) values.push_back(json::array({1.0, 2.0}));
    for (const json& value : values) {
      ModelSpec other = spec, by_path = spec;
      set_field(other, number, value);
      set_field(by_path, field.path, value);
      EXPECT_EQ(to_json(other), to_json(by_path));
      EXPECT_EQ(field_value(other, number), value);
      const bool changed = !compare(spec, other).empty();
      const bool rope = field.path.starts_with("rope.");
      EXPECT_EQ(bytes_but_rope(spec) != bytes_but_rope(other), changed && !rope) << field.path;
      EXPECT_EQ(same_tensors(spec, other), !changed || !shapes_tensors(field.path)) << field.path;
      if (shapes_tensors(field.path)) continue;
      ++constants;
      EXPECT_EQ(shapes(spec), shapes(other)) << field.path;
    }
  }
  EXPECT_GE(constants, 30u);
}

TEST(Spec, ExactConfigKeysAreUniqueAndComeBack) {
  std::set<std::string> keys;
  for (const FieldInfo& field : spec_fields()) {
    EXPECT_TRUE(keys.insert(exact_config_key(field.path)).second) << field.path;
  }
  json config = exact_config(reference());
  EXPECT_EQ(config["model_type"], "weightbridge_mla");
  EXPECT_EQ(config["num_attention_heads"], 8);
  EXPECT_EQ(config["moe_intermediate_size"], 512);
  EXPECT_EQ(config["shared_intermediate_size"], 768);
  EXPECT_EQ(config["norm_eps_outside_root"], true);
  EXPECT_EQ(config["q_norm_kind"], "none");
  EXPECT_EQ(config["num_experts_per_tok"], 2);
  EXPECT_TRUE(compare(reference(), spec_from_exact_config(config)).empty());
  config.erase("rope_layout");
  try {
    spec_from_exact_config(config);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::config_invalid);
    EXPECT_STREQ(e.what(), "the key \"rope_layout\" is missing.");
  }
}

TEST(Spec, WrongValuesAreRefusedWithWhatIsWanted) {
  ModelSpec spec;
  auto refuse = [&](const char* path, const json& value) -> std::string {
    try {
      set_field(spec, path, value);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::spec_invalid);
      return e.sentence();
    }
    return "accepted";
  };
  EXPECT_EQ(refuse("router.score", "tanh"),
            "the field router.score of the model cannot take this value: expected one of "
            "softmax_of_chosen, softmax, sigmoid, found \"tanh\".");
  EXPECT_THAT(refuse("vocab_size", -1), testing::HasSubstr("from 0 to 2^31 - 1, found -1"));
  EXPECT_THAT(refuse("vocab_size", 4294967300u), testing::HasSubstr("found 4294967300"));
  EXPECT_THAT(refuse("norm.eps", "small"),
              testing::HasSubstr("expected a number, found \"small\""));
  EXPECT_THAT(refuse("norm.bias", 1), testing::HasSubstr("expected true or false, found 1"));
  EXPECT_EQ(refuse("norm.epsilon", 1), "the model description has no field norm.epsilon.");
}

// Names that mean something to whoever looks values up by a path.
TEST(Spec, NamesWithDotsAndSlashesAreNoFields) {
  for (const char* name : {"norm.eps", "norm/eps", "first.of", "~", "a~2"}) {
    json tree = to_json(reference());
    tree[name] = 1e-6;
    try {
      spec_from_json(tree);
      ADD_FAILURE() << name << " was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::spec_invalid);
      EXPECT_EQ(e.sentence(), std::string("the model description has no field ") + name + ".");
    }
  }
}

// Each of these changes one or two fields of a sound description, and both names of the clash
// stand in the refusal.
struct Clash {
  void (*change)(ModelSpec&);
  const char *first, *second;
};
#define TO(...) [](ModelSpec& s) { __VA_ARGS__; }
const Clash kClashes[] = {
    {TO(s.router.num_experts_per_tok = 9), "router.num_experts_per_tok = 9",
     "moe.n_routed_experts = 8"},
    {TO(s.router.n_group = 3), "router.n_group = 3", "moe.n_routed_experts = 8"},
    {TO(s.router.topk_group = 2), "router.topk_group = 2", "router.n_group = 1"},
    {TO(s.router.n_group = 4; s.router.num_experts_per_tok = 3), "router.num_experts_per_tok = 3",
     "router.topk_group = 1"},
    {TO(s.router.norm_min = 0.25), "router.norm_topk_prob = false", "router.norm_min = 0.25"},
    {TO(s.moe.n_routed_experts = 0; s.dense.intermediate_size = 4), "moe.n_routed_experts = 0",
     "moe.shared.intermediate_size = 768"},
    {TO(s.moe.n_routed_experts = 0; s.moe.shared.intermediate_size = 0), "moe.n_routed_experts = 0",
     "router.num_experts_per_tok = 2"},
    {TO(s.moe.moe_layer_offset = 1), "moe.moe_layer_offset = 1", "moe.moe_layer_freq = 1"},
    {TO(s.attention.num_key_value_heads = 3), "attention.num_attention_heads = 8",
     "attention.num_key_value_heads = 3"},
    {TO(s.attention.q_lora_rank = 0; s.attention.q_norm.kind = NormKind::rms),
     "attention.q_lora_rank = 0", "attention.q_norm"},
    {TO(s.attention.q_lora_rank = 0; s.attention.q_down_bias = true), "attention.q_lora_rank = 0",
     "attention.q_down_bias = true"},
    {TO(s.attention.kv_lora_rank = 0), "attention.kv_lora_rank = 0", "attention.kv_norm"},
    {TO(s.attention.kv_lora_rank = 0; s.attention.kv_norm.kind = NormKind::none;
        s.attention.rope_key_from = RopeKeyFrom::raw_latent),
     "attention.kv_lora_rank = 0", "attention.rope_key_from"},
    {TO(s.attention.kv_lora_rank = 0; s.attention.kv_norm.kind = NormKind::none;
        s.attention.kv_down_bias = true),
     "attention.kv_lora_rank = 0", "attention.kv_down_bias = true"},
    {TO(s.attention.kv_lora_rank = 0; s.attention.kv_norm.kind = NormKind::none;
        s.attention.kv_latent_factor = 2.0),
     "attention.kv_lora_rank = 0", "attention.kv_latent_factor = 2"},
    {TO(s.attention.value_is_key_content = true; s.attention.v_head_dim = 32),
     "attention.v_head_dim = 32", "attention.qk_nope_head_dim = 64"},
    {TO(s.norm.kind = NormKind::none; s.norm.bias = true), "norm.kind = none", "norm.bias = true"},
    {TO(s.own_final_norm = true; s.final_norm = {NormKind::none, 1e-6, false, true}),
     "final_norm.kind = none", "final_norm.bias = true"},
    {TO(s.attention.q_head_norm.bias = true), "attention.q_head_norm.kind = none",
     "attention.q_head_norm.bias = true"},
    {TO(s.attention.k_head_norm.bias = true), "attention.k_head_norm.kind = none",
     "attention.k_head_norm.bias = true"},
    {TO(s.attention.q_norm.bias = true), "attention.q_norm.kind = none",
     "attention.q_norm.bias = true"},
    {TO(s.attention.kv_norm = {NormKind::none, 1e-6, false, true}), "attention.kv_norm.kind = none",
     "attention.kv_norm.bias = true"},
    {TO(s.attention.head_norm_part = HeadNormPart::content), "attention.head_norm_part = content",
     "attention.q_head_norm.kind = none"},
    {TO(s.attention.head_norm_part = HeadNormPart::content;
        s.attention.k_head_norm.kind = NormKind::rms; s.attention.qk_nope_head_dim = 0),
     "attention.head_norm_part = content", "attention.qk_nope_head_dim = 0"},
    {TO(s.norm.kind = NormKind::none; s.mtp_norm = true), "mtp_norm = true", "norm.kind = none"},
    {TO(s.attention.qk_rope_head_dim = 31), "attention.qk_rope_head_dim = 31", "rope"},
    {TO(s.rope.factor = 4.0), "rope.scaling = none", "rope.factor = 4"},
    {TO(s.rope.scaling = RopeScaling::linear; s.rope.mscale = 0.5), "rope.scaling = linear",
     "rope.mscale = 0.5"},
    {TO(s.rope.mscale_all_dim = 0.5), "rope.scaling = none", "rope.mscale_all_dim = 0.5"},
    {TO(s.rope.long_factor = {1.0}), "rope.scaling = none", "rope.long_factor of length = 1"},
    {TO(s.rope.scaling = RopeScaling::yarn), "rope.scaling = yarn",
     "rope.original_max_position_embeddings = 0"},
    {TO(s.rope.scaling = RopeScaling::yarn; s.rope.original_max_position_embeddings = 64;
        s.rope.beta_fast = 0.5),
     "rope.beta_fast = 0.5", "rope.beta_slow = 1"},
    {TO(s.rope.scaling = RopeScaling::longrope; s.rope.original_max_position_embeddings = 64),
     "rope.long_factor of length = 0", "attention.qk_rope_head_dim = 32"},
    {TO(s.rope.scaling = RopeScaling::longrope; s.rope.original_max_position_embeddings = 64;
        s.rope.long_factor.assign(16, 1.0); s.rope.span = RopeSpan::all_heads),
     "rope.scaling = longrope", "rope.span = all_heads"},
    {TO(s.rope.scaling = RopeScaling::longrope; s.rope.original_max_position_embeddings = 64;
        s.rope.long_factor.assign(16, 1.0); s.positions = Positions::none;
        s.max_position_embeddings = 0),
     "rope.scaling = longrope", "max_position_embeddings = 0"},
    {TO(s.rope.inv_freq.assign(16, 1.0); s.rope.scaling = RopeScaling::linear),
     "rope.inv_freq of length = 16", "rope.scaling = linear"},
    {TO(s.rope.inv_freq.assign(15, 1.0)), "rope.inv_freq of length = 15",
     "attention.qk_rope_head_dim = 32"},
    {TO(s.rope.inv_freq.assign(16, 1.0); s.rope.span = RopeSpan::all_heads),
     "rope.inv_freq of length = 16", "attention.qk_rope_head_dim = 32"},
    {TO(s.rope.inv_freq.assign(128, 1.0); s.attention.rope_keys = RopeKeys::shared),
     "rope.inv_freq of length = 128", "attention.rope_keys = shared"},
};
// The same for a model whose heads have no rotated part.
const Clash kClashesWithoutRope[] = {
    {TO(s.rope.scaling = RopeScaling::linear), "rope.scaling = linear", ""},
    {TO(s.rope.span = RopeSpan::all_heads), "rope.span = all_heads", ""},
    {TO(s.rope.inv_freq = {1.0}), "rope.inv_freq of length = 1", ""},
    {TO(s.attention.rope_keys = RopeKeys::per_head), "attention.rope_keys = per_head", ""},
    {TO(s.attention.rope_key_from = RopeKeyFrom::raw_latent),
     "attention.rope_key_from = raw_latent", ""},
    {TO(s.attention.rope_key_factor = 2.0), "attention.rope_key_factor = 2", ""},
    {TO(s.attention.k_rope_bias = true), "attention.k_rope_bias = true", ""},
    {TO(s.attention.softmax_scale_rope = 0.5), "attention.softmax_scale_rope = 0.5", ""},
};

TEST(Spec, ContradictionsNameBothFields) {
  EXPECT_EQ(refusal(reference()), "accepted");
  ModelSpec harmless = reference();  // a published class has its epsilon whether it norms or not
  harmless.router.norm_eps = 1e-20;
  EXPECT_EQ(refusal(harmless), "accepted");
  for (const Clash& c : kClashes) {
    ModelSpec s = reference();
    c.change(s);
    const std::string said = refusal(s);
    EXPECT_THAT(said, testing::HasSubstr("clash"));
    EXPECT_THAT(said, testing::HasSubstr(c.first));
    EXPECT_THAT(said, testing::HasSubstr(c.second));
  }
  ModelSpec plain = reference();
  plain.attention.qk_rope_head_dim = 0;
  plain.attention.rope_keys = RopeKeys::shared;
  EXPECT_EQ(refusal(plain), "accepted");
  for (const Clash& c : kClashesWithoutRope) {
    ModelSpec s = plain;
    c.change(s);
    const std::string said = refusal(s);
    EXPECT_THAT(said, testing::HasSubstr("attention.qk_rope_head_dim = 0"));
    EXPECT_THAT(said, testing::HasSubstr(c.first));
  }
}

TEST(Spec, NumbersOutOfRangeAndWhatIsMissingAreNamed) {
  const Clash cases[] = {
      {TO(s.vocab_size = 0), "needs vocab_size", ""},
      {TO(s.max_position_embeddings = 0), "positions are learned", ""},
      {TO(s.moe.first_k_dense_replace = 1), "needs dense.intermediate_size", ""},
      {TO(s.moe.moe_layer_freq = 0), "needs moe.moe_layer_freq", ""},
      {TO(s.attention.v_head_dim = 0), "needs attention.v_head_dim", ""},
      {TO(s.rope.base = 1.0), "the field rope.base", "expected a number above 1, found 1"},
      {TO(s.rope.factor = 0.0), "the field rope.factor", "expected a positive number, found 0"},
      {TO(s.norm.eps = -1e-6), "the field norm.eps", "found -1e-06"},
      {TO(s.attention.softmax_scale = -2.0), "the field attention.softmax_scale", "found -2"},
      {TO(s.attention.softmax_scale_rope = -2.0), "attention.softmax_scale_rope", "found -2"},
      {TO(s.router.logit_clamp = {1.0}), "the field router.logit_clamp",
       "expected [least, largest], or nothing, found [1.0]"},
      {TO(s.router.weight_clamp = {1.0, 0.5}), "the field router.weight_clamp", "found [1.0,0.5]"},
  };
  for (const Clash& c : cases) {
    ModelSpec s = reference();
    c.change(s);
    EXPECT_THAT(refusal(s), testing::HasSubstr(c.first));
    EXPECT_THAT(refusal(s), testing::HasSubstr(c.second));
  }
}

TEST(Spec, LayersAreMixturesByTheirNumber) {
  ModelSpec s = reference();
  s.dense.intermediate_size = 8;
  s.moe.first_k_dense_replace = 2;
  s.moe.moe_layer_freq = 3;
  s.moe.moe_layer_offset = 1;
  std::string seen;
  for (std::uint64_t l = 0; l < s.num_hidden_layers; ++l) seen += s.is_moe(l) ? 'm' : 'd';
  EXPECT_EQ(seen, "ddddmddm");  // 4 and 7; 1 is one of the first two
}
#undef TO

TEST(Canonical, ReferenceLayoutHasTheTensorsOfItsTable) {
  auto tensors = canonical_tensors(reference());
  // Per block: 2 norms; q_down, q_nope, q_rope, kv_down, kv_norm, k_nope, v, k_rope, o and its
  // bias; router and its bias; 8 experts and the shared network of 3 weights and 3 biases.
  std::size_t block = 2 + 10 + 2 + 9 * 6;
  EXPECT_EQ(tensors.size(), 2 + 9 * block + 1 + 4);  // embeddings, blocks, final norm, head's own
  std::map<std::string, Shape> shapes;
  for (const auto& t : tensors) EXPECT_TRUE(shapes.emplace(t.name, t.shape).second) << t.name;
  EXPECT_EQ(shapes.at("layers.7.attn.q_nope.weight"), (Shape{8, 64, 192}));
  EXPECT_EQ(shapes.at("layers.0.attn.k_rope.weight"), (Shape{8, 32, 512}));
  EXPECT_EQ(shapes.at("layers.3.mlp.experts.7.down.weight"), (Shape{512, 512}));
  EXPECT_EQ(shapes.at("mtp.0.combine.weight"), (Shape{512, 1024}));
  EXPECT_EQ(shapes.at("mtp.0.block.mlp.shared.up.bias"), (Shape{768}));
  EXPECT_EQ(shapes.count("head.weight"), 0u);
}

TEST(Canonical, SwitchesAddAndRemoveTensors) {
  ModelSpec s = reference();
  s.tie_word_embeddings = false;
  s.attention.q_lora_rank = 0;
  s.attention.rope_keys = RopeKeys::shared;
  s.attention.rope_key_from = RopeKeyFrom::normed_latent;
  s.moe.first_k_dense_replace = 1;
  s.dense = {Activation::relu, false, 64, false};
  s.num_nextn_predict_layers = 0;
  std::map<std::string, Shape> shapes;
  for (const auto& t : canonical_tensors(s)) shapes.emplace(t.name, t.shape);
  EXPECT_EQ(shapes.at("head.weight"), (Shape{50257, 512}));
  EXPECT_EQ(shapes.at("layers.1.attn.q_rope.weight"), (Shape{8, 32, 512}));
  EXPECT_EQ(shapes.at("layers.1.attn.k_rope.weight"), (Shape{1, 32, 128}));
  EXPECT_EQ(shapes.count("layers.1.attn.q_down.weight"), 0u);
  EXPECT_EQ(shapes.at("layers.0.mlp.dense.up.weight"), (Shape{64, 512}));
  EXPECT_EQ(shapes.count("layers.0.mlp.dense.gate.weight"), 0u);
  EXPECT_EQ(shapes.count("layers.0.mlp.router.weight"), 0u);
  EXPECT_EQ(shapes.count("layers.1.mlp.router.weight"), 1u);
  EXPECT_EQ(shapes.count("mtp.0.combine.weight"), 0u);
}

TEST(Canonical, HeadsAndNormsHaveTheRowsOfTheirKind) {
  ModelSpec s = reference();
  s.norm = {NormKind::layer, 1e-5, false, true};
  s.mtp_norm = true;
  s.own_final_norm = true;
  s.final_norm.kind = NormKind::none;
  s.attention.q_head_norm.kind = NormKind::rms;
  auto rows = [&] {
    std::map<std::string, Shape> shapes;
    for (const auto& t : canonical_tensors(s)) shapes.emplace(t.name, t.shape);
    return shapes;
  };
  auto shapes = rows();
  for (const char* name : {"prev_norm", "embed_norm", "norm"}) {
    EXPECT_EQ(shapes.at(std::string("mtp.0.") + name + ".weight"), (Shape{512}));
    EXPECT_EQ(shapes.at(std::string("mtp.0.") + name + ".bias"), (Shape{512}));
  }
  EXPECT_EQ(shapes.count("norm.weight"), 0u);
  EXPECT_EQ(shapes.at("layers.0.attn.q_head_norm.weight"), (Shape{96}));
  s.attention.head_norm_part = HeadNormPart::content;
  s.norm = {NormKind::none, 1e-6, false, false};
  s.mtp_norm = false;
  s.final_norm = {NormKind::layer, 1e-5, false, true};
  shapes = rows();
  EXPECT_EQ(shapes.at("layers.0.attn.q_head_norm.weight"), (Shape{64}));
  EXPECT_EQ(shapes.at("norm.bias"), (Shape{512}));
  EXPECT_EQ(shapes.count("mtp.0.prev_norm.weight"), 0u);
  EXPECT_EQ(shapes.count("mtp.0.norm.weight"), 0u);
}

// A config.json of a hundred bytes may say so.
TEST(Canonical, MoreLayersThanAnyModelHasAreRefusedBeforeAnythingIsListed) {
  ModelSpec spec = reference();
  spec.num_hidden_layers = kLargestDimension - 1;
  const std::clock_t begin = std::clock();
  try {
    validate(spec);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::limit_exceeded);
    EXPECT_EQ(e.sentence(),
              "the field num_hidden_layers of the model is too large: expected at most 16384, "
              "found 2147483647.");
  }
  for (const std::uint64_t experts : {std::uint64_t{8}, kLargestDimension - 1}) {
    spec.moe.n_routed_experts = experts;
    try {
      canonical_tensors(spec);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::limit_exceeded);
      EXPECT_THAT(e.sentence(),
                  testing::HasSubstr("the model calls for too many tensors: expected at most "
                                     "1048576, found 2147483648 layers of at least "));
    }
  }
  // Two billion steps take seconds.
  EXPECT_LT(std::clock() - begin, CLOCKS_PER_SEC / 2);
}

TEST(Canonical, PatternsOfTheTableAreKnownInEveryForm) {
  EXPECT_TRUE(is_canonical_pattern("{block}.attn.q_nope.weight"));
  EXPECT_TRUE(is_canonical_pattern("layers.{l}.attn.q_nope"));
  EXPECT_TRUE(is_canonical_pattern("mtp.{m}.block.mlp.experts.{e}.gate.bias"));
  EXPECT_TRUE(is_canonical_pattern("{block}.mlp.router.expert_bias"));
  EXPECT_FALSE(is_canonical_pattern("{block}.attn.q_nop"));
  EXPECT_FALSE(is_canonical_pattern("{block}.attn"));
  EXPECT_FALSE(is_canonical_pattern(""));
}

// Every canonical module has one place in the exact class.
TEST(Canonical, TheExactClassHasARowForEachModule) {
  std::set<std::string> rows;
  for (const ExactRow& row : exact_rows())
    EXPECT_TRUE(rows.emplace(row.canonical).second) << row.canonical;
  for (const CanonicalRow& row : canonical_table()) {
    std::string module(row.pattern);
    for (const char* suffix : {".weight", ".bias"}) {
      if (module.ends_with(suffix)) module.erase(module.size() - std::string(suffix).size());
    }
    EXPECT_EQ(rows.count(module), 1u) << module;
  }
}

TEST(Canonical, MissingAndMisshapenTensorsAreNamed) {
  CanonicalModel model;
  model.spec = reference();
  for (const auto& t : canonical_tensors(model.spec)) {
    model.tensors.emplace(t.name, Tensor::fill(DType::F32, t.shape, 0.0));
  }
  check_complete(model);
  CanonicalModel wrong = model;
  wrong.tensors["norm.weight"] = Tensor::fill(DType::F32, {511}, 1.0);
  try {
    check_complete(wrong);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::shape_mismatch);
    EXPECT_STREQ(e.what(),
                 "norm.weight: the tensor (from ones[511]) does not have the shape that the model "
                 "calls for: expected [512], found [511].");
  }
  wrong = model;
  wrong.tensors.erase("layers.2.attn.o.bias");
  wrong.tensors.erase("norm.weight");
  try {
    check_complete(wrong);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::canonical_missing);
    EXPECT_STREQ(
        e.what(),
        "2 tensors that the model calls for are not produced: layers.2.attn.o.bias, norm.weight.");
  }
}

}  // namespace
}  // namespace wb
