// One drafting, step by step; draft_recipe() is its only user. Each step settles groups (gives
// them a role), adds lines of the recipe, and asks what it cannot tell.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "draft/attention.h"
#include "draft/buffers.h"
#include "draft/draft.h"
#include "draft/feed_forward.h"
#include "draft/names.h"

namespace wb::draft {

// A weight with the bias that stands beside it: "h.{l}.attn.q" of "h.{l}.attn.q.weight".
struct Module {
  const Group* weight = nullptr;
  const Group* bias = nullptr;
  std::string stem;          // the name without its last part
  bool plain_names = false;  // the parts are called weight and bias
  Features features;         // of the stem below the layer
};

struct Ask {
  std::string key, value, help;         // value: the default as TOML
  std::vector<std::string> candidates;  // as TOML
  std::string min, max;                 // as TOML, or ""
  std::vector<std::string> from;
};
struct Line {
  std::string key, value, comment;  // key and value as TOML
  bool layer = false;               // its names lie in a layer: {block} when heads have one too
};

constexpr const char* kList = "x";  // index of a list that holds shared and routed experts

class Drafter {
 public:
  Drafter(const Checkpoint& checkpoint, std::string name, const DraftOptions& options);
  Draft run();

 private:
  // drafter.cpp, draft_scales.cpp: what is outside of the attention and the network
  void find_scales();
  void scales_in_facts(const std::vector<std::string>& codes);
  // The group's first tensor: where a fact scales it, the products.
  Tensor first_tensor(const Group& group) const;
  void find_modules();
  void buffers();
  void hidden_size();
  void top();
  struct Tables;  // embedding, head and positions
  Tables choose_tables(const std::vector<Module*>& tables);
  void head_lines(const Tables& tables);
  void position_lines(const Module* positions, double confidence, const char* why);
  void final_norm(std::vector<Module*> vectors);
  void layers();
  struct LayerParts;
  LayerParts layer_parts();
  void part_by_shape(LayerParts& parts);
  void no_attention();
  void layer_norms(std::vector<Module*> norms);
  void multi_token_heads();
  void leave_mtp(const std::string& reason);
  void leftovers();
  // draft_attention.cpp, draft_attention_dims.cpp, draft_attention_lines.cpp
  bool attention(std::vector<Module*> matrices, const std::vector<Module*>& vectors);
  void attention_dims(const AttentionGuess& guess, const std::vector<Matrix>& matrices);
  struct AttentionParts;  // what the lines of one attention share
  void attention_lines(const AttentionGuess& guess, const std::vector<Matrix>& matrices,
                       const std::vector<Module*>& modules);
  void put(const AttentionParts& parts, const char* canonical, AttentionRole role,
           const std::string& expr);
  void query_lines(const AttentionParts& parts);
  void latent_lines(const AttentionParts& parts);
  void key_value_lines(const AttentionParts& parts);
  void fused_lines(const AttentionParts& parts);
  void output_line(const AttentionParts& parts);
  void attention_shapes(const AttentionParts& parts);
  void attention_biases(const AttentionParts& parts);
  void attention_norms(const AttentionGuess& guess, const std::vector<Module*>& vectors);
  void rope_fields(const AttentionGuess& guess);
  void head_count(const AttentionGuess& guess, const std::vector<Matrix>& matrices);
  // draft_feed_forward.cpp, draft_network.cpp
  void feed_forward(std::vector<Module*> modules);
  void router(std::vector<Module*>& modules, std::uint64_t experts);
  void mixture_layers(const Module& router);  // which layers have one
  // A vector with one number an expert: the balancing bias, by whatever name.
  void balancing_bias(const std::vector<Module*>& modules, std::uint64_t experts);
  void experts_in_one_list(const std::vector<Module*>& modules);
  void routed(const std::vector<const Module*>& modules);
  void shared(const std::vector<const Module*>& modules);
  void dense(const std::vector<const Module*>& modules);
  struct Network {
    std::string canonical;       // "layers.{l}.mlp.experts.{e}"
    std::string field;           // "moe.routed"
    std::string what;            // "routed experts"
    std::string width_name;      // of its width in [dims]
    std::string key;             // what its settings' names begin with
    std::string expert, shared;  // index variables, or ""
    // Where shared experts are in the one list of experts: the [dims] name of where these begin in
    // it, else "". The second network of the list asks nothing again.
    std::string list_begin = "";
    bool again = false;
  };
  void network(const std::vector<const Module*>& modules, const Network& network);
  void network_lines(const std::vector<const Module*>& modules, const Network& network,
                     const NetGuess& guess);
  void network_fields(const std::vector<const Module*>& modules, const Network& network,
                      const NetGuess& guess);
  // emit.cpp
  std::string toml() const;

