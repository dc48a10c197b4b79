#!/usr/bin/env bash
# coverage.sh BUILD: what the tests run of the readers and writers (src/base, tensor, checkpoint,
# quant, target, convert, package), by gcov; writes docs/coverage.md with every line that no test
# reached. BUILD is a build of the preset "coverage". gcov counts per process, and a process that is
# killed counts nothing, so that faults and interrupted runs are not seen.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
find "$build" -name '*.gcda' -delete
tests='^(cli|cli_live|variants|quantise|integrity|reference_size|published|attacks|gallery|ranks|resume|determinism|faults|short_.*)$'
ctest --test-dir "$build" -j 2 -L unit --output-on-failure >"$build/coverage-tests.log" 2>&1 ||
  { tail -40 "$build/coverage-tests.log" >&2; exit 1; }
ctest --test-dir "$build" -j 2 -R "$tests" --output-on-failure >>"$build/coverage-tests.log" 2>&1 ||
  { tail -40 "$build/coverage-tests.log" >&2; exit 1; }
filters=()
for layer in base tensor checkpoint quant target convert package; do
  filters+=(--filter "src/$layer/")
done
gcovr --root . "${filters[@]}" --gcov-executable "${GCOV:-gcov}" --exclude-unreachable-branches \
  --exclude-lines-by-pattern '.*(WB_BUG|WB_CHECK).*' --json "$build/coverage.json" "$build" >&2
tools/coverage_report.py "$build/coverage.json" . >docs/coverage.md
head -40 docs/coverage.md
