// The expansion of the canonical table for a spec, and the canonical model; see canonical.h.
#include "model/canonical.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "model/canonical_rows.h"

namespace wb {

namespace {

// Ten times what the largest published models have. A file of a hundred bytes may claim any
// number of layers and experts; what they call for is held to this before any of it is listed.
constexpr std::uint64_t kMostTensors = std::uint64_t{1} << 20;

void check_count(const ModelSpec& spec) {
  const std::uint64_t layers = spec.num_hidden_layers + spec.num_nextn_predict_layers;
  // A layer has two norms at the least, an expert two matrices. All are below 2^31.
  const std::uint64_t each = 2 + 2 * spec.moe.n_routed_experts;
  if (layers <= kMostTensors / each) return;
  throw Error(Code::limit_exceeded, "the model calls for too many tensors")
      .expected("at most " + std::to_string(kMostTensors))
      .actual(std::to_string(layers) + " layers of at least " + std::to_string(each))
      .advice("No such model is known; do not trust where the numbers came from.");
}

std::string replaced(std::string text, std::string_view key, std::string_view value) {
  if (auto at = text.find(key); at != std::string::npos) text.replace(at, key.size(), value);
  return text;
}

class Expander {
 public:
  explicit Expander(const ModelSpec& spec) : spec_(spec) {}

  std::vector<CanonicalTensor> run() {
    // Table order within a block; blocks where the first block row stands.
    bool blocks_done = false, mtp_done = false;
    for (std::size_t i = 0; i < canonical_rules().size(); ++i) {
      CanonicalScope scope = canonical_rules()[i].scope;
      if (scope == CanonicalScope::model) {
        add(i, std::string(canonical_rules()[i].text.pattern));
      } else if (scope == CanonicalScope::mtp) {
        if (!std::exchange(mtp_done, true)) expand_mtp();
      } else if (!std::exchange(blocks_done, true)) {
        for (std::uint64_t l = 0; l < spec_.num_hidden_layers; ++l) {
          expand_block("layers." + std::to_string(l), spec_.is_moe(l));
        }
      }
    }
    return std::move(out_);
  }

 private:
  void add(std::size_t i, std::string name) {
    const CanonicalRule& row = canonical_rules()[i];
    if (row.when(spec_)) out_.push_back({std::move(name), row.shape(spec_), i});
  }

  void expand_block(const std::string& block, bool moe) {
    for (std::size_t i = 0; i < canonical_rules().size(); ++i) {
      CanonicalScope scope = canonical_rules()[i].scope;
      std::string name = replaced(std::string(canonical_rules()[i].text.pattern), "{block}", block);
      if (scope == CanonicalScope::block || (scope == CanonicalScope::moe_block && moe) ||
          (scope == CanonicalScope::dense_block && !moe)) {
        add(i, std::move(name));
      } else if (scope == CanonicalScope::expert && moe) {
        for (std::uint64_t e = 0; e < spec_.moe.n_routed_experts; ++e) {
          add(i, replaced(name, "{e}", std::to_string(e)));
        }
      }
    }
  }

  void expand_mtp() {
    for (std::uint64_t m = 0; m < spec_.num_nextn_predict_layers; ++m) {
      for (std::size_t i = 0; i < canonical_rules().size(); ++i) {
        if (canonical_rules()[i].scope == CanonicalScope::mtp) {
          add(i,
              replaced(std::string(canonical_rules()[i].text.pattern), "{m}", std::to_string(m)));
        }
      }
      // A head's block is a mixture wherever the model has one.
      expand_block("mtp." + std::to_string(m) + ".block", spec_.moe.n_routed_experts > 0);
    }
  }

  const ModelSpec& spec_;
  std::vector<CanonicalTensor> out_;
};

bool ends_module(std::string_view pattern, std::string_view module) {
  return pattern == module ||
         (pattern.size() > module.size() && pattern.starts_with(module) &&
          (pattern.substr(module.size()) == ".weight" || pattern.substr(module.size()) == ".bias"));
}

}  // namespace

const std::vector<CanonicalRow>& canonical_table() {
  static const std::vector<CanonicalRow> table = [] {
    std::vector<CanonicalRow> out;
    for (const CanonicalRule& row : canonical_rules()) out.push_back(row.text);
    return out;
  }();
  return table;
}

std::vector<CanonicalTensor> canonical_tensors(const ModelSpec& spec) {
  check_count(spec);
  return Expander(spec).run();
}

bool is_canonical_pattern(std::string_view pattern) {
  std::string p(pattern);
  for (std::string_view block : {"layers.{l}.", "mtp.{m}.block."}) {
    if (p.starts_with(block)) p = "{block}." + p.substr(block.size());
  }
  return std::any_of(canonical_rules().begin(), canonical_rules().end(),
                     [&](const CanonicalRule& row) { return ends_module(row.text.pattern, p); });
}

std::string_view name(Fate fate) {
  switch (fate) {
    case Fate::used:
      return "used";
    case Fate::alias:
      return "alias";
    case Fate::left_out:
      return "left out";
    case Fate::outside:
      return "outside";
  }
  WB_BUG("not a fate");
}

const Tensor& CanonicalModel::at(const std::string& name) const {
  auto it = tensors.find(name);
  if (it == tensors.end()) WB_BUG(("no canonical tensor " + name).c_str());
  return it->second;
}

void check_complete(const CanonicalModel& model) {
  std::vector<CanonicalTensor> wanted = canonical_tensors(model.spec);
  std::string missing;
  std::size_t n_missing = 0;
  for (const CanonicalTensor& want : wanted) {
    auto it = model.tensors.find(want.name);
    if (it == model.tensors.end()) {
      if (++n_missing <= 8) missing += (missing.empty() ? "" : ", ") + want.name;
    } else if (it->second.shape() != want.shape) {
      throw Error(Code::shape_mismatch, "the tensor (from " + it->second.describe() +
                                            ") does not have the shape that the model calls for")
          .tensor(want.name)
          .expected(to_string(want.shape))
          .actual(to_string(it->second.shape()))
          .advice("Correct the recipe's [dims] or the tensor's expression.");
    }
  }
  if (n_missing > 0) {
    throw Error(Code::canonical_missing,
                std::to_string(n_missing) + " tensors that the model calls for are not produced: " +
                    missing + (n_missing > 8 ? ", ..." : ""))
        .advice("Add them to the recipe's [tensors], or correct its [model] section.");
  }
  if (model.tensors.size() != wanted.size()) {
    WB_BUG("a canonical model holds tensors that its spec does not call for");
  }
}

}  // namespace wb
