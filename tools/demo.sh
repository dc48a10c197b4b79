#!/usr/bin/env bash
# demo.sh PROGRAM: the small trained checkpoint to every target that there is, into
# demo-out/, with the account, and every shape checked by reading the folder again.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1
source=samples/tiny/tiny-deepseek.pt
out=demo-out

say() { if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\n\033[1;36m%s\033[0m\n' "$*"; else printf '\n%s\n' "== $*"; fi; }

say "What is it?   weightbridge inspect $source"
"$program" inspect "$source"

# "name dtype [shape]" of every tensor that plan or inspect --tensors lists.
listed() { sed -nE 's/^  ([^ ]+) +([A-Z0-9_]+) +(\[[0-9, ]*\]).*/\1 \2 \3/p' | sort; }
check_shapes() {
  local planned written
  planned=$("$program" plan "$source" --target "$1" | listed)
  written=$("$program" inspect "$out/$1" --tensors | listed)
  if [ -z "$planned" ] || [ "$planned" != "$written" ]; then
    echo "The folder does not hold what was planned (< planned, > written):" >&2
    diff <(echo "$planned") <(echo "$written") >&2
    exit 1
  fi
  echo "read back: $(echo "$written" | wc -l) tensors, every name, shape and type as planned"
}

rm -rf "$out"
mkdir -p "$out"
for target in exact stock shape-match; do
  # The stock class may have no place for a checkpoint; anything else that fails is a failure.
  status=0
  "$program" plan "$source" --target "$target" >/dev/null 2>"$out/why" || status=$?
  if [ "$target" = stock ] && [ "$status" -eq 3 ]; then
    say "Target $target has no place for this checkpoint"
    cat "$out/why"
    continue
  fi
  say "Target $target   weightbridge convert $source -o $out/$target --target $target"
  "$program" convert "$source" -o "$out/$target" --target "$target"
  check_shapes "$target"
done
rm -f "$out/why"
say "Done: the folders are in $out/"
