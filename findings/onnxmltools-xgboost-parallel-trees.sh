#!/usr/bin/env bash
# onnxmltools: XGBoost's num_parallel_tree (and XGBRFClassifier) puts trees into the wrong
# classes.
#
# Guess: A boosting round of a model with three classes and num_parallel_tree = 3 has nine trees,
#        three for each class in turn; the model file says which tree belongs to which class, and
#        the converter reads that.
# Seen:  onnxmltools 1.16.0 gives tree i to class i modulo 3: more than half of the labels change,
#        and nothing is said. With two classes XGBRFClassifier is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    xgboost-cpu==3.2.0 onnxmltools==1.16.0 skl2onnx==1.20.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnxruntime as ort
import xgboost
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType


def differing(model):
    converted = convert_xgboost(model, initial_types=[("x", FloatTensorType([None, x.shape[1]]))])
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return int((model.predict(x) != np.array(session.run(None, {"x": x})[0]).ravel()).sum())


rng = np.random.default_rng(0)
x = rng.standard_normal((600, 4)).astype(np.float32)
three = np.digitize(x[:, 0] + x[:, 1] * x[:, 2], [-0.7, 0.7])
small = dict(n_estimators=20, max_depth=3, n_jobs=1, random_state=0)
plain = differing(xgboost.XGBClassifier(**small).fit(x, three))
parallel = differing(xgboost.XGBClassifier(num_parallel_tree=3, subsample=0.7, **small).fit(x, three))
forest = differing(xgboost.XGBRFClassifier(**small).fit(x, three))
two = differing(xgboost.XGBRFClassifier(**small).fit(x, (three == 1).astype(int)))
print(f"labels that differ of 600: plain {plain}, num_parallel_tree=3 {parallel}, XGBRFClassifier {forest}, of two classes {two}")
assert plain == 0 and two == 0 and parallel > 200 and forest > 200
PY
