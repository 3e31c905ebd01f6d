#!/usr/bin/env bash
# skl2onnx: MaxAbsScaler(clip=True) does not clip.
#
# Guess: clip=True limits what is beyond the training data to -1 and 1; MinMaxScaler(clip=True) is
#        converted with a Clip, so this is too.
# Seen:  skl2onnx 1.20.0 writes a Scaler and no Clip: a value of ten times the training data's
#        largest becomes 10 instead of 1. MinMaxScaler is right.
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
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler

def onnx_of(model, x, **options):
    """What the converted model gives."""
    converted = to_onnx(model, x[:1], options=options or None)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


print("scikit-learn", version("scikit-learn"), "skl2onnx", version("skl2onnx"))
generator = np.random.default_rng(0)
x = generator.normal(size=(300, 4)).astype(np.float32)
y = (x[:, 0] + x[:, 1] / 2 > 0).astype(int)

far = 10 * np.abs(x).max(0, keepdims=True) * np.float32([[1, -1, 1, -1]])
for scaler in (MaxAbsScaler(clip=True).fit(x), MinMaxScaler(clip=True).fit(x)):
    print(scaler, "scikit-learn", scaler.transform(far)[0], "converted", onnx_of(scaler, far)[0][0])
scaler = MaxAbsScaler(clip=True).fit(x)
assert np.allclose(scaler.transform(far), [[1, -1, 1, -1]])
assert np.allclose(onnx_of(scaler, far)[0], [[10, -10, 10, -10]], rtol=1e-5)
scaler = MinMaxScaler(clip=True).fit(x)
assert np.allclose(onnx_of(scaler, far)[0], scaler.transform(far))
PY
