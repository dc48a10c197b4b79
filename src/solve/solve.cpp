// The stages and the verdict; see solve.h.
#include "solve/solve.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/threads.h"
#include "solve/equivalence.h"
#include "solve/formulas.h"
#include "solve/search.h"

namespace wb {

namespace {

using nlohmann::json;

// Windows of the search: enough tokens to see every kind of choice, few enough to run a
// thousand readings; the verdict takes the whole reference.
constexpr std::size_t kMostSequences = 8, kMostTokens = 128;
constexpr std::size_t kFirstSequences = 8;
constexpr std::size_t kFewSequences = 2, kFewTokens = 12;
constexpr std::size_t kManySequences = 4, kManyTokens = 64;
// Multiply-adds that all stages together may spend searching: half a minute of one core.
constexpr double kWork = 1.5e11;
// Of what is left, for a first token: it says little about a router, and what it can't settle,
// more tokens do.
constexpr double kFirstShare = 0.25;
constexpr std::size_t kMostFrames = 4096;  // readings of the weights that are tried for a fit

class Solver {
 public:
  Solver(const Recognition& recognition, const Checkpoint& checkpoint,
         const std::map<std::string, std::string>& settings, const Checkpoint& reference,
         const SolveOptions& options)
      : reference_(reference),
        options_(options),
        threads_(options.threads > 0 ? options.threads : default_threads()),
        unknowns_(unknowns_of(questions(recognition, checkpoint, settings))),
        space_(recognition, checkpoint, settings, unknowns_),
        evidence_(read_evidence(reference, kMostSequences, kMostTokens)) {
    for (const Unknown& u : unknowns_) fields_.push_back({u, std::nullopt});
    reports_.resize(fields_.size());
  }

  Solution run() {
    at_ = fitting_start();
    learn_settings();
    const std::shared_ptr<const Decoder> held = space_.read(at_).decoder;
    const Decoder& any = *held;
    check_sizes(any);
    for (const View& view : views(any)) stage(view);
    plain_key_factor();
    verdict(any);
    return std::move(out_);
  }

 private:
  // The usual value of each unknown; some follow from dimensions that others decide.
  Assignment first_values() const {
    Assignment out;
    for (const Unknown& u : unknowns_) out.push_back(values_to_try(u, {}).front());
    const ModelSpec spec = space_.stated(out);
    for (std::size_t u = 0; u < unknowns_.size(); ++u) {
      out[u] = values_to_try(unknowns_[u], spec).front();
    }
    return out;
  }

  // What is known of a setting by the fields that it reaches.
  void learn_settings() {
    for (std::size_t u = 0; u < unknowns_.size(); ++u) {
      if (!unknowns_[u].setting) continue;
      learn_from_fields(unknowns_[u], space_.reached_by(u));
      unknowns_[u].later = unknowns_[u].later && !space_.structural(u);
      fields_[u].unknown = unknowns_[u];
    }
  }

  // An assignment that the weights fit: the usual values with some changed, one after the other,
  // each because it ends the complaint that the one before it left.
  Assignment fitting_start() const {
    const Assignment usual = first_values();
    std::set<std::string> seen;
    Reading furthest = space_.read(usual);
    if (std::optional<Assignment> found = fit(usual, usual, Reading(furthest), seen, furthest)) {
      return *found;
    }
    throw Error(furthest.code, "no values of what the recipe leaves open fit this checkpoint; of " +
                                   std::to_string(1 + seen.size()) +
                                   " that were tried, the nearest says: " + furthest.impossible)
        .advice(
            "Correct the recipe's [dims], [shapes] or [tensors], or give a setting that is known "
            "with --set.");
  }

  std::optional<Assignment> fit(const Assignment& at, const Assignment& usual,
                                const Reading& reading, std::set<std::string>& seen,
                                Reading& furthest) const {
    if (reading.decoder != nullptr) return at;
    const ModelSpec spec = space_.stated(at);
    for (std::size_t u = 0; u < unknowns_.size(); ++u) {
      if (at[u] != usual[u]) continue;
      for (const json& value : values_to_try(unknowns_[u], spec)) {
        Assignment next = at;
        next[u] = value;
        if (value == usual[u] || seen.size() == kMostFrames || !seen.insert(key_of(next)).second) {
          continue;
        }
        const Reading better = space_.read(next);
        if (better.decoder == nullptr && !further(better, reading)) continue;
        if (better.decoder == nullptr && further(better, furthest)) furthest = better;
        if (std::optional<Assignment> found = fit(next, usual, better, seen, furthest))
          return found;
      }
    }
    return std::nullopt;
  }

