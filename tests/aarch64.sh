#!/bin/sh
# Builds the protocols for 64-bit Arm and runs the tests of their kernels under qemu. Says SKIPPED,
# and why, where it cannot.
#
#     tests/aarch64.sh [ARGUMENT OF cargo test...]        (--release, for example)
set -eu
case ${1:-} in
    -h | --help) sed -n '2,${s/^# \{0,1\}//p}' "$0" && exit ;;
esac
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
skip() {
    echo "SKIPPED: $1" >&2
    exit 0
}
for tool in qemu-aarch64-static aarch64-linux-gnu-gcc; do
    command -v "$tool" > /dev/null || skip "$tool is absent (Debian: qemu-user-static, gcc-aarch64-linux-gnu, libc6-dev-arm64-cross)"
done
[ -d "$(rustc --print target-libdir --target "$target")" ] || skip "no standard library: rustup target add $target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
cargo test -p fusion-backends --lib --target "$target" "$@" -- kernels:: ring:: rlwe::
