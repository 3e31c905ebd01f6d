#!/usr/bin/env bash
# Adds the toy family to a copy of the workspace and tests it there; see README.md beside it. Takes
# no arguments.
set -euo pipefail
case ${1:-} in
    "") ;;
    -h | --help) echo "usage: tests/toy/run.sh" && exit ;;
    *) echo "usage: tests/toy/run.sh" >&2 && exit 2 ;;
esac
cd "$(dirname "$0")/../.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z ir backends Cargo.toml Cargo.lock | xargs -0 cp --parents -t "$copy"
# A folder of its own: cargo tells packages apart by their place in the workspace, and the copy's
# are in the same places.
export CARGO_TARGET_DIR=$PWD/target/toy
cp -r tests/toy/protocol "$copy/backends/protocol/src/families/toy"
cp -r tests/toy/engine "$copy/backends/engine/src/families/toy"
cp tests/toy/session.rs "$copy/backends/engine/tests/toy.rs"
patch=$PWD/tests/toy/lines.patch
cd "$copy"
# The crates that a family is part of.
sed -i '/^members = \[/,/^\]/{/^    "ir"/b;/^    "backends/b;/^    /d};/^default-members/d' Cargo.toml
git apply "$patch"
git apply --numstat "$patch"
added=$(git apply --numstat "$patch" | awk '{ added += $1; removed += $2 } END { print added + 0, removed + 0 }')
[ "$added" = "3 0" ] || { echo "a family takes 3 lines beside its folders, this patch adds and removes: $added" >&2; exit 1; }
cargo test --offline -p fusion-backends --test toy
