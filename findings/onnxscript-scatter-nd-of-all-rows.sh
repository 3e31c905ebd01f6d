#!/usr/bin/env bash
# onnxscript: a ScatterND over all rows loses its reduction.
#
# Guess: with reduction=add every row gets its update added; only reduction=none makes the updates
#        the result.
# Seen:  onnxscript 0.7.2, optimize and rewrite alike, leaves the node out and gives the updates,
#        whatever reduction says, if the indices name every row once, in order. With the rows in
#        another order the node stays.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import onnx
from onnx import helper, numpy_helper


def model(nodes, inputs, opset, outputs=("y",), **constants):
    """A model of these nodes. Inputs are given as arrays."""
    def described(name, array):
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(
        nodes, "g", [described(k, v) for k, v in inputs.items()], [onnx.ValueInfoProto(name=o) for o in outputs], stored)
    opsets = [helper.make_opsetid("", opset)]
    plain = helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))
    inferred = onnx.shape_inference.infer_shapes(plain)
    onnx.checker.check_model(inferred)
    return inferred


def onnxruntime(model, inputs):
    import onnxruntime as ort

    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


print("onnxscript", version("onnxscript"), "onnx", version("onnx"), "onnxruntime", version("onnxruntime"))

node = helper.make_node
import onnxscript.optimizer
import onnxscript.rewriter

x = np.float32([[1, 2], [3, 4]])
updates = np.float32([[10, 20], [30, 40]])
rights = {"add": x + updates, "mul": x * updates, "min": np.minimum(x, updates), "none": updates}
for reduction, right in rights.items():
    scatter = node("ScatterND", ["x", "rows", "u"], ["s"], reduction=reduction)
    plain = model([scatter, node("Relu", ["s"], ["y"])], {"x": x}, 18, rows=np.int64([[0], [1]]), u=updates)
    assert np.array_equal(onnxruntime(plain, {"x": x})[0], right)
    for optimise in (onnxscript.optimizer.optimize, onnxscript.rewriter.rewrite):
        gives = onnxruntime(optimise(plain), {"x": x})[0]
        print(reduction, optimise.__name__, "right", right.tolist(), "gives", gives.tolist())
        assert np.array_equal(gives, updates)
turned = model([node("ScatterND", ["x", "rows", "u"], ["y"], reduction="add")], {"x": x}, 18, rows=np.int64([[1], [0]]), u=updates)
assert np.array_equal(onnxruntime(onnxscript.optimizer.optimize(turned), {"x": x})[0], x + updates[::-1])
PY
