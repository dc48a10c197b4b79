"""Files of --quant-rules."""
from attacks.attack import in_group


def attacks():
    command = ("convert", "{tiny}", "-o", "{out}", "--bits", "4", "--quant-rules", "{}")
    of = lambda slug, lie, rule, says, text: in_group("Quantisation rules")(
        slug, lie, rule, "config_invalid", says, lambda: text, ending=".toml", command=command)
    nest = "32 brackets or parts of a key deep"
    yield of("rules-deep", "100 000 lists in each other", nest, "column 39: brackets", b'"*" = [' + b"[" * 100_000)
    yield of("rules-dotted", "a key of 100 000 parts", nest, "column 66: brackets", b"a" + b".a" * 100_000 + b" = 1\n")
    yield of("rules-many", "10 000 rules", "at most 4096 rules", "more than 4096 rules", b"".join(b'"%d*" = false\n' % i for i in range(10_000)))
    yield of("rules-huge", "300 KB", "at most 262 144 bytes", "a file of more than 262144 bytes", b"#" * 300_000)
    yield of("rules-bits", "2^40 bits", "formats that MLX has", '"bits" takes a positive', b'"*" = {bits = 1099511627776}\n')
    yield of("rules-format", "seven bits", "formats that MLX has", "MLX has no such format", b'"*" = {bits = 7}\n')
    yield of("rules-unknown-key", "a key that is none", "unknown keys are mistakes", 'has no key "run"', b'"*" = {run = "x"}\n')
    yield of("rules-type", "a text for a rule", "types are checked", "is a string, not true", b'"*" = "x"\n')
    yield of("rules-duplicate", "one pattern twice", "keys are unique", "this is not TOML", b'"*" = false\n"*" = true\n')
