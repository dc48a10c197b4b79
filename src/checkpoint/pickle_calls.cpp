// What calls, states and persistent ids make: only inert nodes. The few names with
// a meaning become dicts, sequences, bytes and tensor descriptions; everything
// else becomes an object that can be neither called nor read as a tensor.
#include <utility>

#include "checkpoint/names.h"
#include "checkpoint/pickle_machine.h"

namespace wb {

namespace {
bool is_hashable(Kind kind) {
  return kind != Kind::list && kind != Kind::dict && kind != Kind::set;
}
bool is_sequence(Kind kind) {
  return kind == Kind::list || kind == Kind::tuple || kind == Kind::set;
}
std::string the(Kind kind) { return std::string(name(kind)); }
}  // namespace

void PickleMachine::append(NodeId target, const std::vector<NodeId>& values) {
  PickleNode& node = out_.nodes[target];
  if (node.kind != Kind::list && node.kind != Kind::object) {
    malformed("it appends to " + the(node.kind) + ", which is no list");
  }
  node.items.insert(node.items.end(), values.begin(), values.end());
}

void PickleMachine::check_pairs(const std::vector<NodeId>& pairs) const {
  if (pairs.size() % 2 != 0) malformed("a dict gets a key without a value");
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const Kind kind = out_.at(pairs[i]).kind;
    if (!is_hashable(kind)) malformed(the(kind) + " is used as a dict key");
  }
}

void PickleMachine::set_items(NodeId target, const std::vector<NodeId>& pairs) {
  PickleNode& node = out_.nodes[target];
  if (node.kind != Kind::dict && node.kind != Kind::object) {
    malformed("it sets items of " + the(node.kind) + ", which is no dict");
  }
  check_pairs(pairs);
  node.items.insert(node.items.end(), pairs.begin(), pairs.end());
}

void PickleMachine::add_to_set(NodeId target, const std::vector<NodeId>& values) {
  PickleNode& node = out_.nodes[target];
  if (node.kind != Kind::set) malformed("it adds to " + the(node.kind) + ", which is no set");
  for (NodeId value : values) {
    if (!is_hashable(out_.at(value).kind)) malformed(the(out_.at(value).kind) + " is put in a set");
  }
  node.items.insert(node.items.end(), values.begin(), values.end());
}

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  std::string key(module);
  key += '\0';
  key += name;
  const auto [entry, fresh] = interned_.try_emplace(std::move(key), kNoNode);
  if (fresh) {
    const GlobalKind kind = classify_global(module, name);
    entry->second = add(Kind::global);
    out_.nodes[entry->second].number = static_cast<std::int64_t>(out_.globals.size());
    out_.globals.push_back({module, name, kind});
  }
  push(entry->second);
}

void PickleMachine::stack_global() {
  const PickleNode &name = out_.at(pop()), &module = out_.at(pop());
  if (name.kind != Kind::text || module.kind != Kind::text) {
    malformed("a name is made of something other than two strings");
  }
  push_global(module.text, name.text);
}

NodeId PickleMachine::apply(NodeId callable, NodeId args) {
  const PickleNode& function = out_.at(callable);
  if (function.kind != Kind::global) malformed("it calls " + the(function.kind));
  if (out_.at(args).kind != Kind::tuple) malformed("it calls with arguments that are no tuple");
  const GlobalKind kind = out_.global(function).kind;
  switch (kind) {
    case GlobalKind::ordered_dict:
    case GlobalKind::default_dict:
    case GlobalKind::counter:
    case GlobalKind::dict:
      return make_dict(args, kind);
    case GlobalKind::list:
      return make_sequence(args, Kind::list);
    case GlobalKind::tuple:
    case GlobalKind::torch_size:
      return make_sequence(args, Kind::tuple);
    case GlobalKind::set:
      return make_sequence(args, Kind::set);
    case GlobalKind::encode:
      return make_bytes(args);
    default:
      break;
  }
  const bool inert = kind == GlobalKind::opaque || kind == GlobalKind::storage_class ||
                     kind == GlobalKind::torch_dtype;
  const NodeId id = add(inert ? Kind::object : Kind::call);
  out_.nodes[id].callable = callable;
  out_.nodes[id].args = args;
  return id;
}

// A call of a few bytes copies as many items as its argument has.
void PickleMachine::count_copies(std::size_t items) {
  copied_ += items;
  if (copied_ > options_.max_nodes) over("copied items", options_.max_nodes, "pickle-objects");
}

