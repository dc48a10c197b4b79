#!/bin/bash
# Times whole conversions against the bars of the project: `cp` of as many bytes, `cp`
# then `sync`, and the straightforward script (peer_shape_match.py). Runs are interleaved,
# so that a busy minute hits all of them, and medians are printed; page cache warm.
#
#   bench/run_convert.sh WEIGHTBRIDGE [CHECKPOINT] [RUNS] [WORK_FOLDER]
#
# CHECKPOINT is made (reference size, 424 MiB) when it is not there. WORK_FOLDER is
# where files are written: the disk that is measured. PYTHON names the interpreter with torch.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=${1:?usage: run_convert.sh WEIGHTBRIDGE [CHECKPOINT] [RUNS] [WORK_FOLDER]}
work=${4:-$(mktemp -d)}
mkdir -p "$work"
work=$(mktemp -d "$work/bench-XXXXXX")
trap 'rm -rf "$work"' EXIT
checkpoint=${2:-$work/reference.pt}
runs=${3:-11}
python=${PYTHON:-/usr/bin/python3}
[ -e "$checkpoint" ] || "$python" "$here/../tools/make_reference_checkpoint.py" -o "$checkpoint"

# timed NAME COMMAND...: seconds appended to the NAME's list. What the run before left
# dirty is written out first, and its output is gone.
timed() {
  local name=$1
  shift
  rm -rf "$work/out" "$work/copy"
  sync
  local begin=$EPOCHREALTIME
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  echo "$begin $EPOCHREALTIME" | awk '{ printf "%.4f\n", $2 - $1 }' >>"$work/$name.times"
}
median() { sort -n "$work/$1.times" | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'; }
fastest() { sort -n "$work/$1.times" | head -1; }
copy_and_sync() { cp "$1" "$2" && sync "$2"; }
convert() { "$program" convert "$checkpoint" -o "$work/out" "$@"; }
bytes_of() { cat "$work"/out/* | wc -c; }

# As many bytes as each target writes, to be copied.
cat "$checkpoint" >/dev/null
convert --target exact --no-sync >/dev/null 2>&1
head -c "$(bytes_of)" < <(cat "$checkpoint" "$checkpoint") >"$work/exact.bytes"
rm -rf "$work/out"

for ((i = 0; i < runs; ++i)); do
  timed cp cp "$work/exact.bytes" "$work/copy"
  timed exact convert --target exact --no-sync
  timed cp-sync copy_and_sync "$work/exact.bytes" "$work/copy"
  timed exact-sync convert --target exact
  timed shape-match convert --target shape-match --no-sync
  [ $((i % 3)) != 0 ] || timed peer "$python" "$here/peer_shape_match.py" "$checkpoint" "$work/out"
done

# Anonymous memory at its peak, sampled while both ways of writing run.
rss=0
for target in exact shape-match; do
  rm -rf "$work/out"
  "$program" convert "$checkpoint" -o "$work/out" --target "$target" >"$work/log" 2>&1 &
  pid=$!
  while now=none && while read -r key value _; do
      [ "$key" != RssAnon: ] || now=$value
    done 2>/dev/null <"/proc/$pid/status" && [ "$now" != none ]; do
    [ "$now" -le "$rss" ] || rss=$now
  done
  wait "$pid"
done

echo "$(nproc) cores, $(stat -c %s "$checkpoint") bytes read, $(stat -c %s "$work/exact.bytes")" \
     "written (exact); seconds, median (fastest) of $runs interleaved runs"
for name in cp exact cp-sync exact-sync shape-match peer; do
  printf '%-12s %6.3f (%.3f)\n' "$name" "$(median $name)" "$(fastest $name)"
done
ratio() { awk -v a="$(median "$1")" -v b="$(median "$2")" 'BEGIN { printf "%.2f", a / b }'; }
echo "exact --no-sync / cp      $(ratio exact cp)  (bar: at most 1.3)"
echo "exact / cp then sync      $(ratio exact-sync cp-sync)  (bar: at most 1.3)"
echo "peer / shape-match        $(ratio peer shape-match)  (bar: at least 5)"
echo "anonymous memory          $((rss / 1024)) MiB at peak  (bar: under 64)"
