// The pickle machine: its input, its stack and its memo, and the loop over opcodes; see unpickler.h
// and pickle_machine.h. What each opcode does is in pickle_opcodes.cpp.
#include "checkpoint/unpickler.h"

#include "checkpoint/names.h"
#include "checkpoint/pickle_machine.h"

namespace wb {

namespace {
constexpr std::size_t kSmallIntegers = 256;
}  // namespace

std::string_view name(Kind kind) {
  static constexpr std::string_view names[] = {
      "None",     "a boolean", "an integer", "a long integer", "a float",
      "a string", "bytes",     "a tuple",    "a list",         "a dict",
      "a set",    "a name",    "a storage",  "a tensor",       "an object"};
  return names[static_cast<std::size_t>(kind)];
}

std::string Pickle::global_name(const PickleNode& node) const {
  if (node.kind != Kind::global) return "(no name)";
  return printable(global(node).module) + "." + printable(global(node).name);
}

UnpickleOptions unpickle_options(const OpenOptions& options, unsigned persistent_id_items) {
  UnpickleOptions out;
  out.persistent_id_items = persistent_id_items;
  out.max_nodes = options.max_pickle_objects;
  out.max_memo = options.max_pickle_memo;
  out.max_stack = options.max_pickle_stack;
  return out;
}

Pickle unpickle(Bytes bytes, const UnpickleOptions& options) {
  return PickleMachine(bytes, options).run();
}

PickleMachine::PickleMachine(Bytes bytes, const UnpickleOptions& options)
    : bytes_(bytes), options_(options), small_integers_(kSmallIntegers, kNoNode) {}

void PickleMachine::fail(Code code, const std::string& what) const {
  throw Error(code, "the pickle is not one that can be read, at byte " +
                        std::to_string(opcode_at_) + ": " + what)
      .advice(
          "Save plain tensors with torch.save(model.state_dict(), path); if this file came "
          "from elsewhere, do not trust it.");
}

void PickleMachine::over(const char* what, std::uint64_t limit, const char* option) const {
  throw Error(Code::limit_exceeded, std::string("the pickle has too many ") + what)
      .expected("at most " + std::to_string(limit))
      .actual("more")
      .advice(raise_limit(option));
}

Pickle PickleMachine::run() {
  if (take(1) != 0x80) malformed("it does not start with a protocol number");
  const std::uint64_t protocol = take(1);
  if (protocol < 2 || protocol > 5) {
    fail(Code::pickle_opcode,
         "protocol " + std::to_string(protocol) + " is not read, only 2 to 5 are");
  }
  while (true) {
    opcode_at_ = at_;
    if (++opcodes_ > options_.max_opcodes) fail(Code::limit_exceeded, "it has too many opcodes");
    if (at_ == bytes_.size()) malformed("it ends without a STOP");
    const auto opcode = static_cast<unsigned>(take(1));
    if (opcode == '.') break;
    if (!literal(opcode) && !text_or_bytes(opcode) && !container(opcode) && !memo(opcode) &&
        !call(opcode)) {
      refuse_opcode(opcode);
    }
  }
  out_.root = pop();
  if (!stack_.empty() || !marks_.empty()) malformed("objects are left over at its STOP");
  out_.length = at_;
  return std::move(out_);
}

// ---- input ----

std::uint64_t PickleMachine::take(unsigned width) {
  if (!within(bytes_, at_, width)) malformed("it is cut short");
  const std::uint64_t value = load_le(bytes_, at_, width);
  at_ += width;
  return value;
}

std::string_view PickleMachine::take_text(std::uint64_t length) {
  if (!within(bytes_, at_, length)) {
    malformed("a length of " + std::to_string(length) + " exceeds the " +
              std::to_string(bytes_.size() - at_) + " bytes that remain");
  }
  const std::string_view text = as_text(bytes_.subspan(at_, length));
  at_ += length;
  return text;
}

std::string_view PickleMachine::take_line() {
  const std::string_view rest = as_text(bytes_.subspan(at_));
  const std::size_t end = rest.find('\n');
  if (end == rest.npos) malformed("a name has no end");
  at_ += end + 1;
  return rest.substr(0, end);
}

// A frame only announces how many bytes follow; its length must be possible.
void PickleMachine::frame() {
  const std::uint64_t length = take(8);
  if (!within(bytes_, at_, length)) {
    malformed("a frame of " + std::to_string(length) + " bytes exceeds what remains");
  }
}

void PickleMachine::push_long(std::uint64_t length) {
  const std::string_view digits = take_text(length);
  if (digits.size() > 8) return push(add(Kind::long_integer));
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(digits[i])) << (8 * i);
  }
  const std::size_t width = 8 * digits.size();
  if (width > 0 && width < 64 && (value >> (width - 1) & 1) != 0)
    value |= ~std::uint64_t{0} << width;
  push_number(Kind::integer, static_cast<std::int64_t>(value));
}

