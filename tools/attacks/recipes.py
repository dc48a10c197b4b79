"""Recipes: TOML, expressions, counts, extension."""
import os

from attacks.attack import in_group

NAME = b'name = "x"\n'


def recipe(count):
    """A recipe for the sample whose blocks are as many as the expression says."""
    return NAME + b'extends = "deepseek-from-scratch"\n[index]\nl = "' + count + b'"\n'


def attacks():
    command = ("convert", "{tiny}", "--recipe", "{}", "-o", "{out}")
    of = lambda slug, lie, rule, says, text, **more: in_group("Recipes")(
        slug, lie, rule, "recipe_invalid", says, lambda: text, **{"ending": ".toml", "command": command, **more})
    nest, parts = "32 brackets or parts of a key deep", "at most 512 parts and 4096 characters"
    deep = "brackets or the parts of a key nest"
    yield of("recipe-deep-lists", "100 000 lists in each other", nest, ":1:37: " + deep, b"a = [[[[" + b"[" * 100_000)
    yield of("recipe-deep-tables", "50 000 inline tables in each other", nest, ":1:99: " + deep, b"a=" + b"{a=" * 50_000)
    yield of("recipe-dotted-key", "a key of 100 000 parts", nest, ":1:66: " + deep, b"a" + b".a" * 100_000 + b" = 1\n")
    yield of("recipe-dotted-header", "a section of 100 000 parts", nest, ":1:67: " + deep, b"[a" + b".a" * 100_000 + b"]\n")
    yield of("recipe-huge", "300 KB", "at most 262 144 bytes", "a file of more than 262144 bytes", b"# " + b"x" * 300_000)
    yield of("recipe-one-line", "60 000 texts in one line, not in ASCII", "places are found without a search", ":1:240019: a name should stand here",
             "recognise = [\"\u00e9\", ".encode() + b'"a",' * 60_000 + b"1]\n")
    yield of("recipe-no-toml", "text that is no TOML", "TOML 1.0", "this is not TOML: Error while parsing key-value", b"name\n")
    yield of("recipe-nul", "a NUL", "TOML 1.0", "this is not TOML", b'name = "x"\n\0\n')
    yield of("recipe-not-utf8", "a byte that no UTF-8 has", "TOML 1.0", "utf-8", b'name = "\xff"\n')
    yield of("recipe-duplicate-key", "two names", "TOML 1.0: keys are unique", "cannot redefine", NAME + NAME)
    dims = lambda expression: NAME + b'recognise = ["w"]\n[dims]\nd = "' + expression + b'"\n'
    yield of("recipe-long-expression", "5000 characters", parts, "an expression of more than 4096 characters", dims(b"1 + " * 1250 + b"1"))
    yield of("recipe-many-parts", "2000 parts", parts, "an expression of more than 512 parts", dims(b"1+" * 2000 + b"1"))
    yield of("recipe-deep-expression", "300 brackets", "100 brackets deep", "an expression nested too deep", dims(b"(" * 300 + b"1" + b")" * 300))
    yield of("recipe-big-number", "a number beyond 63 bits", "checked", "a whole number that does not fit 63 bits", dims(b"9" * 30))
    yield of("recipe-cycle", "two dimensions that need each other", "in the order of the file", "'b'", NAME + b'recognise = ["w"]\n[dims]\na = "b"\nb = "a"\n')
    yield of("recipe-many-mistakes", "10 000 mistakes", "a hundred are told", "more", b"".join(b"k%d = 1\n" % i for i in range(10_000)))
    yield of("recipe-unknown-key", "a key that is no part of the language", "unknown keys are mistakes", "no key 'run'", NAME + b'run = "rm"\n')
    outside = "in the recipe's folder or below it"
    yield of("recipe-extends-itself", "a recipe that extends itself", "no circle", "this recipe extends itself", b'extends = "recipe-extends-itself.toml"\n')
    yield of("recipe-extends-outside", "extends ../../etc/x.toml", outside, "'../../etc/x.toml' leads outside", b'extends = "../../etc/x.toml"\n')
    yield of("recipe-extends-absolute", "extends /etc/x.toml", outside, "'/etc/x.toml' leads outside", b'extends = "/etc/x.toml"\n')
    first = {"ending": "", "about": "0.toml", "command": ("convert", "{tiny}", "--recipe", "{}/0.toml", "-o", "{out}")}
    yield of("recipe-extends-chain", "20 recipes that extend each other", "8 in a chain", "a chain of more than 8 recipes",
             {f"{i}.toml": b'extends = "%d.toml"\n' % (i + 1) for i in range(20)}, **first)
    yield of("recipe-extends-device", "extends a link to /dev/zero", "regular files only", "zero.toml cannot be read",
             {"0.toml": b'extends = "zero.toml"\n', "zero.toml": lambda path: os.symlink("/dev/zero", path)}, **first)
    run = lambda slug, lie, rule, code, says, count: in_group("Recipes")(
        slug, lie, rule, code, says, lambda: recipe(count), ending=".toml", about="tiny-deepseek.pt", command=command)
    yield run("recipe-range", "an index over 10^12 values", "at most 1 048 576 values", "limit_exceeded", "has too many values", b"1000000 * 1000000")
    yield run("recipe-overflow", "2^62 * 4", "checked", "size_overflow", "does not fit 63 bits", b"4611686018427387904 * 4")
    yield run("recipe-divide-by-zero", "1 / 0", "checked", "dimension_mismatch", "cannot be divided by 0", b"1 / (1 - 1)")
