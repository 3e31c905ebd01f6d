#!/usr/bin/env bash
# MNN: a constant added to a convolution along another axis is added along the channels.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  MNN 3.6.1 puts a constant of as many elements as there are channels into the convolution's
#        bias, whatever axis it lies along: rows, columns or samples. Mul along the width is right.
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
rng = np.random.default_rng(0)
x = rng.standard_normal((3, 2, 3, 3)).astype(np.float32)
w = rng.standard_normal((3, 2, 1, 1)).astype(np.float32)
product = np.einsum("nihw,oi->nohw", x, w[:, :, 0, 0])
k, conv = np.float32([10, 20, 30]), node("Conv", ["x", "w"], ["c"])
for axis, shape in (("width", (3,)), ("height", (3, 1)), ("samples", (3, 1, 1, 1))):
    gives = mnn([conv, node("Add", ["c", "k"], ["y"])], x, w=w, k=k.reshape(shape))
    right = product + k.reshape(shape)
    shown = (numbers[0, :, 0, 0].round(2) for numbers in (right, gives))
    print("along the", axis, "right and given", *shown)
    assert np.allclose(gives, product + k.reshape(3, 1, 1), atol=1e-4)
gives = mnn([conv, node("Mul", ["c", "k"], ["y"])], x, w=w, k=k)
assert np.allclose(gives, product * k, rtol=1e-4, atol=1e-4)
PY
