#!/usr/bin/env bash
# m2cgen: scores of an SVC of three classes are those of the pairs.
#
# Guess: score() gives the library's own decision_function, predict_proba or predict, or the export
#        refuses.
# Seen:  m2cgen 0.10.0 returns the three pairwise decisions whatever decision_function_shape says;
#        its default, ovr, has one score for each class. Both are three numbers, and the argmax of
#        the pairs is another class in most rows.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    m2cgen==0.10.0 scikit-learn==1.9.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import m2cgen
import numpy as np
from sklearn.svm import SVC


def exported(model, rows):
    """What the model's source in Python gives for each row."""
    code = {}
    exec(m2cgen.export_to_python(model), code)
    return np.array([code["score"](row.tolist()) for row in rows])


print("m2cgen", version("m2cgen"), "scikit-learn", version("scikit-learn"))

rng = np.random.default_rng(0)
x = rng.standard_normal((300, 2))
y = np.digitize(x[:, 0], [-0.4, 0.4])
model = SVC().fit(x, y)
gives = exported(model, x)
labels, others = model.predict(x), gives.argmax(1)
print("classes", model.classes_, "predict", labels[:9], "argmax of score", others[:9])
print("equal labels", (labels == others).mean(), "of decision_function", end=" ")
print((labels == model.decision_function(x).argmax(1)).mean())
assert model.decision_function_shape == "ovr" and model.decision_function(x).shape == gives.shape
assert (labels == model.decision_function(x).argmax(1)).all() and (labels == others).mean() < 0.5
pairs = SVC(decision_function_shape="ovo").fit(x, y).decision_function(x)
assert np.allclose(np.abs(gives), np.abs(pairs))
PY
