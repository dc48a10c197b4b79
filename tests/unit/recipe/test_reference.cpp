// The shipped recipe of the reference layout on checkpoints made in memory: every
// canonical tensor is held, element by element, against index arithmetic on the source.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <map>

#include "recipe/recipe.h"
#include "tensor/read.h"
#include "unit/recipe/reference_layout.h"

namespace wb {
namespace {

using test::CheckpointMaker;
using test::element;
using test::reference_layout;
using test::ReferenceSizes;
using testing::HasSubstr;

CanonicalModel convert(const Checkpoint& checkpoint,
                       const std::map<std::string, std::string>& settings = {}) {
  return apply(recognise(checkpoint), checkpoint, settings);
}

std::vector<float> source_values(const std::string& name, std::uint64_t count) {
  std::vector<float> out;
  for (std::uint64_t i = 0; i < count; ++i) out.push_back(element(name, i));
  return out;
}

// One canonical tensor as the layout's description has it: its shape and the source tensor
// whose row-major elements it keeps in order (splitting rows by head moves none).
struct Expectation {
  std::string source;
  Shape shape;
};

// By the table of the source layout, not by the recipe.
std::map<std::string, Expectation> expectations(const ReferenceSizes& s) {
  std::map<std::string, Expectation> out;
  auto put = [&](const std::string& name, const std::string& source, Shape shape) {
    out[name] = {source, std::move(shape)};
  };
  auto network = [&](const std::string& name, const std::string& source, std::uint64_t width) {
    for (const char* part : {"gate", "up", "down"}) {
      bool down = std::string(part) == "down";
      Shape shape = down ? Shape{s.hidden, width} : Shape{width, s.hidden};
      std::string from = source + "." + part + "_proj";
      put(name + "." + part + ".weight", from + ".weight", shape);
      if (s.bias) put(name + "." + part + ".bias", from + ".bias", {shape[0]});
    }
  };
  auto block = [&](const std::string& b, const std::string& h) {
    put(b + ".attn.q_down.weight", h + ".attn.q_proj.weight", {s.q_rank, s.hidden});
    put(b + ".attn.q_nope.weight", h + ".attn.q_decompress.weight",
        {s.heads, s.head_dim, s.q_rank});
    put(b + ".attn.q_rope.weight", h + ".attn.q_rope_proj.weight", {s.heads, s.rope, s.q_rank});
    put(b + ".attn.kv_down.weight", h + ".attn.kv_proj.weight", {s.kv_rank, s.hidden});
    put(b + ".attn.kv_norm.weight", h + ".attn.kv_norm.weight", {s.kv_rank});
    put(b + ".attn.k_nope.weight", h + ".attn.k_decompress.weight",
        {s.heads, s.head_dim, s.kv_rank});
    put(b + ".attn.v.weight", h + ".attn.v_decompress.weight", {s.heads, s.head_dim, s.kv_rank});
    put(b + ".attn.k_rope.weight", h + ".attn.k_rope_proj.weight", {s.heads, s.rope, s.hidden});
    put(b + ".attn.o.weight", h + ".attn.o_proj.weight", {s.hidden, s.heads * s.head_dim});
    if (s.bias) put(b + ".attn.o.bias", h + ".attn.o_proj.bias", {s.hidden});
    put(b + ".mlp.router.weight", h + ".mlp.router.weight", {s.experts, s.hidden});
    put(b + ".mlp.router.expert_bias", h + ".mlp.expert_bias", {s.experts});
    for (std::uint64_t e = 0; e < s.experts; ++e) {
      std::string expert = ".mlp.experts." + std::to_string(e);
      network(b + expert, h + expert, s.routed);
    }
    if (s.use_shared) network(b + ".mlp.shared", h + ".mlp.shared_expert", s.shared);
  };
  put("embed.weight", "wte.weight", {s.vocab, s.hidden});
  put("positions.weight", "wpe.weight", {s.block, s.hidden});
  put("norm.weight", "ln_f.weight", {s.hidden});
  if (s.untied_head) put("head.weight", "lm_head.weight", {s.vocab, s.hidden});
  for (std::uint64_t l = 0; l < s.layers; ++l) {
    std::string b = "layers." + std::to_string(l), h = "h." + std::to_string(l);
    put(b + ".attn_norm.weight", h + ".ln_1.weight", {s.hidden});
    put(b + ".mlp_norm.weight", h + ".ln_2.weight", {s.hidden});
    block(b, h);
  }
  for (std::uint64_t m = 0; m < s.mtp; ++m) {
    std::string b = "mtp." + std::to_string(m), h = "mtp_heads." + std::to_string(m);
    put(b + ".prev_norm.weight", h + ".norm1.weight", {s.hidden});
    put(b + ".embed_norm.weight", h + ".norm2.weight", {s.hidden});
    put(b + ".combine.weight", h + ".combine_proj.weight", {s.hidden, 2 * s.hidden});
    if (s.bias) put(b + ".combine.bias", h + ".combine_proj.bias", {s.hidden});
    put(b + ".block.attn_norm.weight", h + ".attn_norm.weight", {s.hidden});
    put(b + ".block.mlp_norm.weight", h + ".mlp_norm.weight", {s.hidden});
    block(b + ".block", h);
  }
  return out;
}

void expect_whole(const ReferenceSizes& sizes, const CanonicalModel& model) {
  std::map<std::string, Expectation> expected = expectations(sizes);
  EXPECT_EQ(model.tensors.size(), expected.size());
  for (const auto& [name, want] : expected) {
    ASSERT_TRUE(model.has(name)) << name;
    const Tensor& tensor = model.at(name);
    EXPECT_EQ(tensor.shape(), want.shape) << name;
    EXPECT_EQ(read_f32(tensor), source_values(want.source, numel(want.shape))) << name;
    EXPECT_TRUE(tensor.is_movement()) << name;
  }
  EXPECT_NO_THROW(check_complete(model));
}

const AccountLine& line(const CanonicalModel& model, const std::string& source) {
  for (const AccountLine& l : model.account) {
    if (l.source == source) return l;
  }
  ADD_FAILURE() << "no account of " << source;
  return model.account.front();
}

TEST(ReferenceLayout, SaysWhatTheModelComputes) {
  Checkpoint checkpoint = reference_layout().make();
  CanonicalModel model = convert(checkpoint);
  const ModelSpec& s = model.spec;
  EXPECT_EQ(model.recipe, "deepseek-from-scratch");
  EXPECT_EQ(model.prefix, "");
  EXPECT_EQ(s.vocab_size, 11u);
  EXPECT_EQ(s.hidden_size, 8u);
  EXPECT_EQ(s.num_hidden_layers, 2u);
  EXPECT_EQ(s.max_position_embeddings, 6u);
  EXPECT_EQ(s.positions, Positions::learned);
  EXPECT_TRUE(s.tie_word_embeddings);
  EXPECT_EQ(s.norm.kind, NormKind::rms);
  EXPECT_EQ(s.norm.eps, 1e-6);
  EXPECT_TRUE(s.norm.eps_outside_root);
  EXPECT_TRUE(s.attention.kv_norm.eps_outside_root);
  EXPECT_EQ(s.rope.layout, RopeLayout::half_split);
  EXPECT_EQ(s.rope.base, 10000.0);
  EXPECT_EQ(s.attention.num_attention_heads, 2u);
  EXPECT_EQ(s.attention.q_lora_rank, 5u);
  EXPECT_EQ(s.attention.kv_lora_rank, 3u);
  EXPECT_EQ(s.attention.qk_nope_head_dim, 4u);
  EXPECT_EQ(s.attention.qk_rope_head_dim, 4u);
  EXPECT_EQ(s.attention.v_head_dim, 4u);
  EXPECT_EQ(s.attention.q_norm.kind, NormKind::none);
  EXPECT_EQ(s.attention.rope_keys, RopeKeys::per_head);
  EXPECT_TRUE(s.attention.o_bias);
  EXPECT_FALSE(s.attention.q_bias);
  EXPECT_EQ(s.moe.n_routed_experts, 3u);
  EXPECT_EQ(s.moe.routed.intermediate_size, 7u);
  EXPECT_EQ(s.moe.shared.intermediate_size, 9u);
  EXPECT_TRUE(s.moe.routed.bias && s.moe.shared.bias);
  EXPECT_EQ(s.router.score, RouterScore::softmax_of_chosen);
  EXPECT_EQ(s.router.expert_bias, ExpertBias::logits);
  EXPECT_EQ(s.router.num_experts_per_tok, 2u);
  EXPECT_FALSE(s.router.norm_topk_prob);
  EXPECT_EQ(s.num_nextn_predict_layers, 1u);
  EXPECT_TRUE(s.mtp_combine_bias);
}

TEST(ReferenceLayout, EveryVariantArrivesElementByElement) {
  ReferenceSizes base;
  std::map<std::string, ReferenceSizes> variants;
  variants["as published"] = base;
  auto& wide = variants["other heads and ranks"] = base;
  wide.heads = 3, wide.head_dim = 5, wide.rope = 6, wide.kv_rank = 7, wide.q_rank = 2,
  wide.layers = 12, wide.experts = 11;
  variants["no biases"] = base;
  variants["no biases"].bias = false;
  variants["no shared expert"] = base;
  variants["no shared expert"].use_shared = false;
  variants["two heads"] = base;
  variants["two heads"].mtp = 2;
  variants["no heads"] = base;
  variants["no heads"].mtp = 0;
  variants["untied"] = base;
  variants["untied"].untied_head = true;
  variants["no lm_head"] = base;
  variants["no lm_head"].head = false;
  for (const auto& [name, sizes] : variants) {
    SCOPED_TRACE(name);
    Checkpoint checkpoint = reference_layout(sizes).make();
    CanonicalModel model = convert(checkpoint);
    expect_whole(sizes, model);
    EXPECT_EQ(model.account.size(), checkpoint.tensors.size());
    EXPECT_EQ(model.spec.tie_word_embeddings, !sizes.untied_head);
    EXPECT_EQ(model.spec.attention.o_bias, sizes.bias);
    EXPECT_EQ(model.spec.moe.shared.intermediate_size, sizes.use_shared ? sizes.shared : 0u);
    EXPECT_EQ(model.spec.num_nextn_predict_layers, sizes.mtp);
  }
}

TEST(ReferenceLayout, PrefixesAreFoundByEvidence) {
  for (const std::string prefix :
       {"model.", "model_state_dict._orig_mod.", "module._orig_mod.model.", "a.b.c."}) {
    SCOPED_TRACE(prefix);
    CheckpointMaker maker = reference_layout();
    maker.rename([&](const std::string& name) { return prefix + name; });
    maker.add("optimizer.state.exp_avg", {3}, [](std::uint64_t) { return 1.f; });
    Checkpoint checkpoint = maker.make();
    CanonicalModel model = convert(checkpoint);
    EXPECT_EQ(model.prefix, prefix);
    expect_whole({}, model);
    EXPECT_EQ(line(model, "optimizer.state.exp_avg").fate, Fate::outside);
    EXPECT_EQ(line(model, prefix + "wte.weight").fate, Fate::used);
  }
}

TEST(ReferenceLayout, CompiledSubmodulesAreFoundToo) {
  CheckpointMaker maker = reference_layout();
  maker.rename([](const std::string& name) {
    std::string out = name;
    if (auto at = out.find(".attn."); at != out.npos) out.insert(at + 1, "_orig_mod.");
    return "model." + out;
  });
  Checkpoint checkpoint = maker.make();
  CanonicalModel model = convert(checkpoint);
  EXPECT_EQ(model.prefix, "model.");
  expect_whole({}, model);
  EXPECT_EQ(line(model, "model.h.0._orig_mod.attn.q_proj.weight").detail,
            "layers.0.attn.q_down.weight");
}

TEST(ReferenceLayout, AccountsForEveryTensor) {
  Checkpoint checkpoint = reference_layout().make();
  CanonicalModel model = convert(checkpoint);
  ASSERT_EQ(model.account.size(), checkpoint.tensors.size());
  std::map<Fate, int> fates;
  for (std::size_t i = 0; i < model.account.size(); ++i) {
    EXPECT_EQ(model.account[i].source, checkpoint.tensors[i].name);
    EXPECT_EQ(model.account[i].bytes, checkpoint.tensors[i].tensor.nbytes());
    ++fates[model.account[i].fate];
  }
  EXPECT_EQ(fates[Fate::left_out], 6) << "a mask and frequencies in each of three blocks";
  EXPECT_EQ(fates[Fate::alias], 1);
  EXPECT_EQ(fates[Fate::outside], 0);
  EXPECT_EQ(line(model, "lm_head.weight").detail, "the same as wte.weight");
  EXPECT_EQ(line(model, "h.1.attn.causal_mask").detail, "causal mask, rebuilt at run time");
  EXPECT_EQ(line(model, "mtp_heads.0.mlp.expert_bias").detail,
            "mtp.0.block.mlp.router.expert_bias");
}

TEST(ReferenceLayout, DimensionsAreReportedInTheRecipesOrder) {
  CanonicalModel model = convert(reference_layout().make());
  ASSERT_GE(model.dims.size(), 3u);
  EXPECT_EQ(model.dims[0], (std::pair<std::string, nlohmann::json>("vocab_size", 11)));
  EXPECT_EQ(model.dims[1], (std::pair<std::string, nlohmann::json>("hidden_size", 8)));
}

TEST(ReferenceLayout, TopKIsAskedFor) {
  CheckpointMaker maker = reference_layout();
  CanonicalModel by_default = convert(maker.make());
  ASSERT_EQ(by_default.settings.size(), 1u);
  EXPECT_EQ(by_default.settings[0].key, "experts_per_token");
  EXPECT_EQ(by_default.settings[0].origin, "default");
  EXPECT_EQ(by_default.settings[0].value, 2);
  EXPECT_THAT(by_default.settings[0].help, HasSubstr("n_experts_per_token"));

  maker.fact("checkpoint.config.n_experts_per_token", 1);
  CanonicalModel by_fact = convert(maker.make());
  EXPECT_EQ(by_fact.spec.router.num_experts_per_tok, 1u);
  EXPECT_EQ(by_fact.settings[0].origin, "checkpoint");

  CanonicalModel by_hand = convert(maker.make(), {{"experts_per_token", "3"}});
  EXPECT_EQ(by_hand.spec.router.num_experts_per_tok, 3u);
  EXPECT_EQ(by_hand.settings[0].origin, "--set");
}

// As many names as the largest published models have.
TEST(ReferenceLayout, NinetyThousandNamesTakeSeconds) {
  ReferenceSizes sizes;
  sizes.vocab = sizes.block = 4, sizes.layers = 118, sizes.experts = 256, sizes.hidden = 2,
  sizes.heads = 1, sizes.head_dim = 2, sizes.rope = 2, sizes.kv_rank = 1, sizes.q_rank = 1,
  sizes.routed = 1, sizes.shared = 1, sizes.bias = false, sizes.mtp = 0;
  Checkpoint checkpoint = reference_layout(sizes).make();
  ASSERT_GT(checkpoint.tensors.size(), 91'000u);
  std::clock_t begin = std::clock();
  CanonicalModel model = convert(checkpoint);
  double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  EXPECT_GT(model.tensors.size(), 90'000u);
  RecordProperty("cpu_seconds", std::to_string(seconds));
  // Under a second of processor time; the bound leaves room for sanitizers and still
  // fails anything quadratic.
  EXPECT_LT(seconds, 15.0);
}

TEST(Sample, TheTrainedCheckpointIsReadAsItsAuthorSaysItIs) {
  std::string path = std::string(WB_SOURCE_DIR) + "/samples/tiny/tiny-deepseek.pt";
  Checkpoint checkpoint = open_checkpoint(path);
  CanonicalModel model = convert(checkpoint);
  EXPECT_EQ(model.spec.vocab_size, 4096u);
  EXPECT_EQ(model.spec.hidden_size, 128u);
  EXPECT_EQ(model.spec.num_hidden_layers, 4u);
  EXPECT_EQ(model.spec.max_position_embeddings, 256u);
  EXPECT_EQ(model.spec.attention.num_attention_heads, 4u);
  EXPECT_EQ(model.spec.attention.kv_lora_rank, 48u);
  EXPECT_EQ(model.spec.attention.q_lora_rank, 64u);
  EXPECT_EQ(model.spec.attention.qk_rope_head_dim, 16u);
  EXPECT_EQ(model.spec.attention.qk_nope_head_dim, 32u);
  EXPECT_EQ(model.spec.moe.n_routed_experts, 4u);
  EXPECT_EQ(model.spec.moe.routed.intermediate_size, 192u);
  EXPECT_EQ(model.spec.moe.shared.intermediate_size, 288u);
  EXPECT_EQ(model.spec.num_nextn_predict_layers, 1u);
  EXPECT_TRUE(model.spec.tie_word_embeddings);
  EXPECT_EQ(model.account.size(), checkpoint.tensors.size());
}

}  // namespace
}  // namespace wb
