#!/usr/bin/env bash
# skl2onnx: TunedThresholdClassifierCV loses the threshold that it was tuned for.
#
# Guess: a class whose whole point is a threshold other than 0.5 is converted with it, or refused
#        like FixedThresholdClassifier.
# Seen:  skl2onnx 1.20.0 writes the classifier inside and decides at 0.5: tuned for F1 at 0.30 a
#        third of the rows are positive, converted a fifth; one label in eight changes.
#        Probabilities are equal.
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
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

def onnx_of(model, x, **options):
    """What the converted model gives."""
    converted = to_onnx(model, x[:1], options=options or None)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


print("scikit-learn", version("scikit-learn"), "skl2onnx", version("skl2onnx"))
generator = np.random.default_rng(0)
x = generator.normal(size=(300, 4)).astype(np.float32)
y = (x[:, 0] + x[:, 1] / 2 > 0).astype(int)

rare = (x[:, 0] + x[:, 1] / 2 + generator.normal(size=300) > 1).astype(int)
model = TunedThresholdClassifierCV(LogisticRegression(), scoring="f1").fit(x, rare)
labels, shares = onnx_of(model, x, zipmap=False)
changed = (labels != model.predict(x)).mean()
print("threshold", model.best_threshold_, "positive", model.predict(x).mean(), "converted", labels.mean())
print("labels changed", changed)
assert model.best_threshold_ < 0.45 and changed > 0.05 and (labels == (shares[:, 1] > 0.5)).all()
assert np.allclose(shares, model.predict_proba(x), atol=1e-5)
try:
    onnx_of(FixedThresholdClassifier(LogisticRegression(), threshold=0.3).fit(x, rare), x)
except Exception as error:
    print("FixedThresholdClassifier:", type(error).__name__)
else:
    raise SystemExit("FixedThresholdClassifier is converted now")
PY
