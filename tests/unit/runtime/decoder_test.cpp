// What the decoder refuses, and the multi-token file of an exact folder.
#include "runtime/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/load.h"
#include "unit/error_of.h"
#include "unit/runtime/folder_writer.h"
#include "unit/runtime/runtime_fixture.h"

namespace wb {
namespace {

using ::testing::HasSubstr;

// A model of zeros with one dense layer; enough to be refused or run.
ModelSpec tiny_spec() {
  ModelSpec s;
  s.vocab_size = 4;
  s.hidden_size = 4;
  s.num_hidden_layers = 1;
  s.dense.intermediate_size = 4;
  s.attention.num_attention_heads = 2;
  s.attention.kv_lora_rank = 4;
  s.attention.qk_nope_head_dim = 2;
  s.attention.qk_rope_head_dim = 2;
  s.attention.v_head_dim = 2;
  return s;
}
CanonicalModel filled(const ModelSpec& spec, double value) {
  CanonicalModel m;
  m.spec = spec;
  for (const CanonicalTensor& t : canonical_tensors(spec)) {
    m.tensors.emplace(t.name, Tensor::fill(DType::F32, t.shape, value));
  }
  return m;
}
Error refusal(const ModelSpec& spec) {
  return error_of([&] { Decoder{filled(spec, 0.5)}; });
}

TEST(Decoder, RefusesByFieldName) {
  struct Case {
    void (*change)(ModelSpec&);
    const char* text;
  };
  const Case cases[] = {
      {[](ModelSpec& s) { s.rope.base = 1.0; },
       "the field rope.base of the model cannot take this value"},
      {[](ModelSpec& s) {
         s.rope.scaling = RopeScaling::linear;
         s.rope.factor = 0;
       },
       "the field rope.factor of the model"},
      {[](ModelSpec& s) { s.rope.scaling = RopeScaling::yarn; },
       "rope.original_max_position_embeddings"},
      {[](ModelSpec& s) {
         s.rope.scaling = RopeScaling::yarn;
         s.rope.original_max_position_embeddings = 64;
         s.rope.beta_slow = 0;
       },
       "the field rope.beta_slow of the model"},
      {[](ModelSpec& s) {
         s.rope.scaling = RopeScaling::longrope;
         s.rope.original_max_position_embeddings = 64;
         s.rope.long_factor = {1.0};
       },
       "max_position_embeddings = 0"},
      {[](ModelSpec& s) { s.attention.qk_rope_head_dim = 3; }, "qk_rope_head_dim"},
  };
  for (const Case& c : cases) {
    ModelSpec s = tiny_spec();
    c.change(s);
    const Error e = refusal(s);
    EXPECT_EQ(e.code(), Code::spec_invalid);
    EXPECT_THAT(e.sentence(), HasSubstr(c.text));
    EXPECT_FALSE(e.advice().empty());
  }
}

TEST(Decoder, RefusesTokensAndLengthsThatItHasNoRowsFor) {
  ModelSpec s = tiny_spec();
  s.positions = Positions::learned;
  s.max_position_embeddings = 3;
  const Decoder decoder(filled(s, 0.5));
  auto message = [&](const std::vector<std::uint32_t>& tokens) -> std::string {
    try {
      decoder.forward(tokens);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::usage);
      return e.sentence();
    }
    return "";
  };
  EXPECT_THAT(message({1, 4}), HasSubstr("expected ids below 4, found 4 at place 1"));
  EXPECT_THAT(message({1, 1, 1, 1}), HasSubstr("expected at most 3 tokens, found 4"));
  EXPECT_EQ(message({1, 2, 3}), "");
  // A refused step leaves the cache as it was.
  KvCache cache;
  const std::vector<std::uint32_t> two = {0, 1}, bad = {9};
  decoder.step(cache, two);
  EXPECT_THROW(decoder.step(cache, bad), Error);
  EXPECT_THROW(decoder.step(cache, two), Error) << "positions 2 and 3, of 3";
  EXPECT_EQ(cache.size(), 2u);
  ForwardOptions heads;
  heads.mtp = true;
  EXPECT_THROW(decoder.step(cache, two, heads), Error);
}

TEST(Decoder, EmptySequencesAndLastLogits) {
  const Decoder decoder(filled(tiny_spec(), 0.25));
  EXPECT_TRUE(decoder.forward({}).logits.empty());
  const std::vector<std::uint32_t> tokens = {0, 1, 2};
  ForwardOptions last;
  last.last_logits_only = true;
  const std::vector<float> all = decoder.forward(tokens).logits;
  EXPECT_EQ(decoder.forward(tokens, last).logits, (std::vector<float>(all.end() - 4, all.end())));
}

// An exact folder of the sample's own spec: main tensors in model.safetensors, heads beside.
TEST(Decoder, ExactFolderWithAndWithoutItsHeads) {
  const Checkpoint source = open_checkpoint(fixture("runtime/reference.base.safetensors"));
  const Checkpoint golden = open_checkpoint(fixture("runtime/reference.base.golden.safetensors"));
  const CanonicalModel model = ReferenceLayout(source, 2).build();
  FolderWriter main, heads;
  for (const ExactRow& row : exact_rows()) {
    for (int b = 0; b < 3; ++b) {  // layers 0 and 1, head 0
      const bool blocks = row.canonical.find("{block}") != std::string_view::npos;
      const bool head = row.canonical.starts_with("mtp") || (blocks && b == 2);
      if (!blocks && b != (head ? 2 : 0)) continue;
      auto name = [&](std::string_view pattern, bool canonical, int expert) {
        std::string n(pattern);
        auto replace = [&](const std::string& key, const std::string& value) {
          if (auto at = n.find(key); at != std::string::npos) n.replace(at, key.size(), value);
        };
        replace("{block}", b == 2 ? "mtp.0.block"
                                  : (canonical ? "layers." : "model.layers.") + std::to_string(b));
        replace("{m}", "0");
        replace("{e}", std::to_string(expert));
        return n;
      };
      for (const char* suffix : {".weight", ".bias", ""}) {
        if (!model.has(name(row.canonical, true, 0) + suffix)) continue;
        const int experts = row.layout == ExactLayout::stack_experts ? 4 : 1;
        std::vector<float> all;
        Shape shape;
        for (int e = 0; e < experts; ++e) {
          const Tensor& t = model.at(name(row.canonical, true, e) + suffix);
          shape = t.shape();
          const std::vector<float> v = read_f32(t);
          all.insert(all.end(), v.begin(), v.end());
        }
        if (experts > 1) shape.insert(shape.begin(), 4);
        if (row.layout == ExactLayout::flatten_heads) shape = {shape[0] * shape[1], shape[2]};
        (head ? heads : main).add(name(row.mlx, false, 0) + suffix, shape, all);
      }
    }
  }
  test::TempFolder folder;
  main.write(folder.path(), "model.safetensors");
  std::ofstream(folder.path() + "/config.json") << exact_config(model.spec);
  ForwardOptions options;
  options.mtp = true;
  ForwardResult r = Decoder(load_model(folder.path())).forward(tokens_of(golden), options);
  EXPECT_LE(max_difference(r.logits, values(golden, "logits")), 1e-4);
  EXPECT_TRUE(r.mtp.empty()) << "dropped heads are no error";
  heads.write(folder.path(), "mtp.safetensors");
  r = Decoder(load_model(folder.path())).forward(tokens_of(golden), options);
  ASSERT_EQ(r.mtp.size(), 1u);
  EXPECT_LE(max_difference(r.mtp[0].logits, values(golden, "mtp.0.logits")), 1e-4);
  // Some of a head's tensors, but not all: that is an error.
  heads.remove("mtp.0.combine_proj.weight");
  heads.write(folder.path(), "mtp.safetensors");
  try {
    load_model(folder.path());
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.tensor(), "mtp.0.combine_proj.weight");
  }
}

}  // namespace
}  // namespace wb
