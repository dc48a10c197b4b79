#!/usr/bin/env bash
# run.sh: what `make bench` runs, in order: parts of a conversion, whole conversions against cp,
# sync and a PyTorch script, and whole-sequence evaluation against PyTorch. Builds nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/dev}
"$build/bench/convert_bench" --benchmark_min_time=0.2
bench/run_convert.sh "$build/src/cli/weightbridge"
bench/run_evaluate.sh "$build/bench/evaluate" samples/tiny/tiny-deepseek.pt
