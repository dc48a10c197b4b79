// What stands beside the layers: buffers anywhere, embeddings, head, positions, final norm; see
// drafter.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"

namespace wb::draft {

void Drafter::buffers() {
  for (const Group& g : names_.groups) {
    std::optional<Buffer> b = buffer_of(g, first_tensor(g));
    if (!b) continue;
    std::string role;
    switch (b->kind) {
      case Buffer::Kind::causal_mask:
        role = "causal mask";
        break;
      case Buffer::Kind::other_mask:
        draft_.notes.push_back("The mask " + g.pattern +
                               " is not causal. A model that is not causal is not converted; if "
                               "the mask is never used, list it under [left_out] yourself.");
        no_weights_.insert(&g);
        continue;
      case Buffer::Kind::inv_freq:
        role = "rope frequencies";
        break;
      case Buffer::Kind::rope_table:
        role = "rope table";
        break;
      case Buffer::Kind::counter:
        role = "no weight";
        break;
    }
    if (b->rope_dim != 0) {
      has_rope_ = true;
      // A table of n columns is one of n or of 2n rows; frequencies are certain.
      if (b->kind == Buffer::Kind::inv_freq || b->half_split || rope_dim_ == 0)
        rope_dim_ = b->rope_dim;
      if (b->base && !rope_base_) rope_base_ = b->base;
      if (b->half_split) half_split_ = b->half_split;
      if (!b->base && b->kind == Buffer::Kind::inv_freq) {
        draft_.notes.push_back("The frequencies " + g.pattern +
                               " are not those of one base: they are scaled (YaRN, linear) or made "
                               "in another way; see rope.scaling.");
      }
    }
    longest_ = std::max(longest_, b->length);
    settle(&g, role, b->check.empty() ? 0.8 : 0.99,
           b->check.empty() ? "values and name" : "its values");
    std::string value = b->check.empty()
                            ? toml_string(b->reason)
                            : fmt::format("{{ reason = {}, check = {} }}", toml_string(b->reason),
                                          toml_string(b->check));
    left_out_.push_back({toml_string(g.pattern), value, "", in_layer(g)});
  }
  for (const std::string& star : names_.optimizer) {
    left_out_.push_back({toml_string(star), toml_string("state of an optimizer"), "", false});
  }
}

// The width of the residual stream: the axis that most layer tensors share with a matrix that
// stands beside the layers.
void Drafter::hidden_size() {
  std::map<std::uint64_t, std::size_t> votes;
  for (const Module& m : modules_) {
    if (settled(m.weight)) continue;
    const Shape& s = m.weight->shape;
    if (in_layer(*m.weight) && s.size() <= 2) {
      for (std::uint64_t d : std::set<std::uint64_t>(s.begin(), s.end())) ++votes[d];
      if (s.size() == 1) ++votes[s[0]];
    }
  }
  std::size_t best = 0;
  for (const Module& m : modules_) {
    const Shape& s = m.weight->shape;
    if (!m.weight->variables.empty() || s.size() != 2 || settled(m.weight)) continue;
    for (std::uint64_t d : s) {
      if (votes[d] > best) {
        best = votes[d];
        hidden_ = d;
      }
    }
  }
  if (hidden_ != 0) return;
  throw Error(Code::recipe_unknown,
              "no token embedding is seen: no matrix outside of the layers shares an axis with "
              "them")
      .file(checkpoint_.path)
      .advice(
          "`weightbridge inspect` lists the names; if the model is one among others in the file, "
          "say which with --prefix.");
}

namespace {

std::uint64_t rows(const Module* m) { return m->weight->shape[m->weight->shape.size() - 2]; }

}  // namespace

// What the matrices beside the layers are; `swapped`: names do not tell embedding from head.
struct Drafter::Tables {
  const Module *embed, *head, *positions;  // head and positions may be none
  double confidence;
  const char* why;
  bool sure, swapped;
};

void Drafter::top() {
  std::vector<Module*> tables, vectors;
  for (Module& m : modules_) {
    if (settled(m.weight) || !m.weight->variables.empty() || of_mtp(*m.weight)) continue;
    const Shape& s = m.weight->shape;
    std::size_t rank = s.size();
    if (rank == 2 && s[1] == hidden_) tables.push_back(&m);
    if (rank == 3 && s[0] == 1 && s[2] == hidden_) tables.push_back(&m);
    if (rank == 1 && s[0] == hidden_) vectors.push_back(&m);
  }
  const Tables t = choose_tables(tables);
  const Module* e = t.embed;
  settle(*e, "token embedding", t.confidence, t.why);
  dim("vocab_size", first_of(e->weight) + "[0]", rows(e));
  dim("hidden_size", first_of(e->weight) + "[1]", hidden_);
  recognise_.push_back(e->weight->first_name);
  field("vocab_size", toml_string("vocab_size"));
  field("hidden_size", toml_string("hidden_size"));
  field("num_hidden_layers", toml_string("num_hidden_layers"));
  head_lines(t);
  position_lines(t.positions, t.confidence, t.why);
  final_norm(std::move(vectors));
}

// The best of every way to hand out embedding, head and positions that shapes allow.
Drafter::Tables Drafter::choose_tables(const std::vector<Module*>& tables) {
  struct Way {
    const Module *embed, *head, *positions;
    double score;
  };
  std::vector<Way> ways;
  const auto embed = [](const Module* m) {
    const Features& f = m->features;
    return (f.embed ? 2.0 : 0) - (f.head ? 3 : 0) - (f.position ? 3 : 0) - (f.o ? 1 : 0);
  };
  const auto head = [](const Module* m) {
    const Features& f = m->features;
    return (f.head ? 2.5 : 0) + (f.o ? 1 : 0) - (f.embed && !f.any({"unembed"}) ? 1 : 0) -
           (f.position ? 3 : 0);
  };
  const auto position = [](const Module* m) { return (m->features.position ? 3.0 : -1); };
  std::vector<Module*> maybe = tables;
  maybe.push_back(nullptr);
  for (Module* e : tables) {
    for (Module* h : maybe) {
      for (Module* p : maybe) {
        if (e == h || e == p || (h != nullptr && h == p)) continue;
        if (e->weight->shape.size() != 2 ||
            (h != nullptr && (h->weight->shape.size() != 2 || rows(h) != rows(e))))
          continue;
        std::size_t used = 1u + (h != nullptr ? 1u : 0u) + (p != nullptr ? 1u : 0u);
        if (used != std::min<std::size_t>(3, tables.size())) continue;
        ways.push_back(
            {e, h, p, embed(e) + (h != nullptr ? head(h) : 0) + (p != nullptr ? position(p) : 0)});
      }
    }
  }
  if (ways.empty()) {
    throw Error(Code::recipe_unknown,
                "no token embedding of the layers' width is seen outside of the layers")
        .file(checkpoint_.path)
        .expected("a matrix [vocabulary, " + std::to_string(hidden_) + "]")
        .advice("`weightbridge inspect` lists the names.");
  }
  std::stable_sort(ways.begin(), ways.end(),
                   [](const Way& a, const Way& b) { return a.score > b.score; });
  const Way& best = ways[0];
  const double margin = ways.size() > 1 ? best.score - ways[1].score : 8;
  const bool sure = margin >= 1;
  const bool swapped = !sure && ways[1].embed == best.head && ways[1].head == best.embed;
  return {best.embed,
          best.head,
          best.positions,
          sure ? 0.95 : 0.5,
          sure ? "shape and name" : "names do not tell: asked",
          sure,
          swapped};
}

void Drafter::head_lines(const Tables& t) {
  const Module *e = t.embed, *h = t.head;
  if (h != nullptr && t.swapped) {
    ask_choice("table_roles", "which matrix embeds the tokens",
               {e->weight->pattern + " embeds, " + h->weight->pattern + " makes logits",
                h->weight->pattern + " embeds, " + e->weight->pattern + " makes logits"},
               "look for nn.Embedding in the model's class");
    line("embed", {e, h}, "table_roles", "$", "", false);
    line("head", {h, e}, "table_roles", "$", "", false);
    field("tie_word_embeddings", "false");
  } else {
    if (!t.sure)
      draft_.notes.push_back("Which of the top matrices embeds tokens is not clear from names; " +
                             e->weight->pattern + " is taken.");
    line("embed", *e, "$", "", false);
  }
  shape(e->weight, {"vocab_size", "hidden_size"});
  if (h != nullptr) {
    settle(*h, "output head", t.confidence, t.why);
    shape(h->weight, {"vocab_size", "hidden_size"});
    if (!t.swapped) {
      dim("tied", fmt::format("same({}, {})", first_of(h->weight), first_of(e->weight)), 0);
      field("tie_word_embeddings", toml_string("tied"), "by the bytes of the two");
      line("head", *h, "$", "only when it is not tied", false);
      aliases_.push_back(
          {toml_string(h->weight->pattern), toml_string(e->weight->pattern), "", false});
    }
    if (h->bias != nullptr) field("head_bias", "true");
  } else {
    field("tie_word_embeddings", "true", "there is no other matrix [vocab_size, hidden_size]");
  }
}

void Drafter::position_lines(const Module* p, double confidence, const char* why) {
  if (p != nullptr) {
    learned_positions_ = true;
    settle(*p, "learned positions", confidence, why);
    std::string rank3 = p->weight->shape.size() == 3 ? ".select(0, 0)" : "";
    dim("max_position_embeddings", first_of(p->weight) + (rank3.empty() ? "[0]" : "[1]"), rows(p));
    field("max_position_embeddings", toml_string("max_position_embeddings"));
    field("positions", toml_string("learned"));
    line("positions", *p, "$" + rank3, "", false);
  } else if (longest_ > 0) {
    field("max_position_embeddings", std::to_string(longest_), "by the length of a buffer");
  }
}

void Drafter::final_norm(std::vector<Module*> vectors) {
  std::stable_sort(vectors.begin(), vectors.end(), [](const Module* a, const Module* b) {
    return (a->features.norm + a->features.final) > (b->features.norm + b->features.final);
  });
  if (vectors.empty()) {
    field("own_final_norm", "true", "it is none");
    field("final_norm.kind", toml_string("none"), "there is no weight for one");
    draft_.notes.push_back(
        "No final norm is seen: the head is taken to read the last layer's output as it is.");
    return;
  }
  final_norm_ = true;
  const Module* n = vectors[0];
  settle(*n, "final norm",
         vectors.size() == 1 ? 0.97
         : n->features.norm  ? 0.8
                             : 0.5,
         vectors.size() == 1 ? "the only vector of that width outside of the layers" : "name");
  norm_bias_ = n->bias != nullptr;
  line("norm", *n, "$", "", false);
  shape(n->weight, {"hidden_size"});
}

}  // namespace wb::draft
