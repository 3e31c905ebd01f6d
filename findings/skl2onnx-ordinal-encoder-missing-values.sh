#!/usr/bin/env bash
# skl2onnx: OrdinalEncoder writes -1 for missing values, whatever it was told.
#
# Guess: scikit-learn's OrdinalEncoder passes NaN on by default, and writes encoded_missing_value
#        where that is given; trees behind it were trained with that number. The converter keeps it
#        or refuses.
# Seen:  skl2onnx 1.20.0 gives -1 in both cases: NaN becomes -1, and so does a missing value that
#        should be -5 or 99. A pipeline with encoded_missing_value=99 and a tree changes its label
#        for the missing rows.
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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

def onnx_of(model, x, **options):
    """What the converted model gives."""
    converted = to_onnx(model, x[:1], options=options or None)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


print("scikit-learn", version("scikit-learn"), "skl2onnx", version("skl2onnx"))
generator = np.random.default_rng(0)
x = generator.normal(size=(300, 4)).astype(np.float32)
y = (x[:, 0] + x[:, 1] / 2 > 0).astype(int)

kinds = generator.integers(0, 5, size=(300, 2)).astype(np.float32)
kinds[::7, 1] = np.nan
missing = np.isnan(kinds)
for encoder, expected in ((OrdinalEncoder(), np.nan), (OrdinalEncoder(encoded_missing_value=-5), -5)):
    encoder.fit(kinds)
    gives = onnx_of(encoder, kinds)[0]
    print(encoder, "scikit-learn", encoder.transform(kinds)[:2].tolist(), "converted", gives[:2].tolist())
    assert np.array_equal(encoder.transform(kinds)[missing], np.full(missing.sum(), expected), equal_nan=True)
    assert (gives[missing] == -1).all() and (gives[~missing] == encoder.transform(kinds)[~missing]).all()
target = (missing[:, 1] | (kinds[:, 1] == 4)).astype(int)
model = make_pipeline(OrdinalEncoder(encoded_missing_value=99), DecisionTreeClassifier(random_state=0)).fit(kinds, target)
labels = onnx_of(model, kinds)[0]
changed = labels != model.predict(kinds)
print("labels changed", changed.sum(), "of rows with a missing value", missing[:, 1].sum())
assert (changed == missing[:, 1]).all()
PY
