#!/usr/bin/env bash
# m2cgen: trees of several outputs give the first one alone.
#
# Guess: score() gives the library's own decision_function, predict_proba or predict, or the export
#        refuses.
# Seen:  m2cgen 0.10.0 exports decision trees, random forests and extra trees that were trained on
#        several targets without a word; score() returns one number, the first target's.
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
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor


def exported(model, rows):
    """What the model's source in Python gives for each row."""
    code = {}
    exec(m2cgen.export_to_python(model), code)
    return np.array([code["score"](row.tolist()) for row in rows])


print("m2cgen", version("m2cgen"), "scikit-learn", version("scikit-learn"))

rng = np.random.default_rng(0)
x = rng.standard_normal((200, 3))
targets = np.c_[x[:, 0], -5 * x[:, 1], x.sum(1)]
for kind in (DecisionTreeRegressor, RandomForestRegressor, ExtraTreesRegressor):
    model = kind(max_depth=4, random_state=0)
    if kind is not DecisionTreeRegressor:
        model.set_params(n_estimators=5)
    right, gives = model.fit(x, targets).predict(x[:50]), exported(model, x[:50])
    shown = right.shape, right[0].round(3), "score", gives.shape, gives[0].round(3)
    print(kind.__name__, "predict", *shown)
    assert right.shape == (50, 3) and gives.shape == (50,) and np.allclose(gives, right[:, 0])
PY
