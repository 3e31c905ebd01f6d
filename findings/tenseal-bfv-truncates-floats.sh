#!/usr/bin/env bash
# TenSEAL: a BFV vector of floats drops their fractions without a word.
#
# Guess: BFV computes with integers, so a vector or a weight of 0.6 is refused.
# Seen:  TenSEAL 0.3.18 takes floats and truncates them towards zero: 1.7 is 1, and adding or
#        multiplying by 0.6 adds or multiplies by 0.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    tenseal==0.3.18 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import tenseal as ts

print("tenseal", version("tenseal"))
context = ts.context(ts.SCHEME_TYPE.BFV, 4096, 1032193)
floats = ts.bfv_vector(context, [1.7, -1.7, 0.9])
whole = ts.bfv_vector(context, [5, -3, 2])
results = {
    "[1.7, -1.7, 0.9]": floats.decrypt(),
    "[5, -3, 2] + 0.6": (whole + [0.6] * 3).decrypt(),
    "[5, -3, 2] * [0.6, 0.6, 1.6]": (whole * [0.6, 0.6, 1.6]).decrypt(),
}
print(results)
assert list(results.values()) == [[1, -1, 0], [5, -3, 2], [0, 0, 2]]
PY
