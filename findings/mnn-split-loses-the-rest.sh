#!/usr/bin/env bash
# MNN: a Split whose extent does not divide loses the last elements.
#
# Guess: Split of 7 into num_outputs=3 gives 3, 3 and 1 elements, as ONNX says since set 18.
# Seen:  MNN 3.6.1 gives 2, 2 and 2: the seventh is nowhere, and the second part begins at the third
#        element instead of the fourth. With the sizes as an input it is right.
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
x = np.arange(1, 8, dtype=np.float32).reshape(1, 7)
outputs = ["a", "b", "c"]
split = model([node("Split", ["x"], outputs, axis=1, num_outputs=3)], {"x": x}, 18, outputs)
sized = model([node("Split", ["x", "sizes"], outputs, axis=1)], {"x": x}, 18, outputs, sizes=np.int64([3, 3, 1]))
right = [[[1, 2, 3]], [[4, 5, 6]], [[7]]]
gives = [part.tolist() for part in mnn(split, {"x": x})]
print("right", right, "MNN", gives)
assert [part.tolist() for part in onnxruntime(split, {"x": x})] == right
assert gives == [[[1, 2]], [[3, 4]], [[5, 6]]]
assert [part.tolist() for part in mnn(sized, {"x": x})] == right
PY
