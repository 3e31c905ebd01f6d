#!/usr/bin/env bash
# onnxruntime: a float16 model that overflows gives finite numbers on the CPU.
#
# Guess: a model whose tensors are float16 rounds and overflows after each node: 300 * 300 is
#        infinite, and so is what follows. Run on a CPU it shows whether it will on a GPU.
# Seen:  onnxruntime 1.32.0 computes nodes that have no float16 kernel in float32 and leaves out the
#        casts between them, also without optimisations: x * x / x is 300, and ReduceSumSquare then
#        Sqrt 2070. onnx.reference 1.23.2 gives inf. Where the file itself casts to float16 and
#        back, the rounding is kept.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from onnx import TensorProto, helper


def model(nodes, kind):
    """A model from two numbers x to y."""
    x, y = helper.make_tensor_value_info("x", kind, [2]), helper.make_tensor_value_info("y", kind, None)
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opsets, ir_version=8)


def onnxruntime(model, x, optimised=True):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def reference(model, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, {"x": x})[0]


print("onnxruntime", version("onnxruntime"), "onnx", version("onnx"))

node = helper.make_node
x = np.float16([300, 2048])
ratio = model([node("Mul", ["x", "x"], ["h"]), node("Div", ["h", "x"], ["y"])], TensorProto.FLOAT16)
length = model([node("ReduceSumSquare", ["x"], ["h"]), node("Sqrt", ["h"], ["y"])], TensorProto.FLOAT16)
for graph in (ratio, length):
    runs = [onnxruntime(graph, x, o) for o in (True, False)]
    print([n.op_type for n in graph.graph.node], "onnxruntime", *runs, "reference", reference(graph, x))
    assert all(np.isfinite(r).all() and r.dtype == np.float16 for r in runs) and np.isinf(reference(graph, x)).all()
assert (onnxruntime(ratio, x) == x).all()
there, back = TensorProto.FLOAT16, TensorProto.FLOAT
casts = model([node("Cast", ["x"], ["h"], to=there), node("Cast", ["h"], ["y"], to=back)], back)
wide = np.float32([2048.6, 70000])
assert np.array_equal(onnxruntime(casts, wide), np.float32([2048, np.inf]))
PY
