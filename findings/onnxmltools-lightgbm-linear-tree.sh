#!/usr/bin/env bash
# onnxmltools: a LightGBM model with linear_tree=True is converted with constant leaves.
#
# Guess: ONNX's tree operators have no linear leaves, so the converter refuses.
# Seen:  onnxmltools 1.16.0 writes the leaves' constants and drops their coefficients without a
#        word: the output is off by more than its spread.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    lightgbm==4.7.0 onnxmltools==1.16.0 skl2onnx==1.20.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import lightgbm
import numpy as np
import onnxruntime as ort
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType


def onnx_of(model, x):
    """What the converted model gives."""
    types = [("x", FloatTensorType([None, x.shape[1]]))]
    extra = {"zipmap": False} if hasattr(model, "classes_") else {}
    converted = convert_lightgbm(model, initial_types=types, **extra)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


rng = np.random.default_rng(0)
x = rng.standard_normal((600, 4)).astype(np.float32)
y = (x[:, 0] * x[:, 1] + x[:, 2] > 0.2).astype(int)
small = dict(n_estimators=20, min_child_samples=5, verbose=-1, random_state=0, n_jobs=1)

linear = lightgbm.LGBMRegressor(linear_tree=True, **small).fit(x.astype(np.float64), 3 * x[:, 0] + x[:, 1] * x[:, 2])
right, found = linear.predict(x), onnx_of(linear, x)[0].ravel()
print(f"largest error {np.abs(right - found).max():.2f}, spread of the output {right.std():.2f}")
assert np.abs(right - found).max() > right.std() / 2
PY
