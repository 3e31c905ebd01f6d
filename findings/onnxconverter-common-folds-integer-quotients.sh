#!/usr/bin/env bash
# onnxconverter-common: the optimiser folds quotients of integers into fractions.
#
# Guess: Div of int64 constants drops the fraction, folded or not.
# Seen:  onnxconverter-common 1.16.0 (optimize_onnx_model) divides as floats and stores the
#        fractions: behind a Cast to float 7 / 2 is 3.5 instead of 3. Div of floats is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnxconverter-common==1.16.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
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


print("onnxconverter-common", version("onnxconverter-common"), "onnx", version("onnx"), "onnxruntime", version("onnxruntime"))

node = helper.make_node
from onnxconverter_common.optimizer import optimize_onnx_model

x = np.zeros(4, np.float32)
a, b = [7, -7, 1, 8], [2, 2, 3, 4]
for kind, right in ((np.int64, [3, -3, 0, 2]), (np.float32, np.divide(a, b))):
    plain = model(
        [node("Div", ["a", "b"], ["q"]), node("Cast", ["q"], ["f"], to=1), node("Add", ["x", "f"], ["y"])],
        {"x": x}, 13, a=np.array(a, kind), b=np.array(b, kind))
    before = onnxruntime(plain, {"x": x})[0]
    optimised = optimize_onnx_model(plain)
    after = onnxruntime(optimised, {"x": x})[0]
    print(kind.__name__, "right", before, "optimised", after, [n.op_type for n in optimised.graph.node])
    assert np.allclose(before, right) and np.allclose(after, np.divide(a, b))
PY
