#!/usr/bin/env bash
# OpenCV: log(exp(x) + c) is log(exp(x) + 1), whatever c is.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 takes Exp, Add of any constant and Log for Softplus: with c = 0.001, where
#        x is -5, the result is 0.007 instead of -4.86. A vector of constants is lost as well. With
#        a Mul between it is right.
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

x = np.float32([[-5, -1, 0, 2]])
nodes = [node("Exp", ["x"], ["e"]), node("Add", ["e", "c"], ["s"]), node("Log", ["s"], ["y"])]
for c in (np.float32(1e-3), np.float32(2), np.float32([1, 2, 3, 4]), np.float32(1)):
    right, gives = np.log(np.exp(x) + c), opencv(nodes, x, x.shape, c=c)
    print("c", c, "right", right.round(3), "gives", gives.round(3))
    assert np.allclose(gives, np.log(np.exp(x) + 1), atol=1e-5)
between = [nodes[0], node("Mul", ["e", "c"], ["m"]), node("Add", ["m", "c"], ["s"]), nodes[2]]
gives = opencv(between, x, x.shape, c=np.float32(0.5))
assert np.allclose(gives, np.log(0.5 * np.exp(x) + 0.5), atol=1e-5)
PY
