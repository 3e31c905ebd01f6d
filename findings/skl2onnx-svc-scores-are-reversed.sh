#!/usr/bin/env bash
# skl2onnx: the larger of the two scores of an SVC is that of the class which it does not predict.
#
# Guess: a converted classifier's second output has a column for each class, and the predicted class
#        has the largest score, as for every other classifier.
# Seen:  skl2onnx 1.20.0 with its default options gives d, -d for two classes (d > 0 means the
#        second): the argmax of the scores is the wrong class in every row, while the label beside
#        it is right. With options raw_scores=True the columns are -d, d. With three classes the
#        argmax is the label.
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
from sklearn.svm import SVC

def onnx_of(model, x, **options):
    """What the converted model gives."""
    converted = to_onnx(model, x[:1], options=options or None)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


print("scikit-learn", version("scikit-learn"), "skl2onnx", version("skl2onnx"))
generator = np.random.default_rng(0)
x = generator.normal(size=(300, 4)).astype(np.float32)
y = (x[:, 0] + x[:, 1] / 2 > 0).astype(int)

model = SVC().fit(x, y)
labels, scores = onnx_of(model, x, zipmap=False)
_, raw = onnx_of(model, x, zipmap=False, raw_scores=True)
print("decisions", model.decision_function(x)[:3], "labels", labels[:3], "scores", scores[:3].tolist())
print("argmax is the label in", (scores.argmax(1) == labels).mean(), "of the rows, raw", (raw.argmax(1) == labels).mean())
assert (labels == model.predict(x)).all() and (scores.argmax(1) != labels).all()
assert np.allclose(scores[:, 0], model.decision_function(x), atol=1e-3) and (raw.argmax(1) == labels).all()
three = y + (x[:, 1] > 0)
model = SVC().fit(x, three)
labels, scores = onnx_of(model, x, zipmap=False)
assert (labels == model.predict(x)).all() and (scores.argmax(1) == labels).mean() > 0.95
PY
