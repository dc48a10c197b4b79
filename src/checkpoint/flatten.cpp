// The walk over a pickle's tree; see flatten.h.
#include "checkpoint/flatten.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/names.h"

namespace wb {

namespace {
constexpr std::size_t kMaxDepth = 64;
// Steps of the whole walk. A tree that is written out takes as many as its containers have items;
// one that shares its branches ("billion laughs") would unfold to more than any memory holds, so
// that sharing is given some room and no more.
constexpr std::uint64_t kSharedFactor = 4, kSharedFloor = 1u << 16;
constexpr std::uint64_t kMaxFacts = 1u << 20;
constexpr std::uint64_t kMaxNameBytes = 256u << 20;
constexpr std::size_t kMaxFactText = 1u << 20;
constexpr std::size_t kMaxFactBytes = 16u << 20;  // of texts and keys, which may be shared

[[noreturn]] void too_many(const char* what, std::uint64_t limit) {
  throw Error(Code::limit_exceeded, std::string("the checkpoint unfolds to too many ") + what)
      .expected("at most " + std::to_string(limit))
      .actual("more")
      .advice("Save the state_dict alone, without what stands around it.");
}

class Walk {
 public:
  Walk(const Pickle& pickle, const TensorReader& reader, const OpenOptions& options,
       Checkpoint& out)
      : pickle_(pickle), reader_(reader), options_(options), out_(out) {}

  void run() {
    std::uint64_t written = 0;
    for (const PickleNode& node : pickle_.nodes) written += node.items.size();
    max_visits_ = kSharedFloor + kSharedFactor * written;
    nlohmann::json facts;
    if (reader_.is_tensor(pickle_.root)) {
      path_ = "tensor";
      out_.notes.push_back("the file holds one bare tensor; it is called \"tensor\" here");
    }
    visit(pickle_.root, facts);
    if (facts.is_object()) out_.facts = std::move(facts);
    write_notes();
  }

 private:
  void step() {
    if (++visits_ > max_visits_) too_many("entries", max_visits_);
  }

  // Recursion is safe here: it is at most kMaxDepth deep.
  void visit(NodeId id, nlohmann::json& fact) {
    step();
    const PickleNode& node = pickle_.at(id);
    switch (node.kind) {
      case Kind::call:
        emit(id);
        break;
      case Kind::dict:
      case Kind::list:
      case Kind::tuple:
        enter(id, fact);
        break;
      case Kind::object:
        note_object(id, pickle_.global_name(pickle_.at(node.callable)));
        break;
      case Kind::none:
        break;
      case Kind::boolean:
      case Kind::integer:
      case Kind::real:
      case Kind::text:
        add_fact(node, fact);
        break;
      case Kind::global:
        note("the name " + pickle_.global_name(node));
        break;
      default:
        note(std::string(name(node.kind)));
        break;
    }
  }

  void enter(NodeId id, nlohmann::json& fact) {
    if (std::find(open_.begin(), open_.end(), id) != open_.end()) {
      throw Error(Code::pickle_structure, "the entry \"" + printable(path_) + "\" contains itself")
          .advice("The checkpoint is damaged or hostile; get it again from its author.");
    }
    if (open_.size() >= kMaxDepth) {
      throw Error(Code::limit_exceeded, "the entry \"" + printable(path_) + "\" nests too deep")
          .expected("at most " + std::to_string(kMaxDepth) + " levels")
          .actual("more")
          .advice("Save the state_dict alone, without what stands around it.");
    }
    open_.push_back(id);
    if (pickle_.at(id).kind == Kind::dict) {
      visit_dict(pickle_.at(id), fact);
    } else if (!scalar_list(pickle_.at(id), fact)) {
      visit_list(pickle_.at(id), fact);
    }
    open_.pop_back();
  }

  void visit_dict(const PickleNode& node, nlohmann::json& fact) {
    for (std::size_t i = 0; i + 1 < node.items.size(); i += 2) {
      const std::optional<std::string> key = key_text(pickle_.at(node.items[i]));
      if (!key) ++nameless_;
      visit_child(key.value_or("?"), node.items[i + 1], fact);
      if (!key) --nameless_;
    }
  }

  void visit_list(const PickleNode& node, nlohmann::json& fact) {
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      visit_child(std::to_string(i), node.items[i], fact);
    }
  }

  void visit_child(const std::string& key, NodeId child, nlohmann::json& fact) {
    const std::size_t length = path_.size();
    if (open_.size() > 1) path_ += '.';
    path_ += key;
    nlohmann::json below;
    visit(child, below);
    if (!below.is_null() && nameless_ == 0) keep_fact(key, std::move(below), fact);
    path_.resize(length);
  }

  void keep_fact(const std::string& key, nlohmann::json value, nlohmann::json& fact) {
    if (!is_utf8(key)) return note("a key that is not UTF-8");
    if (fact.contains(key)) {
      throw Error(Code::tensor_name, "the entry \"" + printable(path_) + "\" occurs twice")
          .advice("Rename one of them where the checkpoint is made, then save it again.");
    }
    if (!take_bytes(key.size())) return note("facts beyond 16 MiB");
    fact[key] = std::move(value);
  }

  // How a key reads in a name; nullopt for keys that no name can be made of.
  static std::optional<std::string> key_text(const PickleNode& key) {
    if (key.kind == Kind::text) return std::string(key.text);
    if (key.kind == Kind::integer) return std::to_string(key.number);
    if (key.kind == Kind::boolean) return key.number != 0 ? "True" : "False";
    return std::nullopt;
  }

