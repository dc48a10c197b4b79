#!/usr/bin/env bash
# run_evaluate.sh EVALUATE CHECKPOINT [TOKENS] [TURNS]: tokens per second of whole-sequence
# evaluation, ours and PyTorch's in turn in one run; medians and their ratio.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1 checkpoint=$2 tokens=${3:-256} turns=${4:-5}
python=/usr/bin/python3
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for ((i = 0; i < turns; i++)); do
  "$program" "$checkpoint" "$tokens" 3 >>"$work/ours"
  "$python" bench/peer_evaluate.py "$checkpoint" "$tokens" 3 >>"$work/torch"
done
ours=$(median "$work/ours") torch=$(median "$work/torch")
awk -v a="$ours" -v b="$torch" -v n="$tokens" -v t="$turns" 'BEGIN {
  printf "whole-sequence evaluation of %d tokens, medians of %d runs in %d turns\n", n, 3 * t, t
  printf "  weightbridge  %8.1f tokens/s\n  PyTorch       %8.1f tokens/s\n  ratio         %8.2f (bar: at least 1)\n", a, b, a / b }'
