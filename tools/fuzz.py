#!/usr/bin/env python3
"""Runs the libFuzzer targets that `cmake --build --preset fuzz` makes (docs/fuzzing.md).

  fuzz.py run [TARGET...]       each target for --seconds, --jobs at a time; prints a table
  fuzz.py replay [TARGET...]    the committed inputs and nothing else
  fuzz.py minimise [TARGET...]  what a run found new goes into the committed inputs, smallest first
  fuzz.py seeds                 the inputs and dictionaries that are made from the repository's files
  fuzz.py table LOG             writes the log of a run into docs/security.md, as its table

Exit status 1: a finding. Inputs that a run finds stay in build/fuzz/corpus, findings in
build/fuzz/findings, what the targets said in build/fuzz/said.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import fuzz_seeds  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/fuzz"
CORPUS, GROWN = ROOT / "fuzz/corpus", BUILD / "corpus"
MOST_FINDINGS = 3  # of one target, then its run ends
KEEP_BYTES = 40 << 10  # of committed inputs, by target
KEEP_FILE = 3 << 10

# By target: the longest input, in bytes.
TARGETS = {
    "zip": 4096, "unpickler": 4096, "torch_zip": 6144, "torch_legacy": 4096,
    "safetensors": 4096, "safetensors_index": 2048, "recipe": 8192, "expression": 512,
    "config": 16384, "tokenizer": 8192, "chat_template": 4096, "http_body": 4096,
    "quant_rules": 2048, "convert": 512,
}
SANITIZERS = {
    "ASAN_OPTIONS": "halt_on_error=1:quarantine_size_mb=16:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


def limits(args):
    return ["-timeout=%d" % args.timeout, "-rss_limit_mb=1024", "-malloc_limit_mb=512",
            "-print_final_stats=1"]


def launch(target, arguments, scratch, seconds=None):
    """One process; its output, and whether it ended well."""
    program = BUILD / "fuzz" / ("fuzz_" + target)
    if not program.exists():
        sys.exit(f"{program} is not built: make fuzz")
    env = {**os.environ, **SANITIZERS, "TMPDIR": scratch}
    done = subprocess.run([program, *arguments], env=env, capture_output=True, cwd=BUILD,
                          timeout=None if seconds is None else seconds + 600)
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace"), \
        done.returncode == 0


def last_number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def summary_of(said):
    """The line that says what went wrong."""
    for line in said.splitlines():
        if re.search(r"^SUMMARY|check failed:|runtime error:|^.*ERROR: (libFuzzer|AddressSan)", line):
            return line.strip().replace(str(ROOT) + "/", "")
    return said.strip().splitlines()[-1] if said.strip() else "it said nothing"


class Result:
    def __init__(self, target):
        self.target = target
        self.seconds = self.executions = self.edges = self.watched = self.inputs = 0
        self.findings = []

    def add(self, said, ended_well):
        self.executions += last_number(r"stat::number_of_executed_units:\s+(\d+)", said)
        self.edges = max(self.edges, last_number(r"cov: (\d+)", said))
        self.watched = last_number(r"\((\d+) inline 8-bit counters\)", said)
        self.inputs = max(self.inputs, last_number(r"corp: (\d+)/", said))
        if not ended_well:
            written = re.findall(r"Test unit written to (\S+)", said)
            place = os.path.relpath(BUILD / written[-1], ROOT) if written else "no input was kept"
            self.findings.append(f"{summary_of(said)} ({place})")

    def record(self):
        return {"target": self.target, "seconds": round(self.seconds), "executions": self.executions,
                "edges": self.edges, "edges_watched": self.watched, "corpus": self.inputs,
                "findings": self.findings}


def arguments_of(target, args):
    out = limits(args) + [f"-max_len={TARGETS[target]}", f"-artifact_prefix=findings/{target}-"]
    dictionary = ROOT / "fuzz/dictionaries" / (target + ".dict")
    return out + ([f"-dict={dictionary}"] if dictionary.exists() else [])


def committed(target):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_said(target, said):
    folder = BUILD / "said"
    folder.mkdir(exist_ok=True)
    (folder / (target + ".txt")).write_text(said)


def run_one(target, args, scratch):
    result = Result(target)
    grown = GROWN / target
    grown.mkdir(parents=True, exist_ok=True)
    begin, everything = time.monotonic(), ""
    while len(result.findings) < MOST_FINDINGS:
        left = args.seconds - (time.monotonic() - begin)
        if left < 1:
            break
        said, well = launch(target, arguments_of(target, args) +
                            [f"-seed={args.seed}", f"-max_total_time={int(left)}", str(grown), str(committed(target))],
                            scratch, left)
        everything += said
        result.add(said, well)
        if well:
            break
    result.seconds = time.monotonic() - begin
    keep_said(target, everything)
    return result


def replay_one(target, args, scratch):
    result = Result(target)
    begin = time.monotonic()
    said, well = launch(target, arguments_of(target, args) + ["-runs=0", str(committed(target))],
                        scratch)
    result.add(said, well)
    result.seconds = time.monotonic() - begin
    keep_said(target, said)
    return result


def row(r):
    rate = r["executions"] / max(1, r["seconds"])
    return [r["target"], f"{r['seconds']}", f"{r['executions']:,}", f"{rate:,.0f}",
            f"{r['edges']:,} of {r['edges_watched']:,}", f"{r['corpus']:,}",
            str(len(r["findings"]))]


HEAD = ["target", "seconds", "executions", "per second", "edges covered", "inputs", "findings"]


def print_table(records):
    rows = [HEAD] + [row(r) for r in records]
    widths = [max(len(line[i]) for line in rows) for i in range(len(HEAD))]
    for line in rows:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                        for i, (c, w) in enumerate(zip(line, widths))))
    for r in records:
        for finding in r["findings"]:
            print(f"FINDING in {r['target']}: {finding}")


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def each_target(work, args):
    (BUILD / "findings").mkdir(parents=True, exist_ok=True)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    scratch = tempfile.mkdtemp(prefix="wb-fuzz-", dir=memory)
    try:
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            return [r.record() for r in pool.map(lambda t: work(t, args, scratch), args.targets)]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def report(records, args):
    print_table(records)
    if args.log:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        with open(args.log, "w") as f:
            for r in records:
                f.write(json.dumps({**r, "commit": args.commit}) + "\n")
    return 1 if any(r["findings"] for r in records) else 0


def minimise(args):
    """Fewest inputs that cover the same, the small ones first, within a size for each target."""
    def one(target, args, scratch):
        with tempfile.TemporaryDirectory(dir=scratch) as merged:
            folders = [str(f) for f in (committed(target), GROWN / target) if f.is_dir()]
            launch(target, arguments_of(target, args) + ["-merge=1", merged, *folders], scratch)
            files = sorted(pathlib.Path(merged).iterdir(), key=lambda p: p.stat().st_size)
            kept, total = [], 0
            for file in files:
                size = file.stat().st_size
                if size > KEEP_FILE or total + size > KEEP_BYTES:
                    continue
                kept.append(file.read_bytes())
                total += size
        for old in committed(target).glob("found-*"):
            old.unlink()
        have = {p.read_bytes() for p in committed(target).iterdir()}
        for data in kept:
            if data not in have:
                name = "found-" + hashlib.sha256(data).hexdigest()[:12]
                (committed(target) / name).write_bytes(data)
        print(f"{target}: {len(kept)} inputs, {total} bytes")
        return Result(target)
    each_target(one, args)
    return 0


def seeds(_):
    for target, inputs in fuzz_seeds.inputs(ROOT).items():
        for old in committed(target).glob("seed-*"):
            old.unlink()
        for data in inputs:
            name = "seed-" + hashlib.sha256(data).hexdigest()[:12]
            (committed(target) / name).write_bytes(data)
        print(f"{target}: {len(inputs)} inputs, {sum(map(len, inputs))} bytes")
    folder = ROOT / "fuzz/dictionaries"
    folder.mkdir(exist_ok=True)
    for target, words in fuzz_seeds.dictionaries(ROOT).items():
        lines = ['"' + "".join(f"\\x{b:02x}" if b < 32 or b > 126 or b in b'"\\' else chr(b)
                               for b in word) + '"' for word in words]
        (folder / (target + ".dict")).write_text("\n".join(lines) + "\n")
    return 0


BEGIN, END = "<!-- begin: tools/fuzz.py table -->", "<!-- end -->"


def table(args):
    records = [json.loads(line) for line in open(args.log)]
    commits = sorted({r["commit"] for r in records})
    lines = [f"From `{os.path.relpath(args.log.resolve(), ROOT)}`, of commit "
             f"{', '.join(c[:12] + c[40:] for c in commits)}: "
             f"{sum(r['seconds'] for r in records):,} seconds, "
             f"{sum(r['executions'] for r in records):,} executions, "
             f"{sum(len(r['findings']) for r in records)} findings.", "",
             "| " + " | ".join(HEAD) + " |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
    lines += ["| " + " | ".join(row(r)) + " |" for r in records]
    place = ROOT / "docs/security.md"
    before, rest = place.read_text().split(BEGIN)
    place.write_text("\n".join([before + BEGIN, *lines, END]) + rest.split(END)[1])
    print("\n".join(lines))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "replay", "minimise"):
        command = commands.add_parser(name)
        command.add_argument("targets", nargs="*", help="default: all")
        command.add_argument("--jobs", type=int, default=2)
        command.add_argument("--timeout", type=int, default=10, help="seconds for one input")
        command.add_argument("--log", type=pathlib.Path, help="write one JSON line for each target")
        if name == "run":
            command.add_argument("--seconds", type=int, default=60, help="for each target")
            command.add_argument("--seed", type=int, default=0, help="0: another in each run")
    commands.add_parser("seeds")
    commands.add_parser("table").add_argument("log", type=pathlib.Path)
    args = parser.parse_args()
    if hasattr(args, "targets"):
        args.targets = args.targets or list(TARGETS)
        for target in args.targets:
            if target not in TARGETS:
                sys.exit(f"there is no target {target}; there are {', '.join(TARGETS)}")
        if args.log:  # the commit of what is run, not of what the tree becomes meanwhile
            args.log = args.log.resolve()
            changed = bool(git("status", "--porcelain", "--untracked-files=no"))
            args.commit = git("rev-parse", "HEAD") + ("+changes" if changed else "")
    if args.command == "run":
        if args.seconds < 2:
            sys.exit(f"--seconds {args.seconds}: a target needs 2 seconds at least to run at all")
        return report(each_target(run_one, args), args)
    if args.command == "replay":
        return report(each_target(replay_one, args), args)
    return {"minimise": minimise, "seeds": seeds, "table": table}[args.command](args)


if __name__ == "__main__":
    sys.exit(main())
