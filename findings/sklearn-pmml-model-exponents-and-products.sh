#!/usr/bin/env bash
# sklearn-pmml-model: squares and products in a RegressionModel are lost.
#
# Guess: a NumericPredictor with exponent=2 stands for the field's square, a PredictorTerm for a
#        product of fields; a reader that cannot compute them refuses the file.
# Seen:  sklearn-pmml-model 1.0.8 takes the field itself for its square and leaves PredictorTerms
#        out.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    sklearn-pmml-model==1.0.8 scikit-learn==1.9.1 numpy==2.4.6 pandas==3.1.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from sklearn_pmml_model.linear_model import PMMLLinearRegression

print("sklearn-pmml-model", version("sklearn-pmml-model"), "scikit-learn", version("scikit-learn"))
x = pd.DataFrame({"a": [0.0, 1.0, 2.0, -1.0], "b": [1.0, 0.0, 0.5, -2.0]})
a, b = x["a"].to_numpy(), x["b"].to_numpy()


def pmml(model, target):
    """A file with the fields a and b, the target y of this type, and the model."""
    schema = "".join(f'<MiningField name="{n}"/>' for n in "ab") + '<MiningField name="y" usageType="target"/>'
    fields = "".join(f'<DataField name="{n}" optype="continuous" dataType="double"/>' for n in "ab") + target
    with open("model.pmml", "w") as file:
        file.write(
            '<?xml version="1.0"?><PMML version="4.3" xmlns="http://www.dmg.org/PMML-4_3"><Header/>'
            f"<DataDictionary>{fields}</DataDictionary>"
            + model.replace("SCHEMA", f"<MiningSchema>{schema}</MiningSchema>") + "</PMML>")
    return "model.pmml"


NUMBER = '<DataField name="y" optype="continuous" dataType="double"/>'
TERMS = '<NumericPredictor name="a" coefficient="2"/><NumericPredictor name="b" coefficient="-1"/>'
product = '<PredictorTerm coefficient="3"><FieldRef field="a"/><FieldRef field="b"/></PredictorTerm>'
linear = 0.5 + 2 * a - b
cases = {
    "linear": (TERMS, linear),
    "exponent": (TERMS.replace('name="a"', 'name="a" exponent="2"'), 0.5 + 2 * a**2 - b),
    "product": (TERMS + product, linear + 3 * a * b),
}
for name, (terms, right) in cases.items():
    path = pmml(
        '<RegressionModel functionName="regression">SCHEMA'
        f'<RegressionTable intercept="0.5">{terms}</RegressionTable></RegressionModel>', NUMBER)
    gives = PMMLLinearRegression(pmml=path).predict(x).ravel()
    print(name, "right", right, "gives", gives)
    assert np.allclose(gives, linear) and np.allclose(gives, right) == (name == "linear")
PY
