// The opcodes of the pickle machine; see unpickler.h and pickle_machine.h.
#include "checkpoint/unpickler.h"

#include <bit>

#include "checkpoint/names.h"
#include "checkpoint/pickle_machine.h"

namespace wb {

namespace {
constexpr std::uint64_t kMaxMarks = 1u << 20;
constexpr std::size_t kSmallIntegers = 256;

// Opcodes that exist and that no checkpoint may use; named in the refusal.
const char* refused_name(unsigned opcode) {
  switch (opcode) {
    case 'i':
      return "INST";
    case 'o':
      return "OBJ";
    case 'P':
      return "PERSID";
    case 0x82:
      return "EXT1";
    case 0x83:
      return "EXT2";
    case 0x84:
      return "EXT4";
    case 0x97:
      return "NEXT_BUFFER";
    case 0x98:
      return "READONLY_BUFFER";
    case 'S':
      return "STRING";
    case 'I':
      return "INT";
    case 'L':
      return "LONG";
    case 'F':
      return "FLOAT";
    case 'V':
      return "UNICODE";
    case 'g':
      return "GET";
    case 'p':
      return "PUT";
    case 'd':
      return "DICT";
    case 'l':
      return "LIST";
    case 0x80:
      return "PROTO (again)";
    default:
      return "unassigned";
  }
}
std::string hex(unsigned byte) {
  static constexpr char digits[] = "0123456789abcdef";
  return {'0', 'x', digits[byte >> 4 & 15], digits[byte & 15]};
}
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

void PickleMachine::refuse_opcode(unsigned opcode) const {
  fail(Code::pickle_opcode,
       "the opcode " + hex(opcode) + " (" + refused_name(opcode) + ") is refused");
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

// ---- opcode families ----

bool PickleMachine::literal(unsigned opcode) {
  switch (opcode) {
    case 'N':
      push_number(Kind::none, 0);
      return true;
    case 0x88:
      push_number(Kind::boolean, 1);
      return true;
    case 0x89:
      push_number(Kind::boolean, 0);
      return true;
    case 'J': {
      const auto value = static_cast<std::int32_t>(static_cast<std::uint32_t>(take(4)));
      push_number(Kind::integer, value);
      return true;
    }
    case 'K':
      push_number(Kind::integer, static_cast<std::int64_t>(take(1)));
      return true;
    case 'M':
      push_number(Kind::integer, static_cast<std::int64_t>(take(2)));
      return true;
    case 0x8a:
      push_long(take(1));
      return true;
    case 0x8b: {
      const std::uint64_t length = take(4);
      if (length > 0x7FFFFFFF) malformed("an integer has a negative length");
      push_long(length);
      return true;
    }
    case 'G': {  // the one big-endian field of the format
      std::uint64_t value = 0;
      for (int i = 0; i < 8; ++i) value = value << 8 | take(1);
      const NodeId id = add(Kind::real);
      out_.nodes[id].real = std::bit_cast<double>(value);
      push(id);
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::text_or_bytes(unsigned opcode) {
  Kind kind = Kind::text;
  unsigned width = 0;
  switch (opcode) {
    case 0x8c:
    case 'U':
      width = 1;
      break;  // SHORT_BINUNICODE, SHORT_BINSTRING (Python 2)
    case 'X':
    case 'T':
      width = 4;
      break;  // BINUNICODE, BINSTRING
    case 0x8d:
      width = 8;
      break;  // BINUNICODE8
    case 'C':
      kind = Kind::bytes;
      width = 1;
      break;
    case 'B':
      kind = Kind::bytes;
      width = 4;
      break;
    case 0x8e:
    case 0x96:
      kind = Kind::bytes;
      width = 8;
      break;  // BINBYTES8, BYTEARRAY8
    default:
      return false;
  }
  const std::uint64_t length = take(width);
  push_text(kind, take_text(length));
  return true;
}

bool PickleMachine::container(unsigned opcode) {
  switch (opcode) {
    case '(':
      if (marks_.size() >= kMaxMarks) fail(Code::limit_exceeded, "it has too many open marks");
      marks_.push_back(static_cast<std::uint32_t>(stack_.size()));
      return true;
    case '0':  // POP drops an open mark when nothing stands above it
      if (!marks_.empty() && stack_.size() == marks_.back())
        marks_.pop_back();
      else
        pop();
      return true;
    case '1':
      pop_to_mark();
      return true;
    case '2':
      push(top());
      return true;
    case ')':
      push_tuple({});
      return true;
    case 't':
      push_tuple(pop_to_mark());
      return true;
    case 0x85:
    case 0x86:
    case 0x87: {
      std::vector<NodeId> items(opcode - 0x84);
      for (std::size_t i = items.size(); i-- > 0;) items[i] = pop();
      push_tuple(std::move(items));
      return true;
    }
    case ']':
      push(add(Kind::list));
      return true;
    case '}':
      push(add(Kind::dict));
      return true;
    case 0x8f:
      push(add(Kind::set));
      return true;
    case 0x91: {  // FROZENSET
      std::vector<NodeId> items = pop_to_mark();
      const NodeId id = add(Kind::set);
      out_.nodes[id].items = std::move(items);
      push(id);
      return true;
    }
    case 'a': {
      const NodeId value = pop();
      append(top(), {value});
      return true;
    }
    case 'e': {
      const auto values = pop_to_mark();
      append(top(), values);
      return true;
    }
    case 's': {
      const NodeId value = pop(), key = pop();
      set_items(top(), {key, value});
      return true;
    }
    case 'u': {
      const auto pairs = pop_to_mark();
      set_items(top(), pairs);
      return true;
    }
    case 0x90: {
      const auto values = pop_to_mark();
      add_to_set(top(), values);
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::memo(unsigned opcode) {
  switch (opcode) {
    case 'q':
      store(take(1));
      return true;
    case 'r':
      store(take(4));
      return true;
    case 0x94:
      store(memo_count_);
      return true;  // MEMOIZE: the number of entries so far
    case 'h':
      load(take(1));
      return true;
    case 'j':
      load(take(4));
      return true;
    case 0x95:
      frame();
      return true;
    default:
      return false;
  }
}

bool PickleMachine::call(unsigned opcode) {
  switch (opcode) {
    case 'c': {
      const std::string_view module = take_line();
      push_global(module, take_line());
      return true;
    }
    case 0x93:
      stack_global();
      return true;
    case 'R':
    case 0x81: {  // REDUCE, NEWOBJ
      const NodeId args = pop(), callable = pop();
      push(apply(callable, args));
      return true;
    }
    case 0x92: {  // NEWOBJ_EX: keyword arguments make it nothing that we know
      const NodeId keywords = pop(), args = pop(), callable = pop();
      if (out_.at(keywords).kind != Kind::dict) malformed("keyword arguments are not a dict");
      const NodeId id = apply(callable, args);
      if (!out_.at(keywords).items.empty() && out_.at(id).kind != Kind::object) {
        malformed("keyword arguments for " + out_.global_name(out_.at(callable)));
      }
      push(id);
      return true;
    }
    case 'b': {
      const NodeId state = pop();
      build(top(), state);
      return true;
    }
    case 'Q':
      push(persistent(pop()));
      return true;
    default:
      return false;
  }
}

}  // namespace wb
