#!/usr/bin/env bash
# onnx-graphsurgeon: fold_constants takes a Shape with start and end for the whole shape.
#
# Guess: from set 15 on Shape(start=1, end=-1) gives the extents between; folded, it is those.
# Seen:  onnx-graphsurgeon 0.6.1 folds it into all extents: of 2x3x4x5 the product of the middle two
#        is 120 instead of 12, and what is divided by it is ten times too small. Without the
#        attributes it is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx-graphsurgeon==0.6.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
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


print("onnx-graphsurgeon", version("onnx-graphsurgeon"), "onnx", version("onnx"), "onnxruntime", version("onnxruntime"))

node = helper.make_node
import onnx_graphsurgeon as gs

x = np.ones((2, 3, 4, 5), np.float32)
for attributes, right in (({"start": 1, "end": -1}, 12), ({"start": 2}, 20), ({}, 120)):
    plain = model(
        [node("Shape", ["x"], ["s"], **attributes), node("ReduceProd", ["s"], ["n"], keepdims=0),
         node("Cast", ["n"], ["f"], to=1), node("Div", ["x", "f"], ["y"])], {"x": x}, 15)
    folded = gs.export_onnx(gs.import_onnx(plain).fold_constants().cleanup())
    before, after = (1 / onnxruntime(m, {"x": x})[0][0, 0, 0, 0] for m in (plain, folded))
    print(attributes, "number of elements", before, "folded", after)
    assert np.isclose(before, right) and np.isclose(after, 120)
PY
