#!/usr/bin/env bash
# A 4 GB checkpoint with the names and shapes of DeepSeek-V3 (fewer and narrower layers), bf16 to
# 4 bits and FP8 to 4 bits, end to end, beside `cat` of the same file, page cache warm; runs are
# interleaved and medians printed. Then anonymous memory at its peak, from 1 to 8 GB (of holes,
# which take no room), and of a plan of the whole 671 billion parameters.
#
#   bench/run_large.sh WEIGHTBRIDGE [RUNS] [WORK_FOLDER]
#
# WORK_FOLDER needs 10 GB and should be on the disk that is measured. Needs numpy.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=${1:?usage: run_large.sh WEIGHTBRIDGE [RUNS] [WORK_FOLDER]}
runs=${2:-7}
work=$(mktemp -d "${3:-${TMPDIR:-/tmp}}/large-XXXXXX")
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-/usr/bin/python3}
make() { "$python" "$here/../tools/make_published_checkpoint.py" --experts 64 --scale 4 --no-mtp "$@" >/dev/null; }
weights() { cat "$1"/*.safetensors; }
bytes_of() { stat -c %s "$1"/*.safetensors | awk '{ s += $1 } END { printf "%.0f\n", s }'; }

timed() {
  local name=$1
  shift
  rm -rf "$work/out"
  sync
  local begin=$EPOCHREALTIME
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  echo "$begin $EPOCHREALTIME" | awk '{ printf "%.4f\n", $2 - $1 }' >>"$work/$name.times"
}
read_all() { cat "$1"/*.safetensors >/dev/null; }
median() { sort -n "$work/$1.times" | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'; }

make -o "$work/bf16" --dtype bf16 --layers 13
make -o "$work/fp8" --dtype fp8 --layers 13
for kind in bf16 fp8; do
  read_all "$work/$kind"
  for ((i = 0; i < runs; ++i)); do
    timed cat-$kind read_all "$work/$kind"
    timed $kind "$program" convert "$work/$kind" -o "$work/out" --bits 4 --no-sync
  done
done
cores=$(nproc)
echo "$cores cores, load $(cut -d' ' -f1 /proc/loadavg); medians of $runs interleaved runs"
for kind in bf16 fp8; do
  awk -v k=$kind -v b="$(bytes_of "$work/$kind")" -v c="$(median cat-$kind)" -v t="$(median $kind)" -v n="$cores" 'BEGIN {
    read = b / c / 1e9; made = b / t / 1e9; bar = 0.7 * (read < 2 * n ? read : 2 * n)
    printf "%-5s to 4 bits: %.2f GB in %.2f s, %.2f GB/s; cat %.2f GB/s", k, b / 1e9, t, made, read
    if (k == "bf16") printf " (bar: at least %.2f GB/s)", bar
    printf "\n" }'
done

# peak NAME COMMAND...: MiB of anonymous memory, sampled while it runs.
peak() {
  "$@" >"$work/log" 2>&1 &
  local pid=$! most=0 now key value
  while now=none && while read -r key value _; do
      [ "$key" != RssAnon: ] || now=$value
    done 2>/dev/null <"/proc/$pid/status" && [ "$now" != none ]; do
    [ "$now" -le "$most" ] || most=$now
  done
  wait "$pid"
  echo $((most / 1024))
}
rm -rf "$work/bf16" "$work/fp8" "$work/out"
for layers in 4 7 13 24; do
  make -o "$work/holes" --dtype bf16 --layers $layers --sparse
  echo "$(($(bytes_of "$work/holes") / 1000000)) MB to 4 bits: anonymous memory" \
    "$(peak "$program" convert "$work/holes" -o "$work/out" --bits 4 --no-sync) MiB at peak (bar: 256)"
  rm -rf "$work/holes" "$work/out"
done
"$python" "$here/../tools/make_published_checkpoint.py" -o "$work/full" --sparse >/dev/null
for ((i = 0; i < runs; ++i)); do timed plan "$program" plan "$work/full"; done
echo "plan of $(($(bytes_of "$work/full") / 1000000000)) GB: $(median plan) s (bar: 2)," \
  "anonymous memory $(peak "$program" plan "$work/full") MiB at peak (bar: 256)"
