#!/usr/bin/env bash
# skl2onnx: Normalizer(norm='max') divides by the largest value, not by the largest absolute
# value.
#
# Guess: scikit-learn divides a row by max |x| (since 1.0); ONNX's Normalizer has a mode MAX that
#        does the same.
# Seen:  ONNX's MAX takes the maximum with its sign, and skl2onnx 1.20.0 uses it: the row 1, -4
#        becomes 1, -4 instead of 0.25, -1.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnxruntime as ort
from skl2onnx import to_onnx


def onnx_of(model, x, **options):
    """What the converted model gives."""
    converted = to_onnx(model, x[:1], options=options or None)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})

from sklearn.preprocessing import Normalizer

x = np.float32([[1, -4], [-3, 2]])
norm = Normalizer("max").fit(x)
print("scikit-learn", norm.transform(x).tolist(), "converted", onnx_of(norm, x)[0].tolist())
assert np.allclose(norm.transform(x), [[0.25, -1], [-1, 2 / 3]]) and np.allclose(onnx_of(norm, x)[0], [[1, -4], [-1.5, 1]])
PY
