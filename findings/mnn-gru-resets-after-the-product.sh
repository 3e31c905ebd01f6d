#!/usr/bin/env bash
# MNN: every GRU is computed as if linear_before_reset were 1.
#
# Guess: ONNX's default, linear_before_reset=0, resets the state before it is multiplied by the
#        recurrent weights.
# Seen:  MNN 3.6.1 resets the product instead, as with linear_before_reset=1 (which it computes
#        rightly): states differ from the second step on, by tenths.
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
rng = np.random.default_rng(4)
x = rng.normal(size=(4, 1, 3)).astype(np.float32)
w, r = (rng.normal(size=(1, 15, n)).astype(np.float32) for n in (3, 5))


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def gru(product_first):
    """The states, a row a step. The weights are those of update, reset and the new state, in this order."""
    state, states = np.zeros(5), []
    for step in x[:, 0].astype(float):
        given, kept = np.split(w[0] @ step, 3), np.split(r[0] @ state, 3)
        update, reset = sigmoid(given[0] + kept[0]), sigmoid(given[1] + kept[1])
        inner = reset * kept[2] if product_first else r[0, 10:] @ (reset * state)
        state = (1 - update) * np.tanh(given[2] + inner) + update * state
        states.append(state)
    return np.array(states)


assert np.abs(gru(True) - gru(False)).max() > 0.2
for flag in (0, 1):
    layer = model(
        [node("GRU", ["x", "w", "r"], ["y"], hidden_size=5, linear_before_reset=flag)], {"x": x}, 14, w=w, r=r)
    right, gives = onnxruntime(layer, {"x": x})[0].reshape(4, 5), mnn(layer, {"x": x})[0].reshape(4, 5)
    print("linear_before_reset", flag, "right", right[-1], "MNN", gives[-1])
    assert np.allclose(right, gru(flag), atol=1e-4) and np.allclose(gives, gru(True), atol=1e-2)
PY
