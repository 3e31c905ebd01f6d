#!/usr/bin/env bash
# onnxmltools: LightGBM's link functions are replaced by the usual ones.
#
# Guess: What stands between the trees' sum and the output (sigmoid=2, multiclassova's sigmoids,
#        reg_sqrt's square) is converted or refused, like the logistic function and the
#        exponential of poisson.
# Seen:  onnxmltools 1.16.0 uses a plain sigmoid for sigmoid=2, a softmax for multiclassova
#        (LightGBM: sigmoids over their sum), and no square for reg_sqrt: labels stay,
#        probabilities are off by 0.1 and more, and a regression is wrong.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    lightgbm==4.7.0 onnxmltools==1.16.0 skl2onnx==1.20.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import lightgbm
import numpy as np
import onnxruntime as ort
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType


def onnx_of(model, x):
    """What the converted model gives."""
    types = [("x", FloatTensorType([None, x.shape[1]]))]
    extra = {"zipmap": False} if hasattr(model, "classes_") else {}
    converted = convert_lightgbm(model, initial_types=types, **extra)
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


rng = np.random.default_rng(0)
x = rng.standard_normal((600, 4)).astype(np.float32)
y = (x[:, 0] * x[:, 1] + x[:, 2] > 0.2).astype(int)
small = dict(n_estimators=20, min_child_samples=5, verbose=-1, random_state=0, n_jobs=1)

def off(model):
    right = model.predict_proba(x) if hasattr(model, "classes_") else model.predict(x)
    return float(np.abs(right - np.array(onnx_of(model, x)[-1]).reshape(right.shape)).max())


three = np.digitize(x[:, 0] + x[:, 1] * x[:, 2], [-0.7, 0.7])
found = {
    "plain": off(lightgbm.LGBMClassifier(**small).fit(x, y)),
    "poisson": off(lightgbm.LGBMRegressor(objective="poisson", **small).fit(x, np.abs(x[:, 0]))),
    "sigmoid=2": off(lightgbm.LGBMClassifier(sigmoid=2.0, **small).fit(x, y)),
    "multiclassova": off(lightgbm.LGBMClassifier(objective="multiclassova", **small).fit(x, three)),
    "reg_sqrt": off(lightgbm.LGBMRegressor(reg_sqrt=True, **small).fit(x, 3 * x[:, 0])),
}
print("largest differences", {name: round(value, 6) for name, value in found.items()})
assert all((value < 1e-4) == (name in ("plain", "poisson")) for name, value in found.items())
assert all(found[name] > 0.1 for name in ("sigmoid=2", "multiclassova", "reg_sqrt"))
PY
