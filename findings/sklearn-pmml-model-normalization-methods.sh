#!/usr/bin/env bash
# sklearn-pmml-model: every RegressionModel is logistic or linear, whatever its normalizationMethod
# says.
#
# Guess: PMML turns the sum y into a probability or a number as normalizationMethod says: probit by
#        the normal distribution, cloglog by 1 - exp(-exp(y)), exp by exp(y); a reader refuses what
#        it does not know.
# Seen:  sklearn-pmml-model 1.0.8 ignores it: probit and cloglog models give the logistic function
#        of y, a regression with exp gives y, a negative number for a count. logit and softmax are
#        right.
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
from scipy.special import expit
from scipy.stats import norm
from sklearn_pmml_model.linear_model import PMMLLinearRegression, PMMLLogisticRegression

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
CLASS = '<DataField name="y" optype="categorical" dataType="string"><Value value="n"/><Value value="p"/></DataField>'
y = 0.5 + 2 * a - b
links = {"logit": expit(y), "softmax": expit(y), "probit": norm.cdf(y), "cloglog": 1 - np.exp(-np.exp(y))}
for method, right in links.items():
    path = pmml(
        f'<RegressionModel functionName="classification" normalizationMethod="{method}">SCHEMA'
        f'<RegressionTable intercept="0.5" targetCategory="p">{TERMS}</RegressionTable>'
        '<RegressionTable intercept="0" targetCategory="n"/></RegressionModel>', CLASS)
    gives = PMMLLogisticRegression(pmml=path).predict_proba(x)[:, 1]
    print(method, "right", right.round(3), "gives", gives.round(3))
    assert np.allclose(gives, expit(y)) and np.allclose(gives, right) == (method in ("logit", "softmax"))
path = pmml(
    '<RegressionModel functionName="regression" normalizationMethod="exp">SCHEMA'
    f'<RegressionTable intercept="0.5">{TERMS}</RegressionTable></RegressionModel>', NUMBER)
gives = PMMLLinearRegression(pmml=path).predict(x).ravel()
print("exp right", np.exp(y).round(3), "gives", gives)
assert np.allclose(gives, y)
PY
