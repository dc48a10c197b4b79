#!/usr/bin/env python3
"""Milliseconds from starting `weightbridge generate` to the first byte of its answer.

    first_token.py PROGRAM MODEL ROUNDS

One line for each round. The prompt is 16 tokens. The model's file is in the page cache after a
first round, which is not printed."""
import subprocess
import sys
import time


def main():
    program, model, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tokens = ",".join(str(i * 7919 % 50000) for i in range(16))
    command = [program, "generate", model, "--tokens", tokens, "--max-tokens", "2"]
    for i in range(rounds + 1):
        start = time.perf_counter()
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if not run.stdout.read(1):
            sys.exit(f"{' '.join(command)} says nothing")
        seconds = time.perf_counter() - start
        run.stdout.close()
        run.wait()
        if i > 0:
            print(f"{seconds * 1e3:.1f}")


if __name__ == "__main__":
    main()
