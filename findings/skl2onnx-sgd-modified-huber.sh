#!/usr/bin/env bash
# skl2onnx: SGDClassifier(loss='modified_huber') with three classes takes its label from the
# probabilities.
#
# Guess: The label is the class with the largest decision value, as in scikit-learn.
# Seen:  skl2onnx 1.20.0 takes the first of the largest probabilities. Where all decision values
#        lie beyond -1 or 1 the probabilities of this loss are clipped and equal, and the label is
#        the first of these classes: wrong for a quarter of the samples here.
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

from sklearn.linear_model import SGDClassifier

rng = np.random.default_rng(0)
x = rng.standard_normal((300, 3)).astype(np.float32)
y = np.digitize(x[:, 0] + x[:, 1] * x[:, 2], [-0.7, 0.7])
sgd = SGDClassifier(loss="modified_huber", random_state=0).fit(x, y)
labels, scores = onnx_of(sgd, x, zipmap=False)
wrong = labels != sgd.predict(x)
print("labels that differ", wrong.sum(), "of", len(x), "largest difference of probabilities", np.abs(scores - sgd.predict_proba(x)).max())
assert wrong.sum() > 20 and np.allclose(scores, sgd.predict_proba(x), atol=1e-5)
assert (scores[wrong].max(axis=1) == scores[wrong, labels[wrong]]).all()
PY
