#!/bin/sh
# The quantisers on NEON: built by Debian's cross compiler, run by qemu-user.
#   run.sh WORK_DIR
# Exit code 77, with the reason, where either is missing (packages g++-aarch64-linux-gnu and
# qemu-user). Highway and JSON are headers only here: the processor is known when it is built.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:?usage: run.sh WORK_DIR}
skip() {
  echo "SKIPPED: the quantisers were not run on NEON: $1" >&2
  exit 77
}
command -v aarch64-linux-gnu-g++ >/dev/null || skip "g++-aarch64-linux-gnu is not installed"
command -v qemu-aarch64 >/dev/null || skip "qemu-user is not installed"
headers=$work/include
mkdir -p "$headers"
for name in hwy nlohmann; do
  [ -d "/usr/include/$name" ] || skip "no /usr/include/$name"
  ln -sfn "/usr/include/$name" "$headers/$name"
done
aarch64-linux-gnu-g++ -std=c++20 -O2 -ffp-contract=off -static -DHWY_COMPILE_ONLY_STATIC \
  -I"$headers" -I"$root/src" -I"$root/tests" -o "$work/check" "$root/tests/neon/check.cpp" \
  "$root/src/quant/format.cpp" "$root/src/quant/plain.cpp" "$root/src/quant/simd.cpp" \
  "$root/src/tensor/element.cpp" "$root/src/tensor/kernels.cpp" "$root/src/tensor/dtype.cpp" "$root/src/base/error.cpp" || exit 1
exec qemu-aarch64 "$work/check" "$root/tests/fixtures/goldens/mlx-quantize.safetensors"
