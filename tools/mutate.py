#!/usr/bin/env python3
"""Breaks the quantisers and the unpickler in small ways and sees whether a test notices.

  mutate.py [--count 40] [--seed 1] [--jobs 2] [PART...]     a sample of all mutants; parts: quant, pickle
  mutate.py --list [PART...]                                  how many there are, and of which kinds
  mutate.py --only FILE:LINE:COLUMN:KIND ...                  these, as a report names them

A mutant is one operator, number or check of one line changed. It is built in a copy of the tree
(build/mutation), one for each job, so that the sources here stay as they are, and the unit tests of
its layer are run. `killed`: a test fails, or does not end. `survived`: all pass, so that either a
test is missing or the change means nothing; tools/mutation/equivalent.txt names those of the second
kind, each with its reason, by the line's text, so that they are known again when lines move. Exit
status 1: a mutant survived that is not listed.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import queue
import random
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPIES = ROOT / "build/mutation"
EQUIVALENT = ROOT / "tools/mutation/equivalent.txt"
# By part: the sources, and the tests that should notice.
PARTS = {
    "quant": (["src/quant/quantize.cpp", "src/quant/plain.cpp", "src/quant/format.cpp",
               "src/quant/format.h", "src/quant/groups.h", "src/quant/minifloat.h",
               "src/quant/affine-inl.h", "src/quant/floats-inl.h"], "quant_tests"),
    "pickle": (["src/checkpoint/unpickler.cpp", "src/checkpoint/pickle_opcodes.cpp",
                "src/checkpoint/pickle_calls.cpp", "src/checkpoint/pickle_globals.cpp",
                "src/checkpoint/torch_objects.cpp", "src/checkpoint/flatten.cpp"],
               "checkpoint_tests"),
}
SWAPS = {
    "compare": {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    "arithmetic": {"+": "-", "-": "+", "*": "+", "/": "*", "%": "/", "+=": "-=", "-=": "+="},
    "bits": {"&": "|", "|": "&", "^": "|", "<<": ">>", ">>": "<<"},
    "logic": {"&&": "||", "||": "&&"},
}
# clang-format puts spaces around every operator of two operands, and around nothing else.
OPERATOR = re.compile(r"(?<= )(<<|>>|<=|>=|==|!=|&&|\|\||\+=|-=|[-<>+*/%&|^])(?= )")
NUMBER = re.compile(r"(?<![\w.'])(0x[0-9a-fA-F]+|\d+)(?=u?\b(?![.'\w]))")
REFUSES = re.compile(r"\b(throw|fail\w*|malformed|wrong\w*|refuse\w*|too_\w+|out_of\w*)\b")


class Mutant(collections.namedtuple("Mutant", "file line column kind old new")):
    @property
    def name(self):
        return f"{self.file}:{self.line + 1}:{self.column + 1}:{self.kind}"

    def text(self, lines):
        line = lines[self.line]
        return line[:self.column] + self.new + line[self.column + len(self.old):]


def blanked(text):
    """Comments, strings, characters, preprocessor lines and templates as spaces."""
    def spaces(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|^[ \t]*#[^\n]*'
    return re.sub(pattern, spaces, text, flags=re.S | re.M)


def closing(text, at):
    """The place of the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i
    return None


def checks_in(file, code, text):
    """Each `if (...)` whose statement refuses: as one that never does."""
    for match in re.finditer(r"\bif \(", code):
        begin = match.end() - 1
        end = closing(code, begin)
        if end is None or not REFUSES.search(code[end:end + 90].split(";")[0]):
            continue
        line = text.count("\n", 0, begin)
        column = begin - (text.rfind("\n", 0, begin) + 1)
        yield Mutant(file, line, column, "check", "(", "(false && ")


def mutants_of(file):
    text = (ROOT / file).read_text()
    code = blanked(text)
    out = list(checks_in(file, code, text))
    for number, line in enumerate(code.split("\n")):
        if re.match(r"\s*(template|static_assert|using|case|namespace)\b", line):
            continue
        for match in OPERATOR.finditer(line):
            for kind, swaps in SWAPS.items():
                if match.group(1) in swaps:
                    out.append(Mutant(file, number, match.start(1), kind, match.group(1),
                                      swaps[match.group(1)]))
        for match in NUMBER.finditer(line):
            value = int(match.group(1), 0)
            out.append(Mutant(file, number, match.start(1), "number", match.group(1),
                              str(value + 1)))
        for match in re.finditer(r"(?<=[( ])!(?=[\w(])", line):
            out.append(Mutant(file, number, match.start(), "not", "!", ""))
        for match in re.finditer(r"\breturn (true|false);", line):
            other = "false" if match.group(1) == "true" else "true"
            out.append(Mutant(file, number, match.start(1), "answer", match.group(1), other))
    return out


def listed():
    """(file, kind, the line's text with the change) -> reason"""
    out = {}
    if EQUIVALENT.exists():
        for entry in EQUIVALENT.read_text().split("\n\n"):
            lines = [line for line in entry.split("\n") if line and not line.startswith("#")]
            if len(lines) >= 3:
                file, kind = lines[0].split()
                out[(file, kind, lines[1].strip())] = " ".join(lines[2:])
    return out


