#!/usr/bin/env bash
# MNN: ScatterND writes over what it should add to, multiply or compare with.
#
# Guess: reduction=add adds the updates to the elements; a runtime without it refuses the node.
# Seen:  MNN 3.6.1 ignores reduction for ScatterND, and max and min for ScatterElements: elements
#        become the updates. ScatterElements with add and mul is right where no index comes twice.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    mnn==3.6.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
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


def mnn(model, inputs):
    """What MNN computes. Its converter is called without the command around it, which reports its use."""
    onnx.save(model, "model.onnx")
    convert = "import sys, _tools; _tools.mnnconvert(sys.argv)"
    arguments = ["-f", "ONNX", "--modelFile", "model.onnx", "--MNNModel", "model.mnn", "--bizCode", "x"]
    subprocess.run([sys.executable, "-c", convert, *arguments], check=True, capture_output=True)
    names = [i.name for i in model.graph.input], [o.name for o in model.graph.output]
    network = MNN.nn.load_module_from_file("model.mnn", *names)
    given = []
    for array in inputs.values():
        kind, type = (expr.float, np.float32) if array.dtype == np.float32 else (expr.int, np.int32)
        given.append(expr.placeholder(list(array.shape), expr.NCHW, kind))
        given[-1].write(np.ascontiguousarray(array.astype(type)))
    results = network.forward(given)
    results = results if isinstance(results, list) else [results]
    return [np.array(expr.convert(r, expr.NCHW).read()) if r.data_format == expr.NC4HW4 else np.array(r.read())
            for r in results]


print("mnn", version("mnn"), "onnx", version("onnx"), "onnxruntime", version("onnxruntime"))

node = helper.make_node
x, updates = np.float32([3, 6, 9]), np.float32([5, 6])
over = np.float32([5, 6, 6])
rights = {"none": over, "add": [8, 6, 15], "mul": [15, 6, 54], "max": [5, 6, 9], "min": [3, 6, 6]}
for name, indices in (("ScatterND", [[0], [2]]), ("ScatterElements", [0, 2])):
    for reduction, right in rights.items():
        scatter = model(
            [node(name, ["x", "i", "u"], ["y"], reduction=reduction)], {"x": x}, 18, i=np.int64(indices), u=updates)
        gives = mnn(scatter, {"x": x})[0]
        print(name, reduction, "right", right, "MNN", gives)
        assert np.array_equal(onnxruntime(scatter, {"x": x})[0], right)
        kept = name == "ScatterElements" and reduction in ("add", "mul")
        assert np.array_equal(gives, right if kept else over)
PY
