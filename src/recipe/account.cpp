// The second half of an application (apply.h): every canonical tensor made, and every
// source tensor accounted for. Nothing is dropped in silence: what no rule covers is an
// error that lists it.
#include <algorithm>

#include "recipe/apply.h"

namespace wb {

namespace {

constexpr std::size_t kShown = 12;  // lines of a list in a message
constexpr std::size_t kNamed = 4;   // canonical names that an account line spells out

std::string anonymous(const std::string& name) {
  Pattern pattern;
  pattern.parts.push_back({Pattern::Kind::literal, name});
  return pattern.anonymous();
}

// "\n  pattern  x12, e.g. first" per group, in order of first appearance.
class Groups {
 public:
  void add(const std::string& name, const std::string& note) {
    std::string key = anonymous(name);
    auto [it, added] = index_.try_emplace(key, rows_.size());
    if (added) rows_.push_back({key, name, note, 0});
    ++rows_[it->second].count;
  }
  std::string text() const {
    std::string out;
    for (std::size_t i = 0; i < rows_.size() && i < kShown; ++i) {
      const Row& row = rows_[i];
      out +=
          "\n  " + (row.count == 1 ? row.first : row.pattern + "  x" + std::to_string(row.count));
      if (row.count > 1) out += ", the first is " + row.first;
      if (!row.note.empty()) out += ": " + row.note;
    }
    if (rows_.size() > kShown) {
      out += "\n  ... and " + std::to_string(rows_.size() - kShown) + " more patterns";
    }
    return out + "\n";
  }

