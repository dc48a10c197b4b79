#!/bin/sh
# Runs run.js on real MLX: run.sh WORK_DIR ARGUMENTS (see run.js)
# or another script of this folder: run.sh WORK_DIR --script quantize.js ARGUMENTS...
# Copies this package to WORK_DIR, installs MLX there once (install scripts stay off; the
# package carries its binary), and passes the rest on. Where node, npm or the package is
# missing it says so and exits with 77, which test runners show as skipped.
set -u
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 3 ]; then
  echo "usage: run.sh WORK_DIR ARGUMENTS (see run.js)" >&2
  exit 2
fi
work=$1
shift
script=run.js
if [ "$1" = --script ]; then
  script=$2
  shift 2
fi
skip() {
  echo "SKIPPED: the live test on real MLX did not run: $1" >&2
  exit 77
}
command -v node >/dev/null 2>&1 || skip "node is not installed"
mkdir -p "$work" || exit 4
cp "$here/package.json" "$here"/*.js "$here/.npmrc" "$work/" || exit 4
if [ ! -d "$work/node_modules/@frost-beta/mlx" ]; then
  command -v npm >/dev/null 2>&1 || skip "npm is not installed"
  (cd "$work" && npm install --ignore-scripts --no-audit --no-fund --silent) ||
    skip "npm could not install @frost-beta/mlx (no network?)"
fi
exec node "$work/$script" "$@"
