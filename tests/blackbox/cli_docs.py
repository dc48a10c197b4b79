"""Every option of every --help is in the man page and in the three completions.

usage: cli_docs.py PROGRAM SHARE_DIR"""
import pathlib
import re
import subprocess
import sys

PROGRAM, SHARE = sys.argv[1], pathlib.Path(sys.argv[2])


def help_of(*command):
    run = subprocess.run([PROGRAM, *command, "--help"], stdout=subprocess.PIPE, check=True)
    return run.stdout.decode()


def subcommands(text):
    listed = text.partition("Subcommands:")[2]
    return re.findall(r"^  ([a-z][a-z-]*) ", listed, re.M)


def main():
    wanted = {}  # option or command -> where it was seen
    commands = [()]
    while commands:
        command = commands.pop()
        text = help_of(*command)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text):
            wanted.setdefault(option, " ".join(command) or "weightbridge")
        for sub in subcommands(text):
            wanted.setdefault(sub, "weightbridge")
            commands.append((*command, sub))
    assert {"--json", "--target", "--no-sync", "convert", "check"} <= wanted.keys(), sorted(wanted)
    places = {
        "man/weightbridge.1": lambda text, word: word in text.replace("\\-", "-"),
        "completions/weightbridge.bash": lambda text, word: word in text,
        "completions/_weightbridge": lambda text, word: word in text,
        "completions/weightbridge.fish":
            lambda text, word: re.search(r"-l %s\b" % word[2:], text) if word[:2] == "--" else word in text,
    }
    missing = [f"{word} (of {where}) is not in share/{place}"
               for place, holds in places.items()
               for word, where in sorted(wanted.items())
               if not holds((SHARE / place).read_text(), word)]
    print("\n".join(missing) or f"{len(wanted)} words are in {len(places)} files")
    sys.exit(bool(missing))


main()
