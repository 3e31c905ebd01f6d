#!/usr/bin/env bash
# m2cgen: trees compare float64, so that values at a threshold change sides.
#
# Guess: score() gives the library's own decision_function, predict_proba or predict, or the export
#        refuses.
# Seen:  scikit-learn rounds features to float32 before it compares, m2cgen 0.10.0 does not: the
#        threshold midway between 0.2 and 0.4 lies between 0.3 of float64 and 0.3 of float32, which
#        go to different sides. Of features with one decimal some rows in a thousand get the other
#        label.
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
from sklearn.tree import DecisionTreeClassifier


def exported(model, rows):
    """What the model's source in Python gives for each row."""
    code = {}
    exec(m2cgen.export_to_python(model), code)
    return np.array([code["score"](row.tolist()) for row in rows])


print("m2cgen", version("m2cgen"), "scikit-learn", version("scikit-learn"))

stump = DecisionTreeClassifier().fit([[0.2], [0.4]], [0, 1])
row, threshold = np.array([[0.3]]), stump.tree_.threshold[0]
print("threshold", threshold, "0.3 in float32", float(np.float32(0.3)), end=" ")
print("predict_proba", stump.predict_proba(row)[0], "score", exported(stump, row)[0])
assert stump.predict(row)[0] == 1 and exported(stump, row)[0].argmax() == 0

rng = np.random.default_rng(0)
x = rng.uniform(0, 10, (20000, 3)).round(1)
y = (x[:, 0] + x[:, 1] / 2 + rng.standard_normal(20000) > 7).astype(int)
tree = DecisionTreeClassifier(random_state=0).fit(x[:300], y[:300])
differ = (exported(tree, x).argmax(1) != tree.predict(x)).mean()
print("of features with one decimal, other labels in", differ)
assert differ > 1e-4
PY
