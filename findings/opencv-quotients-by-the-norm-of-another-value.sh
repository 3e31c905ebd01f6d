#!/usr/bin/env bash
# OpenCV: a value over the norm of another becomes the value over its own norm.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 fuses ReduceL2 and Div into a normalisation without a look at what is
#        divided: (x @ W) / |x| becomes x / |x|, and the product is gone. Without Div the norm is
#        right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import cv2
import numpy as np
from onnx import helper, numpy_helper


def opencv(nodes, x, shape, opset=17, **constants):
    """What a model from x to y of a shape gives."""
    ports = [helper.make_tensor_value_info(*port) for port in (("x", 1, x.shape), ("y", 1, shape))]
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    net.setInput(x, "x")
    return np.asarray(net.forward())


node = helper.make_node
print("opencv-python-headless", version("opencv-python-headless"))

x, weights = np.float32([[3, 4, 0], [0, 6, 8]]), np.float32([[1, 0, 2], [0, 1, 2], [1, 1, 0]])
products, norms = x @ weights, np.linalg.norm(x, axis=1, keepdims=True)
nodes = [
    node("MatMul", ["x", "w"], ["p"]),
    node("ReduceL2", ["x"], ["n"], axes=[1]),
    node("Div", ["p", "n"], ["y"]),
]
gives = opencv(nodes, x, x.shape, w=weights)
print("x @ W / |x|", "right", (products / norms).tolist(), "gives", gives.round(3).tolist())
assert np.allclose(gives, x / norms, atol=1e-6)
assert not np.allclose(gives, products / norms, atol=0.1)
assert np.allclose(opencv([node("ReduceL2", ["x"], ["y"], axes=[1])], x, (2, 1)), norms)
PY
