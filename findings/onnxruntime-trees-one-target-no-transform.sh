#!/usr/bin/env bash
# onnxruntime: TreeEnsembleRegressor and TreeEnsemble apply no post_transform to a single target.
#
# Guess: post_transform LOGISTIC, SOFTMAX or SOFTMAX_ZERO changes whatever number a regressor gives.
# Seen:  onnxruntime 1.32.0 leaves the number of one target as it is, with base values too, and
#        applies the three to two targets. PROBIT is applied to one target as well.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnxruntime as ort
from onnx import helper


def answer(post, targets):
    """What a stump whose leaves give 2.5 to every target answers."""
    ids = list(range(targets))
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=targets, post_transform=post,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_values=[0.5, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0] * (2 * targets), target_nodeids=[1] * targets + [2] * targets, target_ids=2 * ids,
        target_weights=[2.5] * (2 * targets),
    )
    x, y = (helper.make_tensor_value_info(name, 1, [None, n]) for name, n in (("x", 1), ("y", targets)))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros((1, 1), np.float32)})[0].ravel()


for post, two in [("LOGISTIC", 1 / (1 + np.exp(-2.5))), ("SOFTMAX", 0.5), ("SOFTMAX_ZERO", 0.5)]:
    print(post, answer(post, 1), answer(post, 2))
    assert answer(post, 1) == 2.5
    assert np.allclose(answer(post, 2), two)
assert np.isnan(answer("PROBIT", 1)).all()
PY
