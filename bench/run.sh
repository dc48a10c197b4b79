#!/usr/bin/env bash
# run.sh: what `make bench` runs, in order: parts of a conversion, whole conversions against cp,
# sync and a PyTorch script, whole-sequence evaluation against PyTorch, and decoding and prompts
# against the machine's rooflines, MLX and PyTorch (docs/speed.md). Builds nothing. With --write the
# table of the last goes into docs/speed.md.
#
#   bench/run.sh [--write] [BUILD_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
document=()
if [ "${1:-}" = --write ]; then
  document=(--write docs/speed.md)
  shift
fi
build=${1:-build/dev}
"$build/bench/convert_bench" --benchmark_min_time=0.2
bench/run_convert.sh "$build/src/cli/weightbridge"
bench/run_evaluate.sh "$build/bench/evaluate" samples/tiny/tiny-deepseek.pt
bench/run_decode.sh ${document[@]+"${document[@]}"} "$build/src/cli/weightbridge"