  // --- shared by the steps ---
  // The group's name as a term of an expression; quoted where the language needs it.
  static std::string term(const std::string& name);
  static std::string quoted(const std::string& name);  // for the language
  void settle(const Group* group, const std::string& role, double confidence,
              const std::string& why);
  void settle(const Module& module, const std::string& role, double confidence,
              const std::string& why);
  bool settled(const Group* group) const { return roles_.count(group) != 0; }
  // Lines for a module's weight and bias; `$` in `expr` is each one's name.
  void line(const std::string& canonical, const Module& module, const std::string& expr,
            const std::string& comment, bool layer);
  // The same where `key`'s answer says which of several modules it is; `choice[i]` for answer i+1.
  void line(const std::string& canonical, const std::vector<const Module*>& choice,
            const std::string& key, const std::string& expr, const std::string& comment,
            bool layer);
  // The term of each answer (1, 2, ...) under conditions on `key`.
  static std::string choose(const std::string& key, const std::vector<std::string>& of_answer);
  static std::string filled(const std::string& expr, const std::string& name);  // `$` = name
  void shape(const Group* group, const std::vector<std::string>& dims);
  void dim(const std::string& name, const std::string& expr, std::uint64_t value,
           const std::string& comment = "");
  void field(const std::string& path, const std::string& value, const std::string& comment = "");
  // A [model] field that weights can't tell.
  void open(const std::string& path);
  // A setting that is to be answered: 0 is no answer, so nothing goes on without one.
  void ask_choice(const std::string& key, const std::string& help,
                  const std::vector<std::string>& meanings, const std::string& experiment);
  void ask(Ask ask, const std::string& experiment);
  // Which module has which role, when there is more than one assignment (module of each role); an
  // answer says what differs between them.
  void ask_roles(const std::string& key, const std::string& help,
                 const std::vector<std::string>& roles,
                 const std::vector<std::vector<std::size_t>>& assignments,
                 const std::vector<const Module*>& modules, const std::string& experiment);
  // A field taken as usual; a question with DraftOptions::ask_all, and so are the fields `with` it
  // that only another value brings into play.
  void assume(const std::string& path, const std::string& value, const std::string& comment,
              std::initializer_list<const char*> with = {});
  // The path of a number or word beside the tensors whose last part is one of `keys`.
  std::vector<std::string> facts(std::initializer_list<const char*> keys) const;
  std::string first_of(const Group* group, const std::string& keep = "") const;
  // Whether a name is of the multi-token heads: indexed, or under the same first part of the name.
  bool of_mtp(const Group& g) const;
  bool in_layer(const Group& g) const { return g.has("l"); }
  std::string below_layer(const std::string& pattern) const;

  const Checkpoint& checkpoint_;
  Names names_;
  Draft draft_;
  std::string name_;
  bool ask_all_ = false;
  std::vector<Module> modules_;
  std::map<const Group*, DraftGroup> roles_;
  std::set<const Group*> no_weights_;     // no role, and none is to be looked for
  std::map<std::size_t, double> scales_;  // of tensors of the checkpoint, where facts have them
  std::uint64_t hidden_ = 0;
  bool learned_positions_ = false;
  std::uint64_t rope_dim_ = 0;  // by a buffer
  std::optional<double> rope_base_;
  std::optional<bool> half_split_;
  bool has_rope_ = false, rope_unsure_ = false, rope_key_unsure_ = false;
  std::uint64_t longest_ = 0;  // sequence that a mask or a table is made for
  bool final_norm_ = false, norm_bias_ = false;
  bool mtp_fits_ = false;
  std::uint64_t experts_ = 0;  // that the router knows
  std::uint64_t in_list_ = 0;  // shared experts in the list of experts
  std::set<std::uint64_t> moe_layers_;

  std::vector<Line> dims_, fields_, tensors_, shapes_, left_out_, aliases_, encoded_;
  std::vector<std::pair<std::string, std::string>> index_;
  std::vector<Ask> asks_;
  std::vector<std::string> recognise_;
};

// `text` as a TOML string.
std::string toml_string(const std::string& text);
// What a [model] field is, its likely values and what would tell.
Question question_for(const std::string& path);

}  // namespace wb::draft
