#!/usr/bin/env bash
# 4-bit affine quantisation, ours and mx.quantize of real MLX (@frost-beta/mlx from npm) on the
# same arrays (4096 x 4096 weights, groups of 64) and cores, in turn in one run; medians.
#
#   bench/run_quantize.sh QUANTIZE_BENCH [TURNS] [WORK_FOLDER]
#
# WORK_FOLDER is where MLX is installed once, as tests/mlx_live does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=${1:?usage: run_quantize.sh QUANTIZE_BENCH [TURNS] [WORK_FOLDER]}
turns=${2:-3}
work=${3:-$here/../build/release/mlx-live}
if [ ! -d "$work/node_modules/@frost-beta/mlx" ]; then
  mkdir -p "$work"
  cp "$here/../tests/mlx_live/package.json" "$here/../tests/mlx_live/.npmrc" "$work/"
  (cd "$work" && npm install --ignore-scripts --no-audit --no-fund --silent)
fi
cp "$here/peer_quantize.js" "$work/"
times=$(mktemp -d)
trap 'rm -rf "$times"' EXIT
for ((i = 0; i < turns; ++i)); do
  node "$work/peer_quantize.js" 3 | awk -v d="$times" '{ print $3 >> (d "/mlx." $1) }'
  for type in f32 bf16; do
    "$program" "--benchmark_filter=affine/$type/b4/g64/all_cores" --benchmark_min_time=0.3 \
      --benchmark_format=csv 2>/dev/null | awk -F, '/^"/ { print $3 }' >>"$times/ours.$type"
  done
done
median() { sort -n "$times/$1" | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'; }
echo "$(nproc) cores, 4 bits, groups of 64, 16.8 million weights; medians of $turns turns"
for type in f32 bf16; do
  bytes=$([ $type = f32 ] && echo 67108864 || echo 33554432)
  awk -v t=$type -v b=$bytes -v a="$(median "ours.$type")" -v m="$(median "mlx.$type")" 'BEGIN {
    printf "%-5s weightbridge %8.2f ms (%6.2f GB/s in)   MLX %8.2f ms (%6.2f GB/s in)   ratio %.1f (bar: at least 5)\n",
           t, a, b / a / 1e6, m, b / m / 1e6, m / a }'
done
