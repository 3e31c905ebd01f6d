#!/usr/bin/env bash
# onnxmltools: LightGBM's thresholds are rounded to the nearest float32, so values on them change
# sides.
#
# Guess: LightGBM's thresholds are doubles between two float32 values; for x <= t on float32
#        inputs to stay as it was, the converter rounds t down.
# Seen:  onnxmltools 1.16.0 rounds to the nearest, often up to the next value that occurs: with
#        integers from 2^24 on, or neighbouring float32 values, labels flip (half of them in the
#        second case). skl2onnx does round down for scikit-learn's trees.
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

one, next_ = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
pair = np.stack([np.where(np.arange(600) % 2, next_, one), x[:, 0]], axis=1)
side = (pair[:, 0] > 1).astype(int)
close = lightgbm.LGBMClassifier(**small).fit(pair, side)
differ = int((close.predict(pair) != onnx_of(close, pair)[0].ravel()).sum())
print("neighbouring floats: labels that differ", differ, "of 600; wrong in LightGBM", int((close.predict(pair) != side).sum()))
assert differ == 300
large = rng.integers(2**24, 2**24 + 84, (600, 4)).astype(np.float32)
model = lightgbm.LGBMClassifier(**small).fit(large, (large[:, 0] > large[:, 1]).astype(int))
differ = int((model.predict(large) != onnx_of(model, large)[0].ravel()).sum())
print("integers from 2^24 on: labels that differ", differ, "of 600")
assert differ > 0
PY
