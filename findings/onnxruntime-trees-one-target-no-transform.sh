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


def regressor(post, targets, **base):
    """What a stump whose leaves give 2.5 to every target answers."""
    ids = list(range(targets))
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=targets, post_transform=post,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_values=[0.5, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0] * (2 * targets), target_nodeids=[1] * targets + [2] * targets, target_ids=2 * ids,
        target_weights=[2.5] * (2 * targets), **base,
    )
    return answer(node, targets, 3)


def ensemble(post):
    """What the same stump of one target answers as the operator of version 5."""
    splits, weights = helper.make_tensor("s", 1, [1], [0.5]), helper.make_tensor("w", 1, [2], [2.5, 2.5])
    node = helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, post_transform=post, tree_roots=[0],
        nodes_featureids=[0], nodes_splits=splits, nodes_modes=helper.make_tensor("m", 2, [1], [0]),
        nodes_truenodeids=[0], nodes_falsenodeids=[1], nodes_trueleafs=[1], nodes_falseleafs=[1],
        leaf_targetids=[0, 0], leaf_weights=weights,
    )
    return answer(node, 1, 5)


def answer(node, targets, version):
    x, y = (helper.make_tensor_value_info(name, 1, [None, n]) for name, n in (("x", 1), ("y", targets)))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros((1, 1), np.float32)})[0].ravel()


# Each with its number in the operator of version 5.
for post, number, two in [("LOGISTIC", 2, 1 / (1 + np.exp(-2.5))), ("SOFTMAX", 1, 0.5), ("SOFTMAX_ZERO", 3, 0.5)]:
    found = regressor(post, 1), regressor(post, 1, base_values=[1.0]), ensemble(number)
    print(post, *found, regressor(post, 2))
    assert found == (2.5, 3.5, 2.5)
    assert np.allclose(regressor(post, 2), two)
assert np.isnan(regressor("PROBIT", 1)).all() and np.isnan(ensemble(4)).all()
PY
