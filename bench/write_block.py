#!/usr/bin/env python3
"""Puts standard input into a document as a block of code, between two lines that stay:

    <!-- NAME: begin, written by a script -->
    <!-- NAME: end -->

    write_block.py DOCUMENT NAME [--check]

--check only looks whether the lines are there, each once and in this order."""
import os
import sys


def main():
    path, name = sys.argv[1], sys.argv[2]
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    begin = [i for i, line in enumerate(lines) if line.startswith(f"<!-- {name}: begin")]
    end = [i for i, line in enumerate(lines) if line == f"<!-- {name}: end -->"]
    if len(begin) != 1 or len(end) != 1 or begin[0] > end[0]:
        sys.exit(f"write_block.py: {path} has no place for {name}: it wants one line "
                 f"'<!-- {name}: begin ... -->' and one line '<!-- {name}: end -->' after it")
    if sys.argv[3:] == ["--check"]:
        return
    block = sys.stdin.read().rstrip("\n")
    if not block or "```" in block:
        sys.exit("write_block.py: there is nothing to write" if not block else
                 "write_block.py: the text would end its own block")
    lines[begin[0] + 1:end[0]] = ["```text", *block.split("\n"), "```"]
    with open(path + ".partial", "w", encoding="utf-8") as f:
        f.write("\n".join(lines))
    os.replace(path + ".partial", path)


if __name__ == "__main__":
    main()