// OrderedDict(), OrderedDict([[k, v], ...]), Counter({...}), defaultdict(factory).
NodeId PickleMachine::make_dict(NodeId args, GlobalKind kind) {
  const NodeId id = add(Kind::dict);
  out_.nodes[id].built = true;
  const std::vector<NodeId>& given = out_.at(args).items;
  if (given.empty()) return id;
  if (kind == GlobalKind::default_dict) {
    const Kind factory = out_.at(given[0]).kind;
    if (given.size() != 1 || (factory != Kind::global && factory != Kind::none)) {
      malformed("a defaultdict is made from something other than a name");
    }
    return id;
  }
  const PickleNode& content = out_.at(given[0]);
  if (given.size() != 1 || (content.kind != Kind::list && content.kind != Kind::dict)) {
    malformed("a dict is made from something other than a list of pairs");
  }
  count_copies(content.items.size());
  std::vector<NodeId> pairs;
  if (content.kind == Kind::dict) {
    pairs = content.items;
  } else {
    for (NodeId entry : content.items) {
      const PickleNode& pair = out_.at(entry);
      if ((pair.kind != Kind::list && pair.kind != Kind::tuple) || pair.items.size() != 2) {
        malformed("a dict is made from something other than a list of pairs");
      }
      pairs.insert(pairs.end(), pair.items.begin(), pair.items.end());
    }
  }
  check_pairs(pairs);
  out_.nodes[id].items = std::move(pairs);
  return id;
}

NodeId PickleMachine::make_sequence(NodeId args, Kind kind) {
  const NodeId id = add(kind);
  const std::vector<NodeId>& given = out_.at(args).items;
  if (given.empty()) return id;
  if (given.size() != 1 || !is_sequence(out_.at(given[0]).kind)) {
    malformed(the(kind) + " is made from something other than one sequence");
  }
  count_copies(out_.at(given[0]).items.size());
  std::vector<NodeId> items = out_.at(given[0]).items;
  out_.nodes[id].items = std::move(items);
  return id;
}

// The text is kept as it stands: nothing here reads the content of bytes.
NodeId PickleMachine::make_bytes(NodeId args) {
  const std::vector<NodeId>& given = out_.at(args).items;
  if (given.empty() || given.size() > 2 || out_.at(given[0]).kind != Kind::text) {
    malformed("_codecs.encode is called with something other than a string");
  }
  const std::string_view text = out_.at(given[0]).text;
  const NodeId id = add(Kind::bytes);
  out_.nodes[id].text = text;
  return id;
}

void PickleMachine::build(NodeId target, NodeId state) {
  PickleNode& node = out_.nodes[target];
  if (node.kind == Kind::dict && node.built) {
    // state_dict's _metadata (module versions): consumed and dropped.
    if (out_.at(state).kind != Kind::dict) malformed("a dict gets a state that is no dict");
    return;
  }
  if (node.kind != Kind::object && node.kind != Kind::call) {
    malformed("it gives a state to " + the(node.kind));
  }
  if (node.state != kNoNode) malformed("it gives a state to one object twice");
  node.state = state;
}

NodeId PickleMachine::persistent(NodeId id) {
  if (options_.persistent_id_items == 0) {
    fail(Code::pickle_storage, "it refers to a storage where there are none");
  }
  const PickleNode& node = out_.at(id);
  if (node.kind != Kind::tuple || node.items.empty()) {
    fail(Code::pickle_storage, "a storage id is " + the(node.kind) + ", not a tuple");
  }
  const PickleNode& type = out_.at(node.items[0]);
  if (type.kind != Kind::text && type.kind != Kind::bytes) {
    fail(Code::pickle_storage, "a storage id does not start with a word");
  }
  if (type.text == "module") {
    throw Error(Code::format_refused, "the file holds a whole module, with its source code")
        .advice("Save the weights alone: torch.save(model.state_dict(), path).");
  }
  check_storage_id(node);
  const NodeId storage = add(Kind::storage);
  out_.nodes[storage].args = id;
  return storage;
}

// ('storage', class, key, location, numel[, view]): types here, values by the container.
void PickleMachine::check_storage_id(const PickleNode& id) const {
  auto refuse = [&](const std::string& what) {
    fail(Code::pickle_storage, "a storage id " + what);
  };
  const std::string_view type = out_.at(id.items[0]).text;
  if (type != "storage") refuse("is of the unknown type \"" + printable(type) + "\"");
  if (id.items.size() != options_.persistent_id_items) {
    refuse("has " + std::to_string(id.items.size()) + " items, not " +
           std::to_string(options_.persistent_id_items));
  }
  const PickleNode& cls = out_.at(id.items[1]);
  if (cls.kind != Kind::global || out_.global(cls).kind != GlobalKind::storage_class) {
    refuse("names no storage class but " +
           (cls.kind == Kind::global ? out_.global_name(cls) : the(cls.kind)));
  }
  const PickleNode& key = out_.at(id.items[2]);
  if (key.kind != Kind::text) refuse("has a key that is " + the(key.kind));
  if (key.text.empty() || key.text.size() > 64) refuse("has a key of the wrong length");
  for (char c : key.text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '_' || c == '-';
    if (!plain) refuse("has the key \"" + printable(key.text) + "\", which is no plain word");
  }
  const PickleNode& location = out_.at(id.items[3]);
  if (location.kind != Kind::text) refuse("has a location that is " + the(location.kind));
  const PickleNode& numel = out_.at(id.items[4]);
  if (numel.kind != Kind::integer || numel.number < 0)
    refuse("has an element count that is no size");
}

}  // namespace wb
