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

rm -rf "$out"
mkdir -p "$out"
for target in exact stock shape-match; do
  # A target that this version does not have yet says so itself and is passed over.
  if ! "$program" plan "$source" --target "$target" >/dev/null 2>"$out/why"; then
    say "Target $target: not available for this checkpoint"
    cat "$out/why"
    continue
  fi
  say "Target $target   weightbridge convert $source -o $out/$target --target $target"
  "$program" convert "$source" -o "$out/$target" --target "$target"
  "$program" inspect "$out/$target" --tensors --json >"$out/written.json"
  "$program" plan "$source" --target "$target" --json >"$out/planned.json"
  tools/compare_shapes.py "$out/planned.json" "$out/written.json"
done
rm -f "$out/why" "$out/written.json" "$out/planned.json"
say "Done: the folders are in $out/"
