#!/usr/bin/env bash
# CatBoost: integer labels other than 0, 1, 2 become positions in its ONNX export.
#
# Guess: a classifier that was trained with the labels 5 and 9 answers 5 or 9, in ONNX too, where
#        the tree operator has a list of labels.
# Seen:  CatBoost 1.2.10 writes the labels 0, 1, 2 whatever they were: 5 and 9 become 0 and 1, and
#        of -1 and 1 every -1 becomes 0, so half of the labels are wrong though the others look
#        right. The keys of the probabilities beside them are 5 and 9. Labels that are strings are
#        kept.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    catboost==1.2.10 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import onnxruntime as ort
from catboost import CatBoostClassifier

print("catboost", version("catboost"), "onnxruntime", version("onnxruntime"))
x = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
second = x[:, 0] + x[:, 1] / 2 > 0
for first, other in ((0, 1), (5, 9), (-1, 1), ("no", "yes")):
    y = np.where(second, other, first)
    model = CatBoostClassifier(iterations=15, depth=3, random_seed=0, verbose=False, allow_writing_files=False)
    model.fit(x, y)
    model.save_model("model.onnx", format="onnx")
    session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    labels, shares = session.run(None, {session.get_inputs()[0].name: x})
    predicted = np.asarray(model.predict(x)).ravel()
    equal = (labels == predicted).mean()
    print("trained with", sorted(set(y.tolist())), "ONNX", sorted(set(labels.tolist())), list(shares[0]), "equal", equal)
    if (first, other) in ((0, 1), ("no", "yes")):
        assert equal == 1
    else:
        assert set(labels) == {0, 1} and list(shares[0]) == [first, other]
        assert ((labels == 1) == (predicted == other)).all() and equal < 0.6
PY
