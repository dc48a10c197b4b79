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
# check_shapes FOLDER OPTION...: what plan says against what is in the folder.
check_shapes() {
  local planned written folder=$1
  shift
  planned=$("$program" plan "$source" "$@" | listed)
  written=$("$program" inspect "$out/$folder" --tensors | listed)
  if [ -z "$planned" ] || [ "$planned" != "$written" ]; then
    echo "The folder does not hold what was planned (< planned, > written):" >&2
    diff <(echo "$planned") <(echo "$written") >&2
    exit 1
  fi
  echo "read back: $(echo "$written" | wc -l) tensors, every name, shape and type as planned"
}

rm -rf "$out"
mkdir -p "$out"
text=samples/tiny/text.txt
# The stock target is fitted on one half of the text and everything is measured on the other.
lines=$(($(wc -l <"$text") / 2))
head -n "$lines" "$text" >"$out/calibration.txt"
for target in exact stock shape-match; do
  options=(--target "$target")
  [ "$target" != stock ] || options+=(--calibrate "$out/calibration.txt")
  say "Target $target   weightbridge convert $source -o $out/$target ${options[*]}"
  "$program" convert "$source" -o "$out/$target" "${options[@]}"
  check_shapes "$target" "${options[@]}"
done

# One line of the last table: a name, then numbers picked from verify's JSON.
number() { sed -nE "s/^ *\"$1\": ([-0-9.e+]+),?$/\1/p" | head -n 1; }
section() { sed -n "/^ *\"$1\": {/,/^ *}/p"; }
line() { printf '%-22s %12s %14s %10s  %s\n' "$@"; }
say "Is it the same model?   weightbridge verify $source $out/TARGET --text $text"
table=$(mktemp)
trap 'rm -f "$table"' EXIT
line "" perplexity "KL, nats" "top-1, %" verdict >"$table"
line "PyTorch (golden.json)" "$(number value <samples/tiny/golden.json | xargs printf '%.4f')" - - "the original program" >>"$table"
for target in exact stock shape-match; do
  status=0
  "$program" verify "$source" "$out/$target" --text "$text" --reference samples/tiny/golden.safetensors \
    --report "$out/$target.html" --json >"$out/$target.json" || status=$?
  [ "$status" -le 1 ] || exit "$status"
  [ "$target" != exact ] || line "source, run here" "$(section source <"$out/exact.json" | number perplexity | xargs printf '%.4f')" \
    "$(section reference <"$out/exact.json" | section logits | number mean_kl | xargs printf '%.2g')" \
    "$(section reference <"$out/exact.json" | section logits | number top1 | awk '{printf "%.2f", 100 * $1}')" \
    "against PyTorch's logits" >>"$table"
  line "$target" "$(section output <"$out/$target.json" | number perplexity | xargs printf '%.4f')" \
    "$(section logits <"$out/$target.json" | number mean_kl | xargs printf '%.2g')" \
    "$(section logits <"$out/$target.json" | number top1 | awk '{printf "%.2f", 100 * $1}')" \
    "$([ "$status" -eq 0 ] && echo verified || echo "NOT the same model")" >>"$table"
done
cat "$table"
echo "(stock was calibrated on the first half of this text; docs/mappings.md measures it on the second alone)"

say "What do they say?   weightbridge generate MODEL --prompt 'In the beginning'"
for model in "$source" "$out/exact" "$out/stock" "$out/shape-match"; do
  # What it took goes to stderr: kept apart, and shown only when it is an error.
  text=$("$program" generate "$model" --prompt 'In the beginning' --max-tokens 18 2>"$out/said") ||
    { cat "$out/said" >&2; exit 1; }
  printf '%-16s In the beginning%s\n' "$(basename "$model" .pt):" "$(tr '\n\t' '  ' <<<"$text")"
done
rm "$out/said"

say "Done. The folders are in $out/; open the reports:"
ls "$out"/*.html
