#!/usr/bin/env bash
# skl2onnx: LinearDiscriminantAnalysis of two classes doubles the logit behind its probabilities.
#
# Guess: scikit-learn's probability is the logistic function of the score, as in logistic
#        regression, whose conversion is right; so is this one.
# Seen:  skl2onnx 1.20.0 writes a LinearClassifier with the scores -s, s and SOFTMAX, which is the
#        logistic function of 2 s: 0.57 becomes 0.64, 0.80 becomes 0.94. Labels stay; with three
#        classes the probabilities are right.
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
from importlib.metadata import version

import numpy as np
import onnxruntime as ort
from skl2onnx import to_onnx
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

def onnx_of(model, x, **options):
    """What the converted model gives."""
    converted = to_onnx(model, x[:1], options=options or None)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


print("scikit-learn", version("scikit-learn"), "skl2onnx", version("skl2onnx"))
generator = np.random.default_rng(0)
x = generator.normal(size=(300, 4)).astype(np.float32)
y = (x[:, 0] + x[:, 1] / 2 > 0).astype(int)

model = LinearDiscriminantAnalysis().fit(x, y)
labels, shares = onnx_of(model, x, zipmap=False)
score = model.decision_function(x)
print("scikit-learn", model.predict_proba(x)[:3, 1], "converted", shares[:3, 1], "scores", score[:3])
assert (labels == model.predict(x)).all()
assert np.allclose(model.predict_proba(x)[:, 1], 1 / (1 + np.exp(-score)), atol=1e-6)
assert np.allclose(shares[:, 1], 1 / (1 + np.exp(-2 * score)), atol=1e-4)
assert np.abs(shares - model.predict_proba(x)).max() > 0.1
three = y + (x[:, 1] > 0)
model = LinearDiscriminantAnalysis().fit(x, three)
assert np.allclose(onnx_of(model, x, zipmap=False)[1], model.predict_proba(x), atol=1e-4)
PY
