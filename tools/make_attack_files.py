#!/usr/bin/env python3
"""Writes hostile inputs into a folder, for auditing by hand or with other readers, or prints the
table of them in docs/security.md. The lies themselves are in attacks/, one module per format.

None does harm when weightbridge opens it, and the payloads only create the file
/tmp/weightbridge-attack-ran, should another program run them. Standard library only.

usage: make_attack_files.py FOLDER [NAME ...]    write all, or those that are named
       make_attack_files.py --table              print the table
       make_attack_files.py --update FILE        put the table into FILE, between its two marks"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from attacks import all_attacks  # noqa: E402

BEGIN = "<!-- attacks: tools/make_attack_files.py --update docs/security.md -->"
END = "<!-- end of attacks -->"


def table():
    """Markdown: one table per group."""
    lines, group = [], None
    for attack in all_attacks():
        if attack.group != group:
            group = attack.group
            lines += ["", f"### {group}", "", "| name | the lie | what stops it | error |", "|---|---|---|---|"]
        cell = lambda text: text.replace("|", "\\|")
        lines.append(f"| {attack.name} | {cell(attack.lie)} | {cell(attack.rule)} | `{attack.code}` |")
    return "\n".join(lines[1:]) + "\n"


def updated(text):
    """The document with the table of today between its marks."""
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        sys.exit("the document lacks the marks:\n" + BEGIN + "\n" + END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main():
    arguments = sys.argv[1:]
    if arguments == ["--table"]:
        print(table(), end="")
    elif arguments[:1] == ["--update"] and len(arguments) == 2:
        with open(arguments[1], encoding="utf-8") as f:
            text = updated(f.read())
        with open(arguments[1], "w", encoding="utf-8") as f:
            f.write(text)
    elif arguments and not arguments[0].startswith("-"):
        os.makedirs(arguments[0], exist_ok=True)
        wanted = [a for a in all_attacks() if not arguments[1:] or a.name in arguments[1:]]
        for attack in wanted:
            attack.write(arguments[0])
        print(f"{len(wanted)} attacks in {arguments[0]}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
