#!/usr/bin/env bash
# sklearn-pmml-model: Targets that rescale a prediction are ignored.
#
# Guess: PMML multiplies the prediction by a Target's rescaleFactor and adds its rescaleConstant, as
#        for a model that was trained on a scaled target.
# Seen:  sklearn-pmml-model 1.0.8 gives the prediction as it was before, of linear models and of
#        trees.
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
from sklearn_pmml_model.tree import PMMLTreeRegressor

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
targets = '<Targets><Target field="y" rescaleFactor="10" rescaleConstant="1"/></Targets>'
linear = (
    f'<RegressionModel functionName="regression">SCHEMA{targets}'
    f'<RegressionTable intercept="0.5">{TERMS}</RegressionTable></RegressionModel>')
leaves = "".join(
    f'<Node id="{i}" score="{score}" recordCount="1"><SimplePredicate field="a" operator="{operator}" value="1"/></Node>'
    for i, score, operator in ((2, 10, "lessThan"), (3, 20, "greaterOrEqual")))
tree = f'<TreeModel functionName="regression">SCHEMA{targets}<Node id="1" score="0"><True/>{leaves}</Node></TreeModel>'
before = {"linear": 0.5 + 2 * a - b, "tree": np.where(a < 1, 10, 20)}
for name, (reader, model) in {"linear": (PMMLLinearRegression, linear), "tree": (PMMLTreeRegressor, tree)}.items():
    gives = reader(pmml=pmml(model, NUMBER)).predict(x).ravel()
    print(name, "right", 10 * before[name] + 1, "gives", gives)
    assert np.allclose(gives, before[name])
PY
