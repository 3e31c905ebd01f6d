#!/usr/bin/env bash
# OpenCV: a value times the hard sigmoid of another becomes the hard swish of the other.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  OpenCV 5.0.0.93 fuses HardSigmoid and Mul into HardSwish without a look at the other
#        factor: x * HardSigmoid(z) is HardSwish(z), and x is gone. A gate of channels, as
#        MobileNetV3 has it, gives an output of 1 x 1 instead of the image, where beta is written
#        out. Softplus, Tanh and Mul become Mish likewise. Sigmoid and Mul are right.
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

rng = np.random.default_rng(0)
image, weights = rng.standard_normal((1, 2, 3, 3)), rng.standard_normal((2, 2, 1, 1))
image, weights = image.astype(np.float32), weights.astype(np.float32)
pooled = image.mean((2, 3)) @ weights[:, :, 0, 0].T
scores = pooled[:, :, None, None]
gates = {
    "HardSigmoid": (
        [node("HardSigmoid", ["z"], ["g"], alpha=1 / 6, beta=0.5)],
        np.clip(scores / 6 + 0.5, 0, 1),
    ),
    "Sigmoid": ([node("Sigmoid", ["z"], ["g"])], 1 / (1 + np.exp(-scores))),
    "Mish": (
        [node("Softplus", ["z"], ["s"]), node("Tanh", ["s"], ["g"])],
        np.tanh(np.log1p(np.exp(scores))),
    ),
}
excite = [node("GlobalAveragePool", ["x"], ["p"]), node("Conv", ["p", "w"], ["z"])]
for name, (gate, right) in gates.items():
    nodes = [*excite, *gate, node("Mul", ["x", "g"], ["y"])]
    gives = opencv(nodes, image, image.shape, w=weights)
    print(name, "right", (image * right).ravel().round(3)[:4], end=" ")
    print("gives", gives.shape, gives.ravel().round(3)[:4])
    if name == "Sigmoid":
        assert np.allclose(gives, image * right, atol=1e-5)
    else:
        assert gives.shape == scores.shape and np.allclose(gives, scores * right, atol=1e-5)
PY
