// The state of one unpickling, shared by its three parts: unpickler.cpp has input, stack and
// memo, pickle_opcodes.cpp says what each opcode does, pickle_calls.cpp what calls, states and
// persistent ids make.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "checkpoint/unpickler.h"

namespace wb {

class PickleMachine {
 public:
  PickleMachine(Bytes bytes, const UnpickleOptions& options);
  Pickle run();

 private:
  // --- opcodes (pickle_opcodes.cpp); each returns false for an opcode of another family ---
  bool literal(unsigned opcode);
  bool text_or_bytes(unsigned opcode);
  bool container(unsigned opcode);
  bool memo(unsigned opcode);
  bool call(unsigned opcode);
  [[noreturn]] void refuse_opcode(unsigned opcode) const;

  // --- input ---
  std::uint64_t take(unsigned width);  // little-endian
  std::string_view take_text(std::uint64_t length);
  std::string_view take_line();
  void push_long(std::uint64_t length);
  void frame();

  // --- stack ---
  NodeId add(Kind kind);  // throws limit_exceeded
  void push(NodeId id) {
    if (stack_.size() >= options_.max_stack)
      over("open objects", options_.max_stack, "pickle-stack");
    stack_.push_back(id);
  }
  void push_number(Kind kind, std::int64_t value);
  void push_text(Kind kind, std::string_view text);
  NodeId pop();
  NodeId top() const;
  std::vector<NodeId> pop_to_mark();
  void push_tuple(std::vector<NodeId> items);
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  void store(std::uint64_t index);
  void load(std::uint64_t index);

  // --- what opcodes make (pickle_calls.cpp) ---
  void append(NodeId target, const std::vector<NodeId>& values);
  void set_items(NodeId target, const std::vector<NodeId>& pairs);
  void add_to_set(NodeId target, const std::vector<NodeId>& values);
  void push_global(std::string_view module, std::string_view name);
  void stack_global();
  NodeId apply(NodeId callable, NodeId args);
  void count_copies(std::size_t items);
  NodeId make_dict(NodeId args, GlobalKind kind);
  NodeId make_sequence(NodeId args, Kind kind);
  NodeId make_bytes(NodeId args);
  void build(NodeId target, NodeId state);
  NodeId persistent(NodeId id);
  void check_storage_id(const PickleNode& id) const;
  void check_pairs(const std::vector<NodeId>& pairs) const;

  [[noreturn]] void fail(Code code, const std::string& what) const;
  // Beyond `limit`, which --limit `option` raises.
  [[noreturn]] void over(const char* what, std::uint64_t limit, const char* option) const;
  [[noreturn]] void malformed(const std::string& what) const { fail(Code::pickle_structure, what); }

  Bytes bytes_;
  const UnpickleOptions& options_;
  std::uint64_t at_ = 0, opcode_at_ = 0, opcodes_ = 0;
  Pickle out_;
  std::vector<NodeId> stack_;
  std::vector<std::uint32_t> marks_;
  std::vector<NodeId> memo_;
  std::uint64_t memo_count_ = 0, copied_ = 0;
  NodeId none_ = kNoNode, true_ = kNoNode, false_ = kNoNode, empty_tuple_ = kNoNode;
  std::vector<NodeId> small_integers_;
  std::unordered_map<std::string, NodeId> interned_;  // "module\0name"
};

}  // namespace wb
