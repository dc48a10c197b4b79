// What a pickle describes, as inert data: nodes in one arena, referring to each
// other by number. Destroying it never recurses, however deep the file nests.
// Text and bytes are views of the pickle, which must outlive them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/pickle_globals.h"

namespace wb {

using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0xFFFFFFFF;

enum class Kind : std::uint8_t {
  none,
  boolean,
  integer,
  long_integer,  // beyond 64 bits; its value is not kept
  real,
  text,  // not yet known to be UTF-8
  bytes,
  tuple,
  list,
  dict,  // items: key, value, key, value, ...
  set,
  global,   // number: index into Pickle::globals
  storage,  // a persistent id; args: its tuple
  call,     // a rebuild function or tensor class; callable, args, state
  object,   // anything else, inert; items: what was appended or set on it
};
std::string_view name(Kind kind);

struct PickleNode {
  Kind kind = Kind::none;
  bool built = false;  // a dict that a call made, so that BUILD may give it a state
  NodeId callable = kNoNode, args = kNoNode, state = kNoNode;
  std::int64_t number = 0;  // boolean, integer, global
  double real = 0;
  std::string_view text;
  std::vector<NodeId> items;
};

struct PickleGlobal {
  std::string_view module, name;
  GlobalKind kind;
};

struct Pickle {
  std::vector<PickleNode> nodes;
  std::vector<PickleGlobal> globals;
  NodeId root = kNoNode;
  std::uint64_t length = 0;  // bytes up to and with STOP

  const PickleNode& at(NodeId id) const { return nodes[id]; }
  // The global that `node` (a global, or a call's or object's callable) stands for.
  const PickleGlobal& global(const PickleNode& node) const {
    return globals[static_cast<std::size_t>(node.number)];
  }
  // "collections.OrderedDict", safe to print.
  std::string global_name(const PickleNode& node) const;
};

}  // namespace wb
