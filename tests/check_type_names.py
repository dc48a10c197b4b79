"""No two types of one namespace have one name, in whichever layers: all layers meet in one program,
where the linker keeps one of two functions of one name and says nothing (it once destroyed a
tokenizer by the destructor of a model). Types of anonymous namespaces are their file's own."""
import collections
import pathlib
import re
import sys

TOKEN = re.compile(
    r"namespace\s*([\w:]*)\s*\{|"
    r"^(?:template <[^>]*>\s*)?(?:class|struct|enum class|enum)\s+(\w+)(?:\s+final)?(?:\s*:(?!:)[^;{]*)?\s*\{|"
    r"^(\})  // namespace", re.M)


def types(path):
    """(namespace, name) of every type that `path` defines outside of anonymous namespaces."""
    inside = []
    for m in TOKEN.finditer(path.read_text()):
        if m.group(2):
            if "" not in inside:
                yield "::".join(inside), m.group(2)
        elif m.group(3):
            if inside:
                inside.pop()
        else:
            inside.append(m.group(1))


def main(source):
    found = collections.defaultdict(list)
    for path in sorted(source.glob("src/**/*.h")) + sorted(source.glob("src/**/*.cpp")):
        for where in types(path):
            found[where].append(path.relative_to(source))
    if len(found) < 100:
        sys.exit(f"only {len(found)} types found: the pattern does not fit the sources")
    twice = {k: v for k, v in found.items() if len(v) > 1}
    for (namespace, name), paths in sorted(twice.items()):
        print(f"{namespace}::{name} is defined in {', '.join(map(str, paths))}")
    sys.exit(1 if twice else 0)


main(pathlib.Path(sys.argv[1]))