  // Whether a complaint comes later in the application of a recipe than another, or is the same
  // with fewer names.
  static bool further(const Reading& now, const Reading& before) {
    auto rank = [](Code code) {
      constexpr Code kOrder[] = {Code::dimension_mismatch,  Code::setting_invalid,
                                 Code::shape_mismatch,      Code::spec_invalid,
                                 Code::tensor_missing,      Code::canonical_missing,
                                 Code::recipe_check_failed, Code::source_uncovered};
      return std::find(std::begin(kOrder), std::end(kOrder), code) - std::begin(kOrder);
    };
    // Dimensions complain one at a time, each in a line of its own.
    auto words = [](std::string text) {
      std::erase_if(text, [](char c) { return c >= '0' && c <= '9'; });
      return text;
    };
    const auto a = rank(now.code), b = rank(before.code);
    if (a == b && now.code == Code::dimension_mismatch) {
      return words(now.impossible) != words(before.impossible);
    }
    return a > b || (a == b && now.impossible.size() < before.impossible.size());
  }

  void check_sizes(const Decoder& any) const {
    auto need = [&](const char* name, std::size_t found, std::uint64_t wanted) {
      if (found == 0 || found == wanted) return;
      throw Error(Code::shape_mismatch, "the reference does not fit this model")
          .file(reference_.path)
          .tensor(name)
          .expected("a last axis of " + std::to_string(wanted))
          .actual(std::to_string(found))
          .advice("Export it from the model whose checkpoint is solved.");
    };
    need("logits", evidence_.vocab, any.spec().vocab_size);
    need("hidden.0", evidence_.hidden_size, any.spec().hidden_size);
  }

  // The stages, each on what those before it could not tell.
  std::vector<View> views(const Decoder& any) const {
    using enum View::Kind;
    std::vector<View> out;
    // A window that is hardly larger than the one before it says hardly more.
    auto add = [&](View::Kind kind, std::size_t sequences, std::size_t tokens) {
      View view(kind, evidence_, sequences, tokens, any);
      if (!out.empty() && out.back().kind() == kind && out.back().rows() == view.rows()) return;
      const bool more = !out.empty() && out.back().kind() == kind &&
                        !out.back().first_token_only() && view.rows() < 2 * out.back().rows();
      if (more) out.pop_back();
      out.push_back(std::move(view));
    };
    const bool hidden = evidence_.hidden.size() == any.spec().num_hidden_layers;
    if (hidden) add(head, kFewSequences, kFewTokens);
    if (!evidence_.middle.empty() && !evidence_.hidden.empty()) {
      add(middles, kFirstSequences, 1);
      add(middles, kFewSequences, kFewTokens);
      add(middles, kManySequences, kManyTokens);
    }
    if (!evidence_.hidden.empty()) {
      add(blocks, kFirstSequences, 1);
      add(blocks, kFewSequences, kFewTokens);
      add(blocks, kManySequences, kManyTokens);
    } else {
      add(logits, kFirstSequences, 1);
    }
    add(logits, kFewSequences, kFewTokens);
    add(logits, kManySequences, kManyTokens);
    add(logits, kMostSequences, kMostTokens);
    return out;
  }

  std::vector<std::size_t> open_in(const View& view, bool all) const {
    std::vector<std::size_t> out;
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      if (view.first_token_only() && fields_[f].unknown.later) continue;
      if (view.kind() == View::Kind::head && !fields_[f].unknown.head) continue;
      if (all || !fields_[f].decided()) out.push_back(f);
    }
    return out;
  }

  void stage(const View& view) {
    if (options_.progress) options_.progress(view.name());
    const double share = view.first_token_only() ? kFirstShare : 1.0;
    double work = work_ * share;
    work_ -= work;
    Looks looks(space_, view, fields_, threads_, work);
    std::vector<std::size_t> open = open_in(view, false);
    bool solved = looks.at(at_).fit.solved;
    if (!solved && !open.empty()) {
      at_ = descend(looks, at_, open);
      solved = looks.at(at_).fit.solved;
    }
    if (!solved && open.size() < open_in(view, true).size()) {
      // What earlier stages settled may have been settled wrongly.
      std::vector<Field> before = fields_;
      open = open_in(view, true);
      for (std::size_t f : open) fields_[f].left.reset();
      const Assignment other = descend(looks, at_, open);
      if (looks.score(other) < looks.score(at_) - 0.1) {
        at_ = other;
        solved = looks.at(at_).fit.solved;
      } else {
        fields_ = std::move(before);
        open = open_in(view, false);
      }
    }
    StageReport report{view.name(), {}, 0, {}};
    std::vector<std::vector<Tried>> tried;
    if (solved) {
      at_ = decide(looks, at_, open, tried);
    } else {
      tried = table(looks, at_, open);
    }
    work_ += std::max(0.0, work);
    report.fit = looks.at(at_).fit;
    report.looks = looks.count();
    out_.looks += report.looks;
    for (std::size_t i = 0; i < open.size(); ++i) {
      const std::size_t f = open[i];
      if (fields_[f].decided()) report.decided.push_back(fields_[f].unknown.key);
      reports_[f].stage = out_.stages.size();
      reports_[f].tried = std::move(tried[i]);
    }
    out_.stages.push_back(std::move(report));
  }

