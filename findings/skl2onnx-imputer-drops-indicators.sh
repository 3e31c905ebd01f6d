#!/usr/bin/env bash
# skl2onnx: SimpleImputer(add_indicator=True) loses the indicator columns, and the classifier
# behind it still runs.
#
# Guess: The converter appends the indicators or refuses; a classifier that was fitted on more
#        columns does not accept fewer.
# Seen:  skl2onnx 1.20.0 writes the imputed columns only. In a pipeline with LogisticRegression
#        the missing columns are no error: onnxruntime's LinearClassifier reads the weights with
#        another stride, and about a third of the labels change.
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

from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

rng = np.random.default_rng(0)
x = rng.standard_normal((400, 4)).astype(np.float32)
y = np.digitize(x[:, 0] + x[:, 1] * x[:, 2], [-0.7, 0.7])
x[rng.random(x.shape) < 0.2] = np.nan
imputer = SimpleImputer(add_indicator=True).fit(x)
print("columns", imputer.transform(x).shape[1], "converted", onnx_of(imputer, x)[0].shape[1])
assert imputer.transform(x).shape[1] == 8 and onnx_of(imputer, x)[0].shape[1] == 4
pipeline = make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression()).fit(x, y)
differ = int((pipeline.predict(x) != onnx_of(pipeline, x, zipmap=False)[0]).sum())
print("labels that differ", differ, "of", len(x))
assert differ > 80
PY
