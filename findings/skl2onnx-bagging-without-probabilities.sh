#!/usr/bin/env bash
# skl2onnx: BaggingClassifier of classifiers without probabilities answers once per estimator, not
# once per row.
#
# Guess: where its estimators have no predict_proba, scikit-learn's bagging counts their votes; the
#        converter counts them as well, or refuses.
# Seen:  skl2onnx 1.20.0 gives as many labels as there are estimators, five for 300 rows, all of the
#        first class, for LinearSVC, SVC and RidgeClassifier. Nothing is raised. With
#        LogisticRegression inside it is right.
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
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import SVC, LinearSVC

def onnx_of(model, x, **options):
    """What the converted model gives."""
    converted = to_onnx(model, x[:1], options=options or None)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


print("scikit-learn", version("scikit-learn"), "skl2onnx", version("skl2onnx"))
generator = np.random.default_rng(0)
x = generator.normal(size=(300, 4)).astype(np.float32)
y = (x[:, 0] + x[:, 1] / 2 > 0).astype(int)

for inside in (LinearSVC(), SVC(), RidgeClassifier()):
    model = BaggingClassifier(inside, n_estimators=5, random_state=0).fit(x, y)
    labels = onnx_of(model, x, zipmap=False)[0]
    print(inside, "rows", len(x), "of class 1", model.predict(x).sum(), "converted labels", labels)
    assert labels.shape == (5,) and (labels == 0).all() and model.predict(x).sum() > 100
model = BaggingClassifier(LogisticRegression(), n_estimators=5, random_state=0).fit(x, y)
assert (onnx_of(model, x)[0] == model.predict(x)).all()
PY