  // ---- tensors ----

  void emit(NodeId id) {
    if (nameless_ > 0) {
      throw Error(Code::tensor_name, "the tensor at \"" + printable(path_) +
                                         "\" stands under a key that is neither text nor integer")
          .advice("Use strings as keys where the checkpoint is made, then save it again.");
    }
    check_tensor_name(path_);
    if (out_.tensors.size() >= options_.max_tensors) {
      throw Error(Code::limit_exceeded, "the checkpoint unfolds to too many tensors")
          .expected("at most " + std::to_string(options_.max_tensors))
          .actual("more")
          .advice(raise_limit("tensors"));
    }
    name_bytes_ += path_.size();
    if (name_bytes_ > kMaxNameBytes) too_many("bytes of names", kMaxNameBytes);
    SourceTensor tensor = reader_.read(id, path_);
    total_bytes_ = checked_add(total_bytes_, tensor.tensor.nbytes(), "the checkpoint's size");
    if (total_bytes_ > options_.max_total_bytes) {
      throw Error(Code::limit_exceeded, "the tensors would unfold to too many bytes")
          .tensor(path_)
          .expected("at most " + std::to_string(options_.max_total_bytes))
          .actual(std::to_string(total_bytes_))
          .advice(
              "An expanded tensor (stride 0) claims more than its storage holds; store it "
              "unexpanded. " +
              raise_limit("total-bytes"));
    }
    out_.tensors.push_back(std::move(tensor));
  }

  // ---- facts ----

  void add_fact(const PickleNode& node, nlohmann::json& fact) {
    if (++facts_ > kMaxFacts) too_many("facts", kMaxFacts);
    switch (node.kind) {
      case Kind::boolean:
        fact = node.number != 0;
        break;
      case Kind::integer:
        fact = node.number;
        break;
      case Kind::real:
        fact = node.real;
        break;
      case Kind::text:
        if (node.text.size() > kMaxFactText || !is_utf8(node.text)) {
          return note("a string that is too long or not UTF-8");
        }
        if (!take_bytes(node.text.size())) return note("facts beyond 16 MiB");
        fact = std::string(node.text);
        break;
      default:
        break;
    }
  }

  bool take_bytes(std::size_t bytes) {
    if (bytes > kMaxFactBytes - fact_bytes_) return false;
    fact_bytes_ += bytes;
    return true;
  }

  // A list of nothing but scalars becomes an array; false for any other list.
  bool scalar_list(const PickleNode& node, nlohmann::json& fact) {
    for (NodeId item : node.items) {
      const Kind kind = pickle_.at(item).kind;
      const bool scalar = kind == Kind::boolean || kind == Kind::integer || kind == Kind::real ||
                          kind == Kind::text || kind == Kind::none;
      if (!scalar) return false;
    }
    if (++facts_ > kMaxFacts) too_many("facts", kMaxFacts);
    fact = nlohmann::json::array();
    for (NodeId item : node.items) {
      step();
      nlohmann::json value;
      add_fact(pickle_.at(item), value);
      fact.push_back(std::move(value));
    }
    return true;
  }

  // ---- notes ----

  void note(const std::string& what) {
    auto [entry, fresh] = seen_.try_emplace(what);
    if (fresh) entry->second.first_path = path_.empty() ? "the top" : printable(path_);
    ++entry->second.count;
  }

  // Tensors inside an inert object are not read; the note says that there are some.
  void note_object(NodeId id, const std::string& global) {
    note("an object of " + global + (holds_tensors(id) ? ", with tensors inside" : ""));
  }

  // Looks as far as the walk's budget for such looks goes, for its answer is only a note.
  bool holds_tensors(NodeId id) {
    std::vector<NodeId> todo{id};
    while (!todo.empty()) {
      const PickleNode& node = pickle_.at(todo.back());
      todo.pop_back();
      if (node.kind == Kind::call) return true;
      if (node.items.size() + 3 > look_budget_) return false;
      look_budget_ -= node.items.size() + 3;
      if (node.args != kNoNode) todo.push_back(node.args);
      if (node.state != kNoNode) todo.push_back(node.state);
      todo.insert(todo.end(), node.items.begin(), node.items.end());
    }
    return false;
  }

  void write_notes() {
    for (const auto& [what, seen] : seen_) {
      std::string text = "not read: " + what + " at " + seen.first_path;
      if (seen.count > 1) text += " and " + std::to_string(seen.count - 1) + " more like it";
      out_.notes.push_back(std::move(text));
    }
  }

  struct Seen {
    std::string first_path;
    std::uint64_t count = 0;
  };
  const Pickle& pickle_;
  const TensorReader& reader_;
  const OpenOptions& options_;
  Checkpoint& out_;
  std::string path_;
  std::vector<NodeId> open_;  // the containers around the current node
  unsigned nameless_ = 0;     // how many keys of the path cannot be named
  std::uint64_t visits_ = 0, max_visits_ = 0, facts_ = 0, fact_bytes_ = 0, name_bytes_ = 0,
                total_bytes_ = 0;
  std::uint64_t look_budget_ = 1u << 20;
  std::map<std::string, Seen> seen_;
};
}  // namespace

void flatten(const Pickle& pickle, const TensorReader& reader, const OpenOptions& options,
             Checkpoint& out) {
  Walk(pickle, reader, options, out).run();
}

}  // namespace wb
