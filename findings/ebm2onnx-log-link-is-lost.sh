#!/usr/bin/env bash
# ebm2onnx: a Poisson, gamma or Tweedie regressor gives the logarithm of its prediction.
#
# Guess: an ExplainableBoostingRegressor predicts exp of the sum of its terms with these objectives;
#        the ONNX file ends with Exp, or the objective is refused.
# Seen:  ebm2onnx 3.3.1 writes the sum: where interpret 0.7.8 predicts 2, the file gives 0.69, and
#        negative numbers for counts below one. With objective="rmse" it is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    ebm2onnx==3.3.1 interpret-core==0.7.8 onnx==1.23.2 onnxruntime==1.32.0 scikit-learn==1.9.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import ebm2onnx
import numpy as np
import onnxruntime as ort
import pandas as pd
from interpret.glassbox import ExplainableBoostingRegressor

print("ebm2onnx", version("ebm2onnx"), "interpret-core", version("interpret-core"))
rng = np.random.default_rng(0)
x = pd.DataFrame({"a": rng.normal(size=400), "b": rng.normal(size=400)})
mean = np.exp(x["a"] - 0.2)
targets = {
    "rmse": x["a"] - x["b"],
    "poisson_deviance": rng.poisson(mean).astype(float),
    "gamma_deviance": rng.gamma(2, mean / 2),
    "tweedie_deviance:variance_power=1.5": mean,
}
for objective, y in targets.items():
    model = ExplainableBoostingRegressor(objective=objective, interactions=0, outer_bags=2, max_rounds=100)
    right = model.fit(x, y).predict(x)
    converted = ebm2onnx.to_onnx(model, ebm2onnx.get_dtype_from_pandas(x))
    session = ort.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    kinds = {"tensor(double)": np.float64, "tensor(float)": np.float32}
    gives = session.run(None, {i.name: x[i.name].to_numpy(kinds[i.type]) for i in session.get_inputs()})[0].ravel()
    print(objective, "interpret", right[:3], "ONNX", gives[:3])
    assert np.allclose(gives, right if objective == "rmse" else np.log(right), atol=1e-4)
PY
