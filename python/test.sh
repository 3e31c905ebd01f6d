#!/usr/bin/env bash
# Builds the native half in this checkout, as `cargo test --workspace` has it, and runs the tests in
# a virtual environment of their own. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
# The same build as that of `cargo test --workspace`, so nothing is compiled twice.
cargo build --workspace --lib --tests
for library in lib_fusion.so lib_fusion.dylib; do
    [ ! -e "$target/debug/$library" ] || cp "$target/debug/$library" fusion/_fusion.abi3.so
done
venv=$target/python
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
exec "$venv/bin/python" -m pytest -q -rs "$@"
