#!/usr/bin/env bash
# onnxruntime: (mean - x) over the deviation has the other sign.
#
# Guess: the same numbers as onnxruntime's own without optimisations.
# Seen:  onnxruntime 1.32.0 takes Sub(mean, x) for Sub(x, mean) when it fuses LayerNormalization:
#        the normalised value has the wrong sign. Without optimisations it is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import onnxruntime as ort
from onnx import helper, numpy_helper


def onnxruntime(nodes, x, optimised=True, **constants):
    """What a model from x to y gives."""
    ports = [helper.make_tensor_value_info(name, 1, x.shape) for name in ("x", "y")]
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def normalised(difference):
    """Of x to y: a layer normalisation in single operations."""
    return [
        node("ReduceMean", ["x"], ["m"], axes=[-1]),
        node("Sub", difference, ["d"]),
        node("Pow", ["d", "p"], ["q"]),
        node("ReduceMean", ["q"], ["v"], axes=[-1]),
        node("Add", ["v", "eps"], ["e"]),
        node("Sqrt", ["e"], ["r"]),
        node("Div", ["d", "r"], ["n"]),
        node("Mul", ["n", "g"], ["h"]),
        node("Add", ["h", "b"], ["y"]),
    ]


node = helper.make_node
print("onnxruntime", version("onnxruntime"))
x = np.float32([[1, 2, 3, 6], [-1, 0, 5, 2]])
eps, g, b = np.float32(1e-5), np.float32([1, 2, 3, 4]), np.float32([0, 1, 0, 1])
constants = {"eps": eps, "g": g, "b": b}
centred = x - x.mean(1, keepdims=True)


def over(power):
    return centred / np.sqrt((centred**power).mean(1, keepdims=True) + eps)


nodes = normalised(["m", "x"])
gives, plain = (onnxruntime(nodes, x, on, p=np.float32(2), **constants) for on in (True, False))
print("right", (b - over(2) * g)[0].round(3), "gives", gives[0].round(3))
assert np.allclose(plain, b - over(2) * g, atol=1e-4)
assert np.allclose(gives, over(2) * g + b, atol=1e-4)
PY
