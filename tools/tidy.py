#!/usr/bin/env python3
"""clang-tidy over every source of src, one line for each finding's file; no finding is let through.

A whole run takes a quarter of an hour on two cores, and is cut off on machines that are taken
away. So what was found clean is remembered, in build/tidy or where WB_TIDY_MEMORY points: a
stamp named after a digest of the file, of every header of ours that it includes, of the compile
command and of the list of checks. A file is looked at again only when one of them changed.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIDY = "clang-tidy-14"


def headers_of(entry):
    """Every file of the repository or of the build folder that the compiler reads for this entry."""
    words = shlex.split(entry["command"])
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word == "-o":
            skip = True
        elif word != "-c":
            kept.append(word)
    found = subprocess.run(kept + ["-MM", "-MG"], cwd=entry["directory"], capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(f"{entry['file']}: its headers can't be listed:\n{found.stderr}")
    names = found.stdout.replace("\\\n", " ").split(":", 1)[1].split()
    return [pathlib.Path(entry["directory"], name) for name in names]


def digest_of(entry):
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    # Where the checkout lies is of no interest: a stamp holds for every copy of the same sources.
    digest.update(entry["command"].replace(str(ROOT), "").encode())
    for path in headers_of(entry):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def findings_of(entry, build, memory):
    """None for a clean file, otherwise what clang-tidy wrote."""
    stamp = memory / digest_of(entry)
    if stamp.exists():
        return None
    run = subprocess.run([TIDY, "-p", str(build), "--quiet", "--warnings-as-errors=*", entry["file"]],
                         capture_output=True, text=True)
    if run.returncode != 0:
        return run.stdout or run.stderr
    stamp.touch()
    return None


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/clang").resolve()
    memory = pathlib.Path(os.environ.get("WB_TIDY_MEMORY", ROOT / "build/tidy"))
    memory.mkdir(parents=True, exist_ok=True)
    source = str(ROOT / "src") + os.sep
    entries = {e["file"]: e for e in json.loads((build / "compile_commands.json").read_text())
               if e["file"].startswith(source) and e["file"].endswith(".cpp")}
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(findings_of, entries[name], build, memory) for name in sorted(entries)]
        for name, job in zip(sorted(entries), jobs):
            found = job.result()
            if found:
                bad += 1
                print(f"{os.path.relpath(name, ROOT)}\n{found}", flush=True)
    if bad:
        sys.exit(f"clang-tidy: findings in {bad} of {len(entries)} files")
    print(f"clang-tidy: {len(entries)} files, no findings")


if __name__ == "__main__":
    main()