  // A factor on the rope key is a factor on the scale of its scores, unless the key is normed after
  // it. Of the two, the factor is the rarer: it becomes 1 where the scale can take it over.
  void plain_key_factor() {
    std::size_t factor = fields_.size(), scale = fields_.size();
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      if (fields_[f].unknown.key == "attention.rope_key_factor") factor = f;
      if (fields_[f].unknown.key == "attention.softmax_scale_rope") scale = f;
    }
    if (factor == fields_.size() || scale == fields_.size() || at_[factor] == 1.0) return;
    const ModelSpec spec = space_.read(at_).decoder->spec();
    if (spec.attention.k_head_norm.kind != NormKind::none) return;
    const double whole = spec.scale_rope() * spec.attention.rope_key_factor;
    const bool plain = std::fabs(whole - spec.scale_nope()) <= 1e-6 * whole;
    at_[factor] = 1.0;
    at_[scale] = plain ? 0.0 : whole;
  }

  void verdict(const Decoder& any) {
    out_.model = space_.model(at_);
    const Decoder decoder(out_.model);
    out_.comparison = compare_reference(decoder, reference_, 0x1p-24, threads_);
    out_.checks = judge(out_.comparison, {});
    out_.solved = all_pass(out_.checks);
    if (!evidence_.hidden.empty()) layers(decoder);
    // Hidden states are evidence too: a layer that does not follow from its input contradicts it.
    out_.solved = out_.solved && !out_.parts_at;
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      FieldReport& report = reports_[f];
      report.unknown = fields_[f].unknown;
      report.value = at_[f];
      report.without_effect = space_.without_effect(f);
      if (at_[f].is_number_float()) {
        report.formula = formula_of(at_[f].get<double>(), out_.model.spec);
      }
      if (out_.solved) equivalents(f, any);
      out_.fields.push_back(std::move(report));
    }
  }

  void layers(const Decoder& decoder) {
    const View view(View::Kind::blocks, evidence_, kManySequences, kManyTokens, decoder);
    for (double units : view.worst_by_layer(view.predict(decoder, threads_))) {
      if (!out_.parts_at && !(units <= 1)) out_.parts_at = out_.layers.size();
      out_.layers.push_back({units, units <= 1});
    }
    out_.head_parts =
        !out_.solved && !out_.parts_at && out_.layers.size() == out_.model.spec.num_hidden_layers;
  }

  void equivalents(std::size_t f, const Decoder& any) {
    if (!fields_[f].unknown.setting) {
      for (JointlySame& joint : jointly_same(fields_[f].unknown.key, out_.model.spec)) {
        reports_[f].same.push_back({joint.value, joint.proof, "", 0});
      }
    }
    if (!fields_[f].left || fields_[f].left->size() < 2) return;
    const View view(View::Kind::logits, evidence_, kMostSequences, kMostTokens, any);
    const Reading mine = space_.read(at_);
    const std::string& effect = mine.effect;
    const std::vector<float> chosen = view.predict(*mine.decoder, threads_);
    for (const json& value : *fields_[f].left) {
      if (value == at_[f]) continue;
      Assignment other = at_;
      other[f] = value;
      const Reading reading = space_.read(other);
      if (reading.decoder == nullptr) continue;
      FieldReport::Same same{value, "", "", 0};
      const std::vector<float> logits = view.predict(*reading.decoder, threads_);
      for (std::size_t i = 0; i < logits.size(); ++i) {
        same.logits_apart = std::max(same.logits_apart, std::fabs(static_cast<double>(logits[i]) -
                                                                  static_cast<double>(chosen[i])));
      }
      const std::string& key = fields_[f].unknown.key;
      const std::vector<FieldDifference> changed =
          compare(out_.model.spec, reading.decoder->spec());
      // Whatever differs must be without effect, each thing by itself.
      const CanonicalModel as_other = space_.model(other);
      for (const FieldDifference& one : changed) {
        const std::string why = why_same(one.path, out_.model, as_other);
        if (why.empty()) {
          same.proof.clear();
          break;
        }
        same.proof += (same.proof.empty() ? "" : "; ") + why;
      }
      if (changed.empty() && reading.effect == effect) {
        same.proof = "nothing that is computed depends on it";
      }
      if (same.proof.empty()) same.would_tell = what_would_tell(key);
      reports_[f].same.push_back(std::move(same));
    }
  }

  const Checkpoint& reference_;
  const SolveOptions& options_;
  const unsigned threads_;
  std::vector<Unknown> unknowns_;
  const Space space_;
  const Evidence evidence_;
  std::vector<Field> fields_;
  std::vector<FieldReport> reports_;
  Assignment at_;
  double work_ = kWork;
  Solution out_;
};

}  // namespace

Solution solve(const Recognition& recognition, const Checkpoint& checkpoint,
               const std::map<std::string, std::string>& settings, const Checkpoint& reference,
               const SolveOptions& options) {
  return Solver(recognition, checkpoint, settings, reference, options).run();
}

}  // namespace wb
