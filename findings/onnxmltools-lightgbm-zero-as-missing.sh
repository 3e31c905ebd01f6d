#!/usr/bin/env bash
# onnxmltools: LightGBM's zero_as_missing is lost.
#
# Guess: A tree node says where missing values go; a model trained with zero_as_missing=True sends
#        zeros there, and the converter writes that or refuses.
# Seen:  onnxmltools 1.16.0 compares zeros with the threshold like any number: about one label in
#        ten changes on data with 30 % zeros.
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

x[rng.random(x.shape) < 0.3] = 0
sparse = lightgbm.LGBMClassifier(zero_as_missing=True, **small).fit(x, y)
differ = int((sparse.predict(x) != onnx_of(sparse, x)[0].ravel()).sum())
plain = lightgbm.LGBMClassifier(**small).fit(x, y)
same = int((plain.predict(x) != onnx_of(plain, x)[0].ravel()).sum())
print("labels that differ", differ, "of", len(x), "without zero_as_missing", same)
assert differ > 20 and same == 0
PY
