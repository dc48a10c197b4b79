// Pickles that attack: nothing they name is run, and what they claim is checked
// before it is believed (formats.md E13, E14).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint.h"
#include "checkpoint/pickle_globals.h"
#include "checkpoint/unpickler.h"
#include "tensor/read.h"
#include "unit/checkpoint/builders.h"

namespace wb::test {
namespace {

Error pickle_error(const std::string& pickle) { return error_of(torch_zip(pickle, {})); }
// Opcodes of one value, with PROTO and STOP around them.
Error value_error(const std::string& value) {
  return pickle_error(pkl::proto2 + value + pkl::stop);
}
std::string bytes_of(std::initializer_list<unsigned> values) {
  std::string out;
  for (unsigned v : values) out += static_cast<char>(v);
  return out;
}
std::string stack_global(const std::string& module, const std::string& name) {
  return pkl::text(module) + pkl::text(name) + "\x93";
}

// ---- names ----

struct Name {
  const char *module, *name;
  // Else GoogleTest names the test by the bytes of two pointers, another each run.
  friend void PrintTo(const Name& global, std::ostream* out) {
    *out << global.module << '.' << global.name;
  }
};
class RefusedName : public testing::TestWithParam<Name> {};

TEST_P(RefusedName, IsRefusedWhereverItStands) {
  const auto [module, name] = GetParam();
  const std::string full = std::string(module) + "." + name;
  const std::string argument = pkl::tuple_of({pkl::text("touch /tmp/owned")});
  WB_EXPECT_ERROR(value_error(pkl::global(module, name) + argument + pkl::reduce),
                  Code::pickle_global, "asks for");
  const Error bare = value_error(pkl::dict_of({{"x", pkl::global(module, name)}}));
  WB_EXPECT_ERROR(bare, Code::pickle_global, name);
  WB_EXPECT_ERROR(value_error(stack_global(module, name)), Code::pickle_global, name);
}

INSTANTIATE_TEST_SUITE_P(
    Always, RefusedName,
    testing::Values(Name{"os", "system"}, Name{"posix", "system"}, Name{"nt", "system"},
                    Name{"os.path", "join"}, Name{"sys", "exit"}, Name{"subprocess", "Popen"},
                    Name{"socket", "socket"}, Name{"shutil", "rmtree"}, Name{"pty", "spawn"},
                    Name{"ctypes", "CDLL"}, Name{"importlib", "import_module"},
                    Name{"runpy", "run_path"}, Name{"code", "interact"}, Name{"pickle", "loads"},
                    Name{"marshal", "loads"}, Name{"types", "CodeType"}, Name{"webbrowser", "open"},
                    Name{"urllib.request", "urlopen"}, Name{"operator", "attrgetter"},
                    Name{"functools", "partial"}, Name{"builtins", "eval"},
                    Name{"builtins", "exec"}, Name{"builtins", "compile"}, Name{"builtins", "open"},
                    Name{"builtins", "__import__"}, Name{"builtins", "getattr"},
                    Name{"builtins", "setattr"}, Name{"builtins", "apply"},
                    Name{"builtins", "breakpoint"}, Name{"builtins", "input"},
                    Name{"__builtin__", "eval"}, Name{"torch", "load"}, Name{"torch.jit", "load"},
                    Name{"torch.hub", "load"}, Name{"torch.storage", "_load_from_bytes"}));

TEST(PickleNames, ANameInsideANameIsRefused) {
  WB_EXPECT_ERROR(value_error(stack_global("torch", "nn.Module.forward")), Code::pickle_global,
                  "a name inside a name");
}

TEST(PickleNames, StackGlobalsAreResolvedByTheMachineNotByTheLastStrings) {
  // The module and the name come from the memo; harmless strings stand between.
  const std::string value = pkl::text("posix") + "q\x01" + pkl::text("system") + "q\x02" + "00" +
                            pkl::text("torch") + pkl::text("Size") + "00" + "h\x01h\x02\x93";
  WB_EXPECT_ERROR(value_error(value), Code::pickle_global, "posix.system");
}

TEST(PickleNames, StackGlobalNeedsTwoStrings) {
  WB_EXPECT_ERROR(value_error("K\x01K\x02\x93"), Code::pickle_structure, "other than two strings");
}

TEST(PickleNames, HarmlessNamesStayInertObjects) {
  const TempFolder folder;
  const std::string object = pkl::global("omegaconf.dictconfig", "DictConfig") + pkl::empty_tuple +
                             "\x81" + pkl::dict_of({{"_content", pkl::integer(1)}}) + "b";
  const std::string tensor = pkl::tensor_v2(pkl::storage("FloatStorage", "0", 1), 0, {1}, {1});
  const Checkpoint checkpoint = open(folder, torch_zip(pkl::file({{"cfg", object}, {"w", tensor}}),
                                                       {{"0", std::string(4, '\0')}}));
  EXPECT_EQ(checkpoint.tensors.size(), 1u);
  EXPECT_TRUE(checkpoint.facts.empty());
  EXPECT_THAT(checkpoint.notes, testing::ElementsAre(testing::HasSubstr(
                                    "an object of omegaconf.dictconfig.DictConfig at cfg")));
}

// Only torch._utils has rebuild functions; what else is there, or is called so elsewhere, is inert.
TEST(PickleNames, OnlyTorchHasRebuildFunctions) {
  EXPECT_EQ(classify_global("torch._utils", "_rebuild_anything"), GlobalKind::rebuild_refused);
  EXPECT_EQ(classify_global("torch._utils", "anything"), GlobalKind::opaque);
  EXPECT_EQ(classify_global("mylib", "_rebuild_anything"), GlobalKind::opaque);
  EXPECT_EQ(classify_global("mylib._utils", "_rebuild_tensor_v2"), GlobalKind::opaque);
  EXPECT_EQ(classify_global("torch.storage", "UntypedStorage"), GlobalKind::storage_class);
  EXPECT_EQ(classify_global("torch.storage", "_UntypedStorage"), GlobalKind::storage_class);
  EXPECT_EQ(classify_global("torch.storage", "anything"), GlobalKind::opaque);
  EXPECT_EQ(classify_global("mylib.storage", "UntypedStorage"), GlobalKind::opaque);
}

TEST(PickleNames, WhatAnObjectReturnsCannotBeCalled) {
  const std::string object = pkl::global("mylib", "factory") + pkl::empty_tuple + pkl::reduce;
  WB_EXPECT_ERROR(value_error(object + pkl::empty_tuple + pkl::reduce), Code::pickle_structure,
                  "it calls an object");
  WB_EXPECT_ERROR(value_error(pkl::text("os.system") + pkl::empty_tuple + pkl::reduce),
                  Code::pickle_structure, "it calls a string");
}

// ---- opcodes ----

TEST(PickleOpcodes, TheRefusedOnesAreNamed) {
  const std::pair<std::string, const char*> cases[] = {{"(ios\nsystem\n", "INST"},
                                                       {"(cmylib\nx\no", "OBJ"},
                                                       {"P1\n", "PERSID"},
                                                       {bytes_of({0x82, 1}), "EXT1"},
                                                       {bytes_of({0x83, 1, 0}), "EXT2"},
                                                       {bytes_of({0x84, 1, 0, 0, 0}), "EXT4"},
                                                       {"\x97", "NEXT_BUFFER"},
                                                       {"N\x98", "READONLY_BUFFER"},
                                                       {"S'x'\n", "STRING"},
                                                       {"I1\n", "INT"},
                                                       {"L1L\n", "LONG"},
                                                       {"F1.0\n", "FLOAT"},
                                                       {"Vx\n", "UNICODE"},
                                                       {"g0\n", "GET"},
                                                       {"Np0\n", "PUT"},
                                                       {"(d", "DICT"},
                                                       {"(l", "LIST"},
                                                       {"\xff", "unassigned"},
                                                       {bytes_of({0}), "unassigned"},
                                                       {bytes_of({0x80, 2}), "PROTO"}};
  for (const auto& [opcodes, name] : cases) {
    SCOPED_TRACE(name);
    WB_EXPECT_ERROR(value_error(opcodes), Code::pickle_opcode, "(" + std::string(name));
  }
  WB_EXPECT_ERROR(value_error("(ios\nsystem\n"), Code::pickle_opcode, "the opcode 0x69 (INST)");
  WB_EXPECT_ERROR(value_error("\x97"), Code::pickle_opcode, "the opcode 0x97 (NEXT_BUFFER)");
  WB_EXPECT_ERROR(value_error(bytes_of({0x82, 1})), Code::pickle_opcode, "the opcode 0x82 (EXT1)");
  WB_EXPECT_ERROR(value_error("\xff"), Code::pickle_opcode, "the opcode 0xff (unassigned)");
}

TEST(PickleOpcodes, OnlyProtocolsTwoToFive) {
  WB_EXPECT_ERROR(pickle_error(bytes_of({0x80, 6, 'N', '.'})), Code::pickle_opcode, "protocol 6");
  WB_EXPECT_ERROR(pickle_error(bytes_of({0x80, 1, 'N', '.'})), Code::pickle_opcode, "protocol 1");
  WB_EXPECT_ERROR(pickle_error("(dp0\n."), Code::pickle_structure, "does not start");
  for (unsigned protocol = 2; protocol <= 5; ++protocol) {
    const std::string pickle = bytes_of({0x80, protocol}) + "N.";
    EXPECT_NO_THROW(unpickle(std::as_bytes(std::span(pickle)), {})) << protocol;
  }
}

// ---- lengths ----

TEST(PickleLengths, TheErrorSaysHowManyBytesRemain) {
  // PROTO and its number, the opcode, four bytes of length; then "ab." and nothing more.
  WB_EXPECT_ERROR(value_error("X" + le(9, 4) + "ab"), Code::pickle_structure,
                  "a length of 9 exceeds the 3 bytes that remain");
}

TEST(PickleLengths, NothingIsAllocatedBeforeALengthIsChecked) {
  const std::string huge = le(0x7FFFFFFFFFFFFFFF, 8), wrapping = le(~std::uint64_t{0}, 8);
  for (const char* opcode : {"\x8d", "\x8e", "\x96"}) {
    WB_EXPECT_ERROR(value_error(opcode + huge), Code::pickle_structure, "bytes that remain");
    WB_EXPECT_ERROR(value_error(opcode + wrapping), Code::pickle_structure, "bytes that remain");
  }
  WB_EXPECT_ERROR(value_error("\x95" + huge), Code::pickle_structure, "exceeds what remains");
  WB_EXPECT_ERROR(value_error("X" + le(0xFFFFFFFF, 4)), Code::pickle_structure, "a length of");
  WB_EXPECT_ERROR(value_error("\x8a\xff"), Code::pickle_structure, "a length of 255");
  WB_EXPECT_ERROR(value_error("\x8b" + le(0x80000000, 4)), Code::pickle_structure,
                  "negative length");
  WB_EXPECT_ERROR(value_error("\x8b" + le(0x7FFFFFFF, 4)), Code::pickle_structure, "a length of");
}

TEST(PickleLengths, TruncationIsFound) {
  WB_EXPECT_ERROR(pickle_error(pkl::proto2 + "}"), Code::pickle_structure, "without a STOP");
  WB_EXPECT_ERROR(pickle_error(pkl::proto2 + "J\1"), Code::pickle_structure, "cut short");
  WB_EXPECT_ERROR(pickle_error(pkl::proto2 + "cmylib"), Code::pickle_structure, "no end");
}

// ---- memo ----

TEST(PickleMemo, AnIndexOutOfProportionIsRefused) {
  WB_EXPECT_ERROR(value_error("Nr" + le(0xFFFFFFFF, 4)), Code::pickle_structure,
                  "memo index 4294967295");
}
TEST(PickleMemo, AnIndexThatWasNeverSetIsRefused) {
  WB_EXPECT_ERROR(value_error("h\x05"), Code::pickle_structure, "memo index 5 was never set");
  WB_EXPECT_ERROR(value_error("j" + le(77, 4)), Code::pickle_structure, "index 77 was never set");
}
TEST(PickleMemo, ManyOpcodesMeetALimit) {
  const std::string pickle = pkl::proto2 + "N" + std::string(100, '\x94') + pkl::stop;
  const auto bytes = std::as_bytes(std::span(pickle));
  EXPECT_NO_THROW(unpickle(bytes, {}));
  try {
    unpickle(bytes, {.max_opcodes = 50});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    WB_EXPECT_ERROR(error, Code::limit_exceeded, "too many opcodes");
  }
  const std::string lists = pkl::proto2 + std::string(100, ']') + pkl::stop;
  try {
    unpickle(std::as_bytes(std::span(lists)), {.max_nodes = 50});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    WB_EXPECT_ERROR(error, Code::limit_exceeded, "too many objects: expected at most 50");
  }
}

// Each names the option that raises it.
TEST(PickleLimits, MemoStackAndCopies) {
  const auto limited = [](const std::string& opcodes, const UnpickleOptions& options) {
    const std::string pickle = pkl::proto2 + opcodes + pkl::stop;
    return wb::error_of([&] { unpickle(std::as_bytes(std::span(pickle)), options); });
  };
  Error e = limited("N" + std::string(11, '\x94'), {.max_memo = 10});
  WB_EXPECT_ERROR(e, Code::limit_exceeded, "too many memo entries: expected at most 10");
  EXPECT_THAT(e.advice(), testing::HasSubstr("--limit pickle-memo="));
  e = limited(std::string(11, ']'), {.max_stack = 10});
  WB_EXPECT_ERROR(e, Code::limit_exceeded, "too many open objects: expected at most 10");
  EXPECT_THAT(e.advice(), testing::HasSubstr("--limit pickle-stack="));
  // A list of four, copied by calls of builtins.list.
  std::string copies = "](NNNNeq" + std::string(1, '\x01');
  for (int i = 0; i < 6; ++i) {
    copies += pkl::global("builtins", "list") + "h" + std::string(1, '\x01') + "\x85R0";
  }
  e = limited(copies, {.max_nodes = 23});
  WB_EXPECT_ERROR(e, Code::limit_exceeded, "too many copied items: expected at most 23");
  EXPECT_THAT(e.advice(), testing::HasSubstr("--limit pickle-objects="));
  const std::string whole = pkl::proto2 + copies + pkl::stop;
  EXPECT_NO_THROW(unpickle(std::as_bytes(std::span(whole)), {.max_nodes = 24}));
}

// ---- the stack ----

TEST(PickleStack, UnderflowAndMissingMarks) {
  for (const char* opcodes : {"R", "s", "\x85", "0", "b", "Q", "\x93", "a"}) {
    WB_EXPECT_ERROR(value_error(opcodes), Code::pickle_structure, "the stack is empty");
  }
  for (const char* opcodes : {"t", "u", "e", "1", "\x90", "\x91"}) {
    WB_EXPECT_ERROR(value_error("N" + std::string(opcodes)), Code::pickle_structure,
                    "a mark is missing");
  }
  // What they work on is gone, or lies below a mark.
  for (const char* opcodes : {"N(R", "2", "N(2", "(e", "(u", "(\x90", "Na", "N(Na", "NNs", "Nb",
                              "(q\x01", "N\x94\x30\x94"}) {
    SCOPED_TRACE(opcodes);
    WB_EXPECT_ERROR(value_error(opcodes), Code::pickle_structure, "the stack is empty");
  }
}
TEST(PickleStack, NothingMayBeLeftOver) {
  WB_EXPECT_ERROR(value_error("NN"), Code::pickle_structure, "left over");
  WB_EXPECT_ERROR(value_error("N("), Code::pickle_structure, "the stack is empty");
}
TEST(PickleStack, TooManyMarks) {
  WB_EXPECT_ERROR(value_error(std::string((1u << 20) + 1, '(')), Code::limit_exceeded,
                  "too many open marks");
}

// ---- containers ----

TEST(PickleContainers, ItemsGoOnlyWhereTheyBelong) {
  WB_EXPECT_ERROR(value_error("]NNs"), Code::pickle_structure, "items of a list");
  WB_EXPECT_ERROR(value_error("](NNu"), Code::pickle_structure, "items of a list");
  WB_EXPECT_ERROR(value_error("}Na"), Code::pickle_structure, "appends to a dict");
  WB_EXPECT_ERROR(value_error("](N\x90"), Code::pickle_structure, "adds to a list");
  WB_EXPECT_ERROR(value_error("}}b"), Code::pickle_structure, "a state to a dict");
  WB_EXPECT_ERROR(value_error("]}b"), Code::pickle_structure, "a state to a list");
  WB_EXPECT_ERROR(value_error(pkl::ordered_dict() + "]b"), Code::pickle_structure,
                  "a dict gets a state that is no dict");
  const std::string tensor = pkl::tensor_v2(pkl::storage("FloatStorage", "0", 1), 0, {1}, {1});
  WB_EXPECT_ERROR(value_error(tensor + "NNs"), Code::pickle_structure, "items of a tensor");
}
TEST(PickleContainers, KeysMustBeHashable) {
  WB_EXPECT_ERROR(value_error("}]Ns"), Code::pickle_structure, "a list is used as a dict key");
  WB_EXPECT_ERROR(value_error("}(}Nu"), Code::pickle_structure, "a dict is used as a dict key");
  WB_EXPECT_ERROR(value_error("\x8f(]\x90"), Code::pickle_structure, "a list is put in a set");
  WB_EXPECT_ERROR(value_error("}(Nu"), Code::pickle_structure, "a key without a value");
}

// ---- persistent ids ----

TEST(PickleContainers, AnObjectHasOneState) {
  const std::string object = pkl::global("mylib", "X") + pkl::empty_tuple + "\x81";
  WB_EXPECT_ERROR(value_error(object + pkl::empty_dict + "b" + pkl::empty_dict + "b"),
                  Code::pickle_structure, "a state to one object twice");
}

// Most of a checkpoint are small numbers: each is kept once, so that they cost a reference.
TEST(PickleContainers, SmallNumbersAreKeptOnce) {
  const auto nodes = [](const std::string& value) {
    const std::string pickle = pkl::proto2 + "](" + value + value + value + "e.";
    return unpickle(std::as_bytes(std::span(pickle)), {}).nodes.size();
  };
  for (const std::string value : {"N", "\x88", "\x89", "K\x01", "K\xff"})
    EXPECT_EQ(nodes(value), 2u);
  EXPECT_EQ(nodes(bytes_of({'K', 0})), 2u);
  EXPECT_EQ(nodes(bytes_of({'M', 0, 1})), 4u);  // 256
  EXPECT_EQ(nodes(pkl::integer(-1)), 4u);
}

TEST(PicklePersistentIds, MustBeWellFormed) {
  auto id = [](const std::vector<std::string>& parts) {
    return value_error(pkl::tuple_of(parts) + "Q");
  };
  const std::string word = pkl::text("storage"), cls = pkl::global("torch", "FloatStorage"),
                    key = pkl::text("0"), cpu = pkl::text("cpu"), n = pkl::integer(1);
  WB_EXPECT_ERROR(value_error(pkl::text("x") + "Q"), Code::pickle_storage, "not a tuple");
  WB_EXPECT_ERROR(id({word, cls, key, cpu}), Code::pickle_storage, "has 4 items, not 5");
  WB_EXPECT_ERROR(id({pkl::text("blob"), cls, key, cpu, n}), Code::pickle_storage, "type \"blob\"");
  WB_EXPECT_ERROR(id({n, cls, key, cpu, n}), Code::pickle_storage, "does not start with a word");
  WB_EXPECT_ERROR(id({word, pkl::global("torch", "Size"), key, cpu, n}), Code::pickle_storage,
                  "no storage class but torch.Size");
  WB_EXPECT_ERROR(id({word, cls, pkl::text("../data.pkl"), cpu, n}), Code::pickle_storage,
                  "no plain word");
  WB_EXPECT_ERROR(id({word, cls, pkl::text("a/b"), cpu, n}), Code::pickle_storage, "no plain word");
  WB_EXPECT_ERROR(id({word, cls, n, cpu, n}), Code::pickle_storage, "a key that is an integer");
  WB_EXPECT_ERROR(id({word, cls, key, cpu, pkl::integer(-1)}), Code::pickle_storage, "no size");
  WB_EXPECT_ERROR(id({word, cls, key, cpu, "\x88"}), Code::pickle_storage, "no size");
  WB_EXPECT_ERROR(id({word, cls, pkl::text("7"), cpu, n}), Code::pickle_storage,
                  "no record archive/data/7");
  WB_EXPECT_ERROR(id({word, pkl::global("torch", "FooStorage"), key, cpu, n}), Code::pickle_storage,
                  "unknown class torch.FooStorage");
}
TEST(PicklePersistentIds, KeysAreLettersDigitsAndTwoMarks) {
  const TempFolder folder;
  const std::string tensor =
      pkl::tensor_v2(pkl::storage("FloatStorage", "AZaz09_-", 0), 0, {0}, {1});
  EXPECT_EQ(open(folder, torch_zip(pkl::file({{"w", tensor}}), {{"AZaz09_-", ""}})).tensors.size(),
            1u);
  for (const char beside : std::string("@[`{/:^.,+ ")) {
    const std::string key(1, beside);
    WB_EXPECT_ERROR(value_error(pkl::storage("FloatStorage", key, 0)), Code::pickle_storage,
                    "which is no plain word");
  }
}

TEST(PicklePersistentIds, AWholeModuleIsRefused) {
  WB_EXPECT_ERROR(value_error(pkl::tuple_of({pkl::text("module"), pkl::none, pkl::text("a.py"),
                                             pkl::text("class A: pass")}) +
                              "Q"),
                  Code::format_refused, "a whole module");
}

// ---- the end ----

TEST(PickleEnd, ASecondPickleAfterStopIsRefused) {
  const std::string good = pkl::file({{"w", pkl::integer(1)}});
  const std::string payload = pkl::proto2 + pkl::global("os", "system") + pkl::stop;
  WB_EXPECT_ERROR(pickle_error(good + payload), Code::pickle_structure, "goes on after its STOP");
}
TEST(PickleEnd, APayloadBeforeABrokenEndIsFoundFirst) {
  WB_EXPECT_ERROR(pickle_error(pkl::proto2 + pkl::global("os", "system") +
                               pkl::tuple_of({pkl::text("id")}) + pkl::reduce + "\xff"),
                  Code::pickle_global, "os.system");
}

// ---- values, read back through the facts ----

TEST(PickleValues, NumbersOfEverySpelling) {
  const TempFolder folder;
  const std::string tensor = pkl::tensor_v2(pkl::storage("FloatStorage", "0", 0), 0, {0}, {1});
  const Checkpoint checkpoint = open(
      folder, torch_zip(pkl::file({{"w", tensor},
                                   {"byte", "K\xff"},
                                   {"short", bytes_of({'M', 0xff, 0xff})},
                                   {"int", pkl::integer(-2)},
                                   {"long", pkl::integer(INT64_MIN)},
                                   {"negative_long", bytes_of({0x8a, 1, 0x80})},
                                   {"positive_long", bytes_of({0x8a, 2, 0x80, 0})},
                                   {"zero_long", bytes_of({0x8a, 0})},
                                   {"real", bytes_of({'G', 0xc0, 0x04, 0, 0, 0, 0, 0, 0})},
                                   {"old_text", "U\x02hi"},
                                   {"beyond", bytes_of({0x8a, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1})}}),
                        {{"0", ""}}));
  EXPECT_EQ(checkpoint.facts, nlohmann::json::parse(R"({
    "byte": 255, "short": 65535, "int": -2, "long": -9223372036854775808, "negative_long": -128,
    "positive_long": 128, "zero_long": 0, "real": -2.5, "old_text": "hi"})"));
}

// A checkpoint of one empty tensor, "w", beside these values.
Checkpoint beside(const TempFolder& folder,
                  std::vector<std::pair<std::string, std::string>> values) {
  const std::string tensor = pkl::tensor_v2(pkl::storage("FloatStorage", "0", 0), 0, {0}, {1});
  values.emplace_back("w", tensor);
  return open(folder, torch_zip(pkl::file(values), {{"0", ""}}));
}
std::string call(const std::string& module, const std::string& name,
                 const std::vector<std::string>& arguments) {
  return pkl::global(module, name) + pkl::tuple_of(arguments) + pkl::reduce;
}

TEST(PickleValues, CallsThatMakeContainers) {
  const TempFolder folder;
  const std::string one = pkl::integer(1), two = pkl::integer(2), a = pkl::text("a");
  const std::string pair = pkl::tuple_of({a, one}), list_pair = "](" + a + two + "e";
  const Checkpoint checkpoint = beside(
      folder, {{"ordered", call("collections", "OrderedDict", {"](" + pair + "e"})},
               {"of_lists", call("collections", "OrderedDict", {"](" + list_pair + "e"})},
               {"counter", call("collections", "Counter", {pkl::dict_of({{"a", two}})})},
               {"defaults",
                call("collections", "defaultdict", {pkl::global("mylib", "f")}) + a + one + "s"},
               {"no_defaults", call("collections", "defaultdict", {pkl::none}) + a + two + "s"},
               {"list", call("builtins", "list", {pkl::tuple_of({one, two})})},
               {"tuple", call("builtins", "tuple", {"](" + one + "e"})}});
  EXPECT_EQ(checkpoint.facts, nlohmann::json::parse(R"({
    "ordered": {"a": 1}, "of_lists": {"a": 2}, "counter": {"a": 2}, "defaults": {"a": 1},
    "no_defaults": {"a": 2}, "list": [1, 2], "tuple": [1]})"));
}

TEST(PickleValues, WhatIsNoFactIsNoted) {
  const TempFolder folder;
  const std::string one = pkl::integer(1);
  const Checkpoint checkpoint = beside(
      folder, {{"class", pkl::global("mylib", "Config")},
               {"encoded", call("_codecs", "encode", {pkl::text("abc"), pkl::text("latin1")})},
               {"long_bytes", bytes_of({'B', 3, 0, 0, 0}) + "abc"},
               {"short_bytes", "C\x03" + std::string("abc")},
               {"frozen", "(" + one + one + "\x91"},
               {"set", call("builtins", "frozenset", {pkl::tuple_of({one})})}});
  EXPECT_TRUE(checkpoint.facts.empty());
  EXPECT_THAT(checkpoint.notes,
              testing::UnorderedElementsAre("not read: the name mylib.Config at class",
                                            "not read: bytes at encoded and 2 more like it",
                                            "not read: a set at frozen and 1 more like it"));
}

TEST(PickleValues, DuplicatesAndDroppedMarks) {
  const TempFolder folder;
  const std::string one = pkl::integer(1), two = pkl::integer(2);
  const Checkpoint checkpoint =
      beside(folder, {{"twice", "](" + one + "2e"},              // DUP
                      {"dropped", two + "(" + one + one + "1"},  // POP_MARK
                      {"open", two + "(0"},                      // POP of a bare mark
                      {"same", "]2(" + one + "e0" + two + "a"}});
  EXPECT_EQ(checkpoint.facts, nlohmann::json::parse(R"({
    "twice": [1, 1], "dropped": 2, "open": 2, "same": [1, 2]})"));
}

TEST(PickleCalls, ArgumentsAreHeldToWhatTheCallTakes) {
  const std::string one = pkl::integer(1);
  const std::tuple<const char*, const char*, std::vector<std::string>, const char*> cases[] = {
      {"collections", "defaultdict", {pkl::empty_list}, "other than a name"},
      {"collections", "defaultdict", {pkl::none, one}, "other than a name"},
      {"collections", "OrderedDict", {one}, "other than a list of pairs"},
      {"collections", "OrderedDict", {pkl::empty_list, one}, "other than a list of pairs"},
      {"collections", "OrderedDict", {"](" + one + "e"}, "other than a list of pairs"},
      {"collections", "OrderedDict", {"](" + pkl::tuple_of({one}) + "e"}, "other than a list of"},
      {"collections", "OrderedDict", {"](" + pkl::tuple_of({"]", one}) + "e"}, "a dict key"},
      {"builtins", "list", {one}, "other than one sequence"},
      {"builtins", "list", {pkl::empty_list, pkl::empty_list}, "other than one sequence"},
      {"_codecs", "encode", {one}, "other than a string"},
      {"_codecs", "encode", {}, "other than a string"},
      {"_codecs", "encode", {pkl::text("a"), pkl::text("b"), one}, "other than a string"},
  };
  for (const auto& [module, name, arguments, said] : cases) {
    SCOPED_TRACE(std::string(name) + ": " + said);
    WB_EXPECT_ERROR(value_error(call(module, name, arguments)), Code::pickle_structure, said);
  }
}

TEST(PickleCalls, KeywordsAreForObjectsOnly) {
  const std::string keywords = pkl::dict_of({{"a", pkl::integer(1)}});
  const std::string ordered = pkl::global("collections", "OrderedDict") + pkl::empty_tuple;
  const std::string object = pkl::global("mylib", "Config") + pkl::empty_tuple;
  WB_EXPECT_ERROR(value_error(ordered + pkl::none + "\x92"), Code::pickle_structure,
                  "keyword arguments are not a dict");
  WB_EXPECT_ERROR(value_error(ordered + keywords + "\x92"), Code::pickle_structure,
                  "keyword arguments for collections.OrderedDict");
  const TempFolder folder;
  const Checkpoint checkpoint = beside(
      folder, {{"plain", ordered + pkl::empty_dict + "\x92"}, {"cfg", object + keywords + "\x92"}});
  EXPECT_THAT(checkpoint.notes,
              testing::ElementsAre(testing::HasSubstr("an object of mylib.Config at cfg")));
}

}  // namespace
}  // namespace wb::test
