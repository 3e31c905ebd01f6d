#!/usr/bin/env bash
# MNN: Where does not repeat a last operand that is smaller.
#
# Guess: the numbers that the ONNX specification gives, or a refusal when the file is read or run.
# Seen:  MNN 3.6.1 takes the third operand's elements in the order of the result's instead of
#        repeating them: with one row for several the first row is right and the others hold numbers
#        that are in no operand. As the second operand it is repeated, and a single number is right.
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
x = np.arange(-6, 0, dtype=np.float32).reshape(3, 2)
nodes = [node("Greater", ["x", "z"], ["g"]), node("Where", ["g", "x", "k"], ["y"])]
zero, row = np.float32(0), np.float32([10, 20])
gives = mnn(nodes, x, z=zero, k=row)
print("right", np.where(x > 0, x, row).tolist(), "gives", gives.tolist())
assert np.array_equal(gives[0], row) and not np.allclose(gives[1:], row)
number = mnn(nodes, x, z=zero, k=np.float32(10))
assert (number == 10).all()
second = mnn([nodes[0], node("Where", ["g", "k", "x"], ["y"])], -x, z=zero, k=row)
assert np.array_equal(second, np.tile(row, (3, 1)))
PY
