#!/usr/bin/env bash
# MNN: what is added behind a convolution's Relu is added before it.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  MNN 3.6.1 puts a constant for each channel that is added behind Conv and Relu, or Clip from
#        0 to 6, into the convolution's bias: relu(conv(x) + k) instead of relu(conv(x)) + k. A
#        single number, Sub, Mul and BatchNormalization there are right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    mnn==3.6.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import subprocess
import sys
from importlib.metadata import version

import MNN.expr as expr
import MNN.nn
import numpy as np
import onnx
from onnx import helper, numpy_helper


def mnn(nodes, x, **constants):
    """What a model from x to y gives. The converter is called without the command around it."""
    entry = helper.make_tensor_value_info("x", 1, x.shape)
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [entry], [onnx.ValueInfoProto(name="y")], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), "model.onnx")
    convert = "import sys, _tools; _tools.mnnconvert(sys.argv)"
    files = ["--modelFile", "model.onnx", "--MNNModel", "model.mnn", "--bizCode", "x"]
    command = [sys.executable, "-c", convert, "-f", "ONNX", *files]
    subprocess.run(command, check=True, capture_output=True)
    network = MNN.nn.load_module_from_file("model.mnn", ["x"], ["y"])
    given = expr.placeholder(list(x.shape), expr.NCHW, expr.float)
    given.write(np.ascontiguousarray(x))
    result = network.forward([given])[0]
    if result.data_format == expr.NC4HW4:
        result = expr.convert(result, expr.NCHW)
    return np.array(result.read()).reshape(result.shape)


node = helper.make_node
print("mnn", version("mnn"))
x = np.arange(-4, 5, dtype=np.float32).reshape(1, 1, 3, 3)
w, k = np.float32([1, -1]).reshape(2, 1, 1, 1), np.float32([-2, 3]).reshape(2, 1, 1)
product = w.reshape(1, 2, 1, 1) * x
convolved = [node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["r"])]
for op, constant in (("Add", k), ("Sub", k), ("Add", np.float32(2))):
    gives = mnn([*convolved, node(op, ["r", "k"], ["y"])], x, w=w, k=constant)
    signed = constant if op == "Add" else -constant
    right = np.maximum(product, 0) + signed
    print(op, "right", right[0, :, 0].tolist(), "gives", gives[0, :, 0].tolist())
    before = op == "Add" and constant.size > 1
    assert np.allclose(gives, np.maximum(product + constant, 0) if before else right)
    assert not before or not np.allclose(gives, right)
limits = {"low": np.float32(0), "high": np.float32(6)}
clipped = [convolved[0], node("Clip", ["c", "low", "high"], ["r"])]
gives = mnn([*clipped, node("Add", ["r", "k"], ["y"])], x, w=w, k=k, **limits)
assert np.allclose(gives, np.clip(product + k, 0, 6))
PY
