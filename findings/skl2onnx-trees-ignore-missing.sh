#!/usr/bin/env bash
# skl2onnx: trees of scikit-learn that learnt where missing values go send them all one way.
#
# Guess: DecisionTree-, RandomForest- and ExtraTreesClassifier of scikit-learn learn a direction
#        for NaN at each node; ONNX's trees have an attribute for it, so the converter writes it
#        or refuses.
# Seen:  skl2onnx 1.20.0 writes no direction, and every NaN goes right: a tree that answers 0 for
#        NaN answers 1 after conversion.
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

from sklearn.tree import DecisionTreeClassifier

x = np.float32([[1], [2], [3], [np.nan], [np.nan], [4]])
tree = DecisionTreeClassifier(random_state=0).fit(x, [0, 0, 1, 0, 0, 1])
found = onnx_of(tree, x, zipmap=False)[0]
print("scikit-learn", tree.predict(x), "converted", found)
assert list(tree.predict(x)) == [0, 0, 1, 0, 0, 1] and list(found) == [0, 0, 1, 1, 1, 1]
PY