// ---- stack ----

NodeId PickleMachine::add(Kind kind) {
  if (out_.nodes.size() >= options_.max_nodes) {
    over("objects", options_.max_nodes, "pickle-objects");
  }
  out_.nodes.emplace_back().kind = kind;
  return static_cast<NodeId>(out_.nodes.size() - 1);
}

// None, booleans and small integers are kept once: they are most of a checkpoint.
void PickleMachine::push_number(Kind kind, std::int64_t value) {
  NodeId* cached = nullptr;
  if (kind == Kind::none) cached = &none_;
  if (kind == Kind::boolean) cached = value != 0 ? &true_ : &false_;
  if (kind == Kind::integer && value >= 0 && value < static_cast<std::int64_t>(kSmallIntegers)) {
    cached = &small_integers_[static_cast<std::size_t>(value)];
  }
  if (cached != nullptr && *cached != kNoNode) return push(*cached);
  const NodeId id = add(kind);
  out_.nodes[id].number = value;
  if (cached != nullptr) *cached = id;
  push(id);
}

void PickleMachine::push_text(Kind kind, std::string_view text) {
  const NodeId id = add(kind);
  out_.nodes[id].text = text;
  push(id);
}

NodeId PickleMachine::pop() {
  if (stack_.size() <= floor()) malformed("the stack is empty");
  const NodeId id = stack_.back();
  stack_.pop_back();
  return id;
}

NodeId PickleMachine::top() const {
  if (stack_.size() <= floor()) malformed("the stack is empty");
  return stack_.back();
}

std::vector<NodeId> PickleMachine::pop_to_mark() {
  if (marks_.empty()) malformed("a mark is missing");
  const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<NodeId> items(first, stack_.end());
  stack_.erase(first, stack_.end());
  marks_.pop_back();
  return items;
}

void PickleMachine::push_tuple(std::vector<NodeId> items) {
  if (items.empty() && empty_tuple_ != kNoNode) return push(empty_tuple_);
  const NodeId id = add(Kind::tuple);
  if (items.empty()) empty_tuple_ = id;
  out_.nodes[id].items = std::move(items);
  push(id);
}

// ---- memo ----

// Picklers number the memo densely, so an index beyond the number of opcodes so far
// can only be meant to make a reader allocate.
void PickleMachine::store(std::uint64_t index) {
  if (index > opcodes_)
    malformed("memo index " + std::to_string(index) + " is out of all proportion");
  const NodeId id = top();
  if (index >= options_.max_memo) over("memo entries", options_.max_memo, "pickle-memo");
  if (index >= memo_.size()) memo_.resize(index + 1, kNoNode);
  if (memo_[index] == kNoNode) ++memo_count_;
  memo_[index] = id;
}

void PickleMachine::load(std::uint64_t index) {
  if (index >= memo_.size() || memo_[index] == kNoNode) {
    malformed("memo index " + std::to_string(index) + " was never set");
  }
  push(memo_[index]);
}

}  // namespace wb
