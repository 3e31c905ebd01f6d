#!/usr/bin/env bash
# OpenCV: ReduceLogSumExp is infinite from 89 on, minus infinity from -88 on.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 does not subtract the largest element before the exponentials: scores of 89
#        give infinity, those of -88 minus infinity, where -87.3 is right. Softmax of the same
#        scores is right.
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

x = np.float32([[1, 2], [87, 88], [89, 90], [-80, -81], [-105, -106], [-88, -88]])
gives = opencv([node("ReduceLogSumExp", ["x"], ["y"], axes=[1])], x, (6, 1))[:, 0]
right = np.logaddexp(*x.T)
print("right", right.round(3), "gives", gives.round(3))
assert np.allclose(gives[[0, 1, 3]], right[[0, 1, 3]], rtol=1e-5)
assert gives[2] == np.inf and (gives[4:] == -np.inf).all()
softmax = opencv([node("Softmax", ["x"], ["y"], axis=1)], x, x.shape)
assert np.allclose(softmax, np.exp(x - right[:, None]), atol=1e-5)
PY
