#!/bin/sh
# Runs client.js with OpenAI's npm client: run.sh WORK_DIR ARGUMENTS (see client.js)
# Installs it in WORK_DIR once. Where node, npm or the package is missing it says so and exits with
# 77, which test runners show as skipped.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$1
shift
skip() {
  echo "SKIPPED: the test with OpenAI's client did not run: $1" >&2
  exit 77
}
command -v node >/dev/null 2>&1 || skip "node is not installed"
mkdir -p "$work" || exit 4
cp "$here/package.json" "$here/client.js" "$here/.npmrc" "$work/" || exit 4
if [ ! -d "$work/node_modules/openai" ]; then
  command -v npm >/dev/null 2>&1 || skip "npm is not installed"
  (cd "$work" && npm install --ignore-scripts --no-audit --no-fund --silent) ||
    skip "npm could not install openai (no network?)"
fi
exec node "$work/client.js" "$@"
