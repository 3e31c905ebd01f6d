#!/usr/bin/env bash
# onnxmltools: a LightGBM random forest (boosting='rf') is divided by 100, whatever its number of
# trees.
#
# Guess: LightGBM averages the trees of boosting='rf'; the converter, which has code for it,
#        divides the trees' sum by their number before the sigmoid.
# Seen:  onnxmltools 1.16.0 divides by 100: a regressor of 20 trees gives a fifth of its value.
#        For a classifier it divides the probability, behind the sigmoid, so it is at most 0.01
#        and every answer is class 0. With three classes there are two columns of scores. With a
#        raw Booster nothing is divided at all.
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

forest = dict(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, **small)
regressor = lightgbm.LGBMRegressor(**forest).fit(x, x[:, 0])
ratio = float(np.median(onnx_of(regressor, x)[0].ravel() / regressor.predict(x)))
print("a regressor's output is that of LightGBM times", round(ratio, 6))
classifier = lightgbm.LGBMClassifier(**forest).fit(x, y)
labels, scores = onnx_of(classifier, x)
right = int(classifier.predict(x).sum())
print("samples of class 1:", right, "in LightGBM,", int(np.sum(labels)), "after conversion; largest score", scores[:, 1].max())
three = np.digitize(x[:, 0], [-0.7, 0.7])
columns = onnx_of(lightgbm.LGBMClassifier(**forest).fit(x, three), x)[1].shape[1]
print("columns of scores for three classes", columns)
assert abs(ratio - 0.2) < 1e-3 and right > 100 and np.sum(labels) == 0 and scores[:, 1].max() < 0.011 and columns == 2
PY
