#!/usr/bin/env bash
# fxpmath: clip between two fixed-point numbers clips elsewhere.
#
# Guess: numpy.clip and the method clip take bounds of the type Fxp like floats.
# Seen:  fxpmath 0.4.10: clipped between Fxp(-1) and Fxp(1), of 16 bits and 8 behind the point, 3
#        becomes 0.496; the bounds are compared as if their stored integers were numbers. With
#        floats as bounds it is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    fxpmath==0.4.10 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from fxpmath import Fxp

print("fxpmath", version("fxpmath"))
x = [1.5, -2.25, 3, 0.25]
number = Fxp(x, True, 16, 8)
for bound in (1, 0.5):
    low, high = Fxp(-bound, True, 16, 8), Fxp(bound, True, 16, 8)
    right = np.clip(x, -bound, bound)
    gives = np.clip(number, low, high).get_val()
    print("between", -bound, bound, "right", right, "fxpmath", gives)
    assert (low.get_val(), high.get_val()) == (-bound, bound)
    assert np.array_equal(np.clip(number, -bound, bound).get_val(), right)
    assert np.array_equal(number.clip(low, high).get_val(), gives) and np.abs(gives).max() < bound / 2
PY
