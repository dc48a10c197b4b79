#!/usr/bin/env bash
# Decoding and prompts on the reference-size model (109 million parameters), ours beside MLX
# (@frost-beta/mlx from npm) and PyTorch, in turns in one run; one table of medians, rooflines,
# ratios and bars.
#
#   bench/run_decode.sh [--write FILE] PROGRAM [TURNS] [WORK_FOLDER]
#
# --write puts the table into FILE (docs/speed.md) as well, between its markers. WORK_FOLDER keeps
# the checkpoint and the folders made of it (1 GB), and MLX; where MLX cannot be installed its rows
# are left out. 4 bits: groups of 64, scales f32 as the checkpoint is; once more from bf16, whose
# scales are bf16 (ours alone: that MLX release multiplies f32 only on a CPU).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=/usr/bin/python3
document=''
if [ "${1:-}" = --write ]; then
  document=${2:?usage: run_decode.sh [--write FILE] PROGRAM [TURNS] [WORK_FOLDER]}
  shift 2
  "$python" "$here/write_block.py" "$document" decode --check  # before the work, not after
fi
program=${1:?usage: run_decode.sh [--write FILE] PROGRAM [TURNS] [WORK_FOLDER]}
turns=${2:-3}
work=${3:-$here/../build/bench-decode}
mlx=$work/mlx
mkdir -p "$mlx"
if [ ! -d "$mlx/node_modules/@frost-beta/mlx" ]; then
  cp "$here/../tests/mlx_live/package.json" "$here/../tests/mlx_live/.npmrc" "$mlx/"
  (cd "$mlx" && npm install --ignore-scripts --no-audit --no-fund --silent) ||
    echo "run_decode.sh: MLX cannot be installed (npm); its rows are left out" >&2
fi
cp "$here/peer_decode.js" "$here/../tests/mlx_live/model.js" "$mlx/"
checkpoint=$work/reference.pt
[ -f "$checkpoint" ] || "$here/../tools/make_reference_checkpoint.py" -o "$checkpoint"
make_folder() { # NAME DTYPE FLAGS...
  local name=$1 dtype=$2
  shift 2
  [ -d "$work/$name" ] || "$program" convert "$checkpoint" -o "$work/$name" --target exact \
    --dtype "$dtype" --no-sync "$@" >"$work/convert.log" 2>&1 || { cat "$work/convert.log"; exit 1; }
}
models="f32 bf16"
make_folder f32 f32
make_folder bf16 bf16
for bits in 2 3 4 5 6 8; do
  for dtype in f32 bf16; do
    make_folder "$dtype-$bits" $dtype --bits $bits --group-size 64
    models="$models $dtype-$bits"
  done
done

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
for ((i = 0; i < turns; ++i)); do
  for model in $models; do
    "$program" bench "$work/$model" --prompt 512 --decode 128 --json >"$results/$model.alone.$i"
  done
  for model in f32 f32-4; do
    "$program" bench "$work/$model" --prompt 2 --decode 64 --context 256 --json \
      >"$results/$model.at256.$i"
    [ ! -d "$mlx/node_modules/@frost-beta/mlx" ] ||
      node --expose-gc "$mlx/peer_decode.js" "$work/$model" 256 32 >"$results/$model.mlx.$i"
  done
  for way in groups each; do
    "$python" "$here/peer_generate.py" "$checkpoint" 256 3 $way >"$results/torch.generate.$way.$i"
    "$python" "$here/peer_evaluate.py" "$checkpoint" 512 3 2 $way >"$results/torch.evaluate.$way.$i"
  done
  for model in f32 f32-4; do
    "$python" "$here/first_token.py" "$program" "$work/$model" 10 >"$results/$model.first.$i"
  done
done
"$python" "$here/decode_table.py" "$results" "$turns" | tee "$results/table"
[ -z "$document" ] || "$python" "$here/write_block.py" "$document" decode <"$results/table"
