"""tokenizer.json: depth, vocabulary, merges, patterns."""
import json

from attacks.attack import holes, in_group
from attacks.forge import nested

VOCAB = {"a": 0, "b": 1, "ab": 2}
WHOLE = {"version": "1.0", "model": {"type": "BPE", "vocab": VOCAB, "merges": ["a b"]}, "added_tokens": []}
COMMAND = ("generate", "{tiny}", "--tokenizer", "{}", "--prompt", "a" * 64 + "cb", "--max-tokens", "1")


def attacks():
    a = in_group("tokenizer.json", ending=".json", command=COMMAND)

    def of(slug, lie, rule, says, content, code="config_invalid"):
        return a(slug, lie, rule, code, says, lambda: content if isinstance(content, bytes) else json.dumps(content).encode())
    model = lambda **more: {**WHOLE, "model": {**WHOLE["model"], **more}}
    split = lambda regex: {**WHOLE, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}}
    text = "JSON, 64 levels deep, keys unique"
    yield of("tokenizer-deep", "a million lists in each other", text, "nests too deep", nested(1_000_000), "limit_exceeded")
    yield of("tokenizer-many-values", "5 million values", "at most 4 194 304 values", "holds too many values",
             b'{"added_tokens":[' + b"0," * 5_000_000 + b"0]}", "limit_exceeded")
    yield in_group("tokenizer.json")("tokenizer-huge", "300 MB", "at most 256 MiB", "limit_exceeded", "is too long for a file of this kind",
                                     lambda: {"tokenizer.json": holes(300_000_000, b"{")}, command=COMMAND, about="tokenizer.json")
    yield of("tokenizer-duplicate-token", "one token with two ids", text, 'has the key "a" twice',
             b'{"version":"1.0","model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}')
    yield of("tokenizer-duplicate-id", "one id with two tokens", "ids are unique", "two tokens have the id 0", model(vocab={"a": 0, "b": 0}, merges=[]))
    yield of("tokenizer-id-huge", "an id of 2^31", "at most 4 194 303", "the token id is too high", model(vocab={"a": 2**31}, merges=[]), "limit_exceeded")
    yield of("tokenizer-id-negative", "an id of -1", "whole numbers", "is -1", model(vocab={"a": -1}, merges=[]))
    yield of("tokenizer-id-text", "a text for an id", "whole numbers", 'is "0"', model(vocab={"a": "0"}, merges=[]))
    yield of("tokenizer-empty", "no vocabulary", "one token at least", "the vocabulary is empty", model(vocab={}, merges=[]))
    yield of("tokenizer-merge-unknown", "a merge that makes no token", "merges are of the vocabulary", '"ba" is not in model.vocab', model(merges=["b a"]))
    yield of("tokenizer-merge-three", "a merge of three", "merges are pairs", "two tokens with one space", model(merges=["a b a"]))
    yield of("tokenizer-added-cycle", "an added token with the id of another", "ids are unique", "", {
        **WHOLE, "added_tokens": [dict(id=0, content="<x>", single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)]})
    deep = {"type": "Digits", "individual_digits": True}
    for _ in range(20):
        deep = {"type": "Sequence", "pretokenizers": [deep]}
    yield of("tokenizer-deep-sequence", "20 sequences in each other", "16 components deep", "components nest too deeply",
             {**WHOLE, "pre_tokenizer": deep}, "limit_exceeded")
    yield of("tokenizer-regex-backtracks", "(a|a)*b on a text of 66 bytes", "4 million backtracks, and 64 for each byte", "gave up", split("(a|a)*b"), "limit_exceeded")
    yield of("tokenizer-regex-repeat", "a{50000}{50000}", "compiles within bounds", "too big", split("(?:a{50000}){50000}"))
    yield of("tokenizer-regex-nested", "10 000 brackets", "compiles within bounds", "parse depth limit over", split("(" * 10_000 + "a" + ")" * 10_000))
    yield of("tokenizer-regex-long", "a pattern of 1 MB", "at most 65 536 bytes", "the regular expression is too long", split("a|" * 500_000 + "a"))
    yield of("tokenizer-regex-recursion", "a pattern that calls itself", "compiles, or is refused", "never ending recursion", split("(?<x>\\g<x>)"))
    yield of("tokenizer-bytelevel-bomb", "ten ByteLevel, each doubling what the one before made", "at most 4", "more than 4 ByteLevel",
             {**WHOLE, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                 {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}] * 10}})
    yield of("tokenizer-unknown-part", "a component that is not known", "components by name", 'the normalizer "Python"', {**WHOLE, "normalizer": {"type": "Python"}})
    yield of("tokenizer-replace-bomb", "a normaliser that makes 1000 bytes of one, four times over", "1 MiB, and 64 times the text", "normalizer makes too long a text",
             {**WHOLE, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "."}, "content": "x" * 1000}] * 4}}, "limit_exceeded")