def run(command, timeout=None, **options):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
    except subprocess.TimeoutExpired:
        return None


def prepare(copy, tests, jobs):
    """A copy of what git knows of the tree, built."""
    copy.mkdir(parents=True, exist_ok=True)
    files = run(["git", "ls-files"], cwd=ROOT).stdout.split("\n")
    for file in filter(None, files):
        source, target = ROOT / file, copy / file
        if not source.is_file() or file.startswith("fuzz/corpus"):
            continue
        if target.exists() and target.read_bytes() == source.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    # The preset's place and flags: a compiler cache then has most of it.
    cache = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    configured = run(["cmake", "--preset", "release", *cache], cwd=copy)
    if configured.returncode != 0:
        sys.exit(configured.stdout + configured.stderr)
    built = build(copy, tests, jobs)
    if built.returncode != 0:
        sys.exit(built.stdout[-4000:])


def build(copy, tests, jobs=1):
    return run(["cmake", "--build", "--preset", "release", "-j", str(jobs), "--target", *tests],
               cwd=copy)


def run_tests(copy, tests, timeout):
    """None: passed. Else the first test that did not, or what happened. Tests of speed are left
    out: they would say that the machine is busy."""
    done = run([copy / "build/release/tests" / tests, "--gtest_brief=1", "--gtest_filter=-*Milliseconds*"],
               timeout, cwd=copy,
               env={**os.environ, "GTEST_FAIL_FAST": "1"})
    if done is None:
        return "it did not end"
    if done.returncode == 0:
        return None
    failed = re.findall(r"\[  FAILED  \] (\S+?)(?:,| \()", done.stdout)
    return failed[0] if failed else f"status {done.returncode}"


# Else a compiler that is told to stop at warnings would leave such mutants unjudged.
UNWARNED = "".join(f'#pragma GCC diagnostic ignored "-W{warning}"\n' for warning in (
    "parentheses", "logical-not-parentheses", "sign-compare", "type-limits", "bool-compare",
    "unused-variable", "unused-but-set-variable", "unused-function", "int-in-bool-context"))


def judge(copy, mutant, tests, timeout):
    """killed, survived or unbuilt; and by what."""
    place = copy / mutant.file
    original = place.read_text()
    lines = original.split("\n")
    lines[mutant.line] = mutant.text(lines)
    place.write_text(UNWARNED + "\n".join(lines))
    try:
        if build(copy, [tests]).returncode != 0:
            return "unbuilt", ""
        by = run_tests(copy, tests, timeout)
        return ("survived", "") if by is None else ("killed", by)
    finally:
        place.write_text(original)


def chosen(args):
    parts = args.parts or list(PARTS)
    every = [(part, m) for part in parts for file in PARTS[part][0] for m in mutants_of(file)]
    if args.only:
        return [(p, m) for p, m in every if m.name in args.only]
    if args.list:
        count = collections.Counter((part, m.kind) for part, m in every)
        for (part, kind), n in sorted(count.items()):
            print(f"{part:8} {kind:12} {n:5}")
        print(f"{len(every)} mutants")
        sys.exit(0)
    random.Random(args.seed).shuffle(every)
    return sorted(every[:args.count])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time, each in a copy of the tree")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", nargs="+")
    args = parser.parse_args()
    sample = chosen(args)
    needed = sorted({PARTS[part][1] for part, _ in sample})
    copies = [COPIES / f"tree-{i}" for i in range(args.jobs)]
    for copy in copies:
        prepare(copy, needed, args.jobs)
    timeouts = {}
    for tests in needed:
        begin = time.monotonic()
        if (why := run_tests(copies[0], tests, 600)) is not None:
            sys.exit(f"{tests} fails before anything is changed: {why}")
        timeouts[tests] = 20 + 10 * (time.monotonic() - begin)
    free = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def fate_of(part, mutant):
        copy = free.get()
        try:
            return judge(copy, mutant, PARTS[part][1], timeouts[PARTS[part][1]])
        finally:
            free.put(copy)

    reasons, count, unknown = listed(), collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as lanes:
        fates = lanes.map(lambda m: fate_of(*m), sample)
        for (_, mutant), (fate, by) in zip(sample, fates):
            after = mutant.text((ROOT / mutant.file).read_text().split("\n")).strip()
            if fate == "survived" and (mutant.file, mutant.kind, after) in reasons:
                fate, by = "equivalent", reasons[(mutant.file, mutant.kind, after)]
            count[fate] += 1
            if fate == "survived":
                unknown.append((mutant, after))
            print(f"{fate:10} {mutant.name}  {mutant.old} -> {mutant.new or 'nothing'}  {by}", flush=True)
    print(f"{len(sample)} mutants: " + ", ".join(f"{count[f]} {f}" for f in
                                                 ("killed", "survived", "equivalent", "unbuilt")))
    for mutant, after in unknown:
        print(f"SURVIVED {mutant.name}\n  {after}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
