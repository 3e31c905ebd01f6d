#!/usr/bin/env bash
# skl2onnx: KNeighborsClassifier(weights='distance') becomes one that counts neighbours.
#
# Guess: The converter supports or refuses weights='distance', as it has code for it.
# Seen:  skl2onnx 1.20.0 gives every neighbour the same vote, for KNeighborsClassifier on float32
#        inputs: a query at a training point is outvoted by its neighbours.
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

from sklearn.neighbors import KNeighborsClassifier

x = np.float32([[0], [1], [2], [3]])
near = KNeighborsClassifier(3, weights="distance").fit(x, [0, 1, 0, 1])
queries = np.float32([[1.2], [1], [2], [2.6]])
labels, scores = onnx_of(near, queries, zipmap=False)
print("scikit-learn", near.predict(queries), near.predict_proba(queries).round(2).tolist())
print("converted   ", labels, scores.round(2).tolist())
plain = KNeighborsClassifier(3).fit(x, [0, 1, 0, 1])
assert np.allclose(scores, plain.predict_proba(queries), atol=1e-6)
assert (labels != near.predict(queries)).sum() == 3
PY
