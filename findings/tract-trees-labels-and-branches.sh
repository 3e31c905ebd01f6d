#!/usr/bin/env bash
# tract: TreeEnsembleClassifier takes other branches and other labels than onnxruntime.
#
# Guess: a runtime that accepts the operator gives its authors' labels; where rules are odd,
#        onnxruntime has set them.
# Seen:  tract 0.23.9, all leaves of one tree with scores:
#        - one score for two classes, of both signs: label 1 where the score is negative;
#        - a score for each of two classes, all positive: the larger one, where onnxruntime looks at
#          the second only;
#        - nodes that ask x >= t: another leaf, even two of them;
#        - nodes that ask x != t: false of NaN;
#        - a class that the leaf has no score for wins over negative scores.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 tract==0.23.9
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import onnx
import onnxruntime
import tract
from onnx import helper


def tree(modes, ids, weights, classes):
    """One tree of a node for each mode, the true branch to the next, thresholds 1 and 0; leaves last."""
    inner = len(modes)
    leaves = list(range(inner, 2 * inner + 1))
    yes = [node + 1 for node in range(inner)]
    no = [2 * inner - node for node in range(inner)]
    per_leaf = len(ids) // len(leaves)
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
        nodes_treeids=[0] * (2 * inner + 1), nodes_nodeids=list(range(2 * inner + 1)), nodes_featureids=[0] * (2 * inner + 1),
        nodes_modes=[f"BRANCH_{mode}" for mode in modes] + ["LEAF"] * len(leaves),
        nodes_values=[1.0, 0.0][:inner] + [0.0] * len(leaves),
        nodes_truenodeids=yes + [0] * len(leaves), nodes_falsenodeids=no + [0] * len(leaves),
        class_treeids=[0] * len(ids), class_nodeids=[leaf for leaf in leaves for _ in range(per_leaf)], class_ids=ids,
        class_weights=weights, classlabels_int64s=list(range(classes)))
    x = helper.make_tensor_value_info("x", 1, [1, 1])
    outputs = [helper.make_tensor_value_info("label", 7, [1]), helper.make_tensor_value_info("scores", 1, None)]
    graph = helper.make_graph([node], "g", [x], outputs)
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def labels(model, values):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    onnx.save(model, "model.onnx")
    other = tract.onnx().load("model.onnx").into_model().into_runnable()
    samples = [np.array([[value]], np.float32) for value in values]
    one = [int(session.run(None, {"x": x})[0][0]) for x in samples]
    return one, [int(other.run([x])[0].to_numpy().ravel()[0]) for x in samples]


cases = {
    "one score": (tree(["LEQ"], [0, 0], [-1.0, 2.0], 2), [0, 2], [0, 1], [1, 0]),
    "two scores": (tree(["LEQ"], [0, 1, 0, 1], [0.6, 0.4, 0.3, 0.7], 2), [0, 2], [1, 1], [0, 1]),
    ">=": (tree(["GTE", "LEQ"], [0, 1, 2], [1.0, 2.0, 3.0], 3), [-1, 0.5, 2], [2, 2, 1], [0, 0, 0]),
    "!=": (tree(["NEQ", "LEQ"], [0, 1, 2], [1.0, 2.0, 3.0], 3), [np.nan, 1], [1, 2], [2, 2]),
    "no score": (tree(["LEQ", "LEQ"], [0, 1, 1], [-1.0, -2.0, -3.0], 3), [-1, 2], [0, 1], [1, 0]),
}
for name, (model, values, expected, seen) in cases.items():
    found = labels(model, values)
    print(name, "onnxruntime", found[0], "tract", found[1])
    cases[name] = found == (expected, seen)
assert all(cases.values()), cases
PY