 private:
  struct Row {
    std::string pattern, first, note;
    std::size_t count;
  };
  std::map<std::string, std::size_t> index_;
  std::vector<Row> rows_;
};

}  // namespace

void Application::tensors() {
  canonical_ = canonical_tensors(model_.spec);
  wanted_.reserve(canonical_.size());
  for (std::size_t i = 0; i < canonical_.size(); ++i) wanted_.emplace(canonical_[i].name, i);
  for (const TensorRule& rule : recipe_.tensors) {
    each_index(rule.canonical, [&] {
      std::string name = rule.canonical.expand(eval_.indices);
      if (wanted_.count(name) != 0) tensor(rule, name);
    });
  }
  std::set<std::string> reported;
  for (const Missing& m : missing_) reported.insert(m.canonical);
  for (const CanonicalTensor& want : canonical_) {
    if (!model_.has(want.name) && reported.count(want.name) == 0) {
      missing_.push_back({want.name, ""});
    }
  }
  if (!missing_.empty()) missing();
}

void Application::tensor(const TensorRule& rule, const std::string& name) {
  eval_.suffix = rule.suffix;
  eval_.used.clear();
  std::optional<Tensor> made =
      located(rule.place, "the tensor " + name, [&]() -> std::optional<Tensor> {
        try {
          return eval_.tensor(*rule.expr);
        } catch (const MissingSource& gone) {
          missing_.push_back({name, gone.name});  // all of them are reported together
          return std::nullopt;
        }
      });
  eval_.suffix.clear();
  if (!made) return;
  const std::size_t at = wanted_.at(name);
  const Shape& want = canonical_[at].shape;
  if (made->shape() != want) {
    throw Error(Code::shape_mismatch, "the tensor (" + made->describe() + "; " +
                                          at_line(rule.place) +
                                          ") does not have the shape that the model calls for")
        .file(checkpoint_.path)
        .tensor(name)
        .expected(to_string(want))
        .actual(to_string(made->shape()))
        .advice(
            "Correct the recipe's [dims] or the tensor's expression, or get the checkpoint "
            "again if the recipe is known to be right.");
  }
  std::sort(eval_.used.begin(), eval_.used.end());
  eval_.used.erase(std::unique(eval_.used.begin(), eval_.used.end()), eval_.used.end());
  for (std::size_t i : eval_.used) {
    uses_.push_back({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(at)});
  }
  model_.tensors.emplace(name, std::move(*made));
}

void Application::missing() const {
  Groups groups;
  for (const Missing& m : missing_) {
    groups.add(m.canonical, m.source.empty()
                                ? "no line of [tensors] makes it"
                                : "it needs " + m.source + ", which the checkpoint does not have");
  }
  std::size_t n = missing_.size();
  throw Error(Code::canonical_missing,
              std::to_string(n) + (n == 1 ? " tensor" : " tensors") +
                  " that the model calls for cannot be made by the recipe " + recipe_.name + ":" +
                  groups.text())
      .file(checkpoint_.path)
      .advice(
          "Get the whole checkpoint; or, if these tensors are meant to be absent, correct "
          "[model] and [tensors] of the recipe.");
}

void Application::account() {
  std::size_t n = checkpoint_.tensors.size();
  lines_.resize(n);
  settled_.resize(n);
  std::stable_sort(uses_.begin(), uses_.end(),
                   [](const UsedFor& a, const UsedFor& b) { return a.source < b.source; });
  auto use = uses_.begin();
  for (std::size_t i = 0; i < n; ++i) {
    const auto first = use;
    while (use != uses_.end() && use->source == i) ++use;
    const SourceTensor& tensor = source_.tensor(i);
    lines_[i] = {tensor.name, Fate::outside, "", tensor.tensor.nbytes()};
    if (!source_.inside(i)) {
      lines_[i].detail = "not under the prefix " + model_.prefix;
    } else if (first != use) {
      lines_[i].fate = Fate::used;
      const auto count = static_cast<std::size_t>(use - first);
      std::string& detail = lines_[i].detail;
      for (std::size_t k = 0; k < std::min(count, kNamed); ++k) {
        const UsedFor& one = first[static_cast<std::ptrdiff_t>(k)];
        detail += (k > 0 ? ", " : "") + canonical_[one.canonical].name;
      }
      if (count > kNamed) detail += " and " + std::to_string(count - kNamed) + " more";
    } else {
      continue;
    }
    settled_[i] = true;
  }
  aliases();
  left_out();
  uncovered();
  model_.account = std::move(lines_);
}

void Application::aliases() {
  for (const AliasRule& rule : recipe_.aliases) {
    each_index(rule.name, [&] {
      std::size_t i = source_.find(eval_.expand(rule.name));
      if (i == Source::kNone || settled_[i]) return;
      std::string of = eval_.expand(rule.of);
      std::size_t j = source_.find(of);
      const SourceTensor& tensor = source_.tensor(i);
      if (j == Source::kNone || !same_tensor(tensor, source_.tensor(j))) {
        throw Error(Code::recipe_check_failed,
                    "the tensor should be the same as " + of + " (" + at_line(rule.place) +
                        "), but " +
                        (j == Source::kNone ? "that one is not there" : "its bytes differ"))
            .file(checkpoint_.path)
            .tensor(tensor.name)
            .advice("If the two were trained apart, the recipe has to use both.");
      }
      lines_[i].fate = Fate::alias;
      lines_[i].detail = "the same as " + of;
      settled_[i] = true;
    });
  }
}

void Application::check_left_out(const LeftOutRule& rule, std::size_t source) {
  const SourceTensor& tensor = source_.tensor(source);
  eval_.difference.clear();
  const std::size_t before = eval_.used.size();
  bool good = located(rule.place, "the check of " + tensor.name, [&] {
    const Tensor subject = eval_.read(std::string(source_.name(source)));
    eval_.subject = &subject;
    return eval_.boolean(*rule.check);
  });
  eval_.subject = nullptr;
  eval_.used.resize(before);
  if (good) return;
  throw Error(Code::recipe_check_failed,
              "the tensor would be left out (" + rule.reason + "), but it is not what the recipe " +
                  "takes it for: " + rule.check->text + " is false (" + at_line(rule.place) + ")" +
                  (eval_.difference.empty() ? "" : "; " + eval_.difference))
      .file(checkpoint_.path)
      .tensor(tensor.name)
      .advice(
          "The model computes something else than the recipe says; it needs a recipe of its "
          "own.");
}

void Application::left_out() {
  auto leave = [&](const LeftOutRule& rule, std::size_t i) {
    if (i == Source::kNone || settled_[i]) return;
    if (rule.check != nullptr) check_left_out(rule, i);
    if (rule.mtp) model_.mtp_aside.emplace_back(source_.tensor(i).name, source_.tensor(i).tensor);
    lines_[i].fate = Fate::left_out;
    lines_[i].detail = rule.reason;
    settled_[i] = true;
  };
  for (const LeftOutRule& rule : recipe_.left_out) {
    if (!rule.source.has_star()) {
      each_index(rule.source, [&] { leave(rule, source_.find(eval_.expand(rule.source))); });
      continue;
    }
    // Computed indices are filled in first; what is left is held against every name.
    std::vector<std::pair<Pattern, Indices>> patterns;
    if (rule.source.has_computed()) {
      each_index(rule.source,
                 [&] { patterns.emplace_back(eval_.filled(rule.source), eval_.indices); });
    } else {
      patterns.emplace_back(rule.source, Indices{});
    }
    for (const auto& [pattern, indices] : patterns) {
      for (std::size_t i = 0; i < settled_.size(); ++i) {
        if (settled_[i] || !pattern.match(source_.name(i), &eval_.indices)) continue;
        eval_.indices.insert(indices.begin(), indices.end());
        leave(rule, i);
      }
    }
    eval_.indices.clear();
  }
}

void Application::uncovered() const {
  Groups groups;
  std::size_t n = 0;
  for (std::size_t i = 0; i < settled_.size(); ++i) {
    if (settled_[i]) continue;
    ++n;
    groups.add(source_.tensor(i).name, "");
  }
  if (n == 0) return;
  throw Error(Code::source_uncovered, std::to_string(n) + (n == 1 ? " tensor" : " tensors") +
                                          " of the checkpoint " + (n == 1 ? "is" : "are") +
                                          " neither used nor left out by the recipe " +
                                          recipe_.name + ":" + groups.text())
      .file(checkpoint_.path)
      .advice(
          "What they do in the model is not known, so nothing is converted. A copy of the recipe "
          "with lines for them in [tensors] or [left_out] can be given with --recipe FILE.");
}

}  // namespace wb
