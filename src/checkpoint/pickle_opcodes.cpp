// What each opcode of protocols 2 to 5 does to the stack and the memo. Refuses, by name, the
// opcodes that no checkpoint may use; what calls and states make is in pickle_calls.cpp.
#include <bit>
#include <utility>

#include "checkpoint/pickle_machine.h"

namespace wb {

namespace {
constexpr std::uint64_t kMaxMarks = 1u << 20;

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

void PickleMachine::refuse_opcode(unsigned opcode) const {
  fail(Code::pickle_opcode,
       "the opcode " + hex(opcode) + " (" + refused_name(opcode) + ") is refused");
}

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
