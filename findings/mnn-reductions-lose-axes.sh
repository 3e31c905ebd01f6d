#!/usr/bin/env bash
# MNN: ReduceL2 and four others of operator set 18 reduce everything, whatever axes they are given.
#
# Guess: from set 18 on the axes of a reduction are an input; a constant one is read like the
#        attribute before.
# Seen:  MNN 3.6.1 does so for ReduceSum, ReduceMean, ReduceMax, ReduceMin and ReduceProd, but
#        ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp and ReduceSumSquare give one number for
#        the whole tensor: an embedding is divided by the norm of its batch. As an attribute, before
#        set 18, the axes count.
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
x = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
reductions = {
    "L1": lambda x, axes: np.abs(x).sum(axes),
    "L2": lambda x, axes: np.sqrt((x * x).sum(axes)),
    "LogSum": lambda x, axes: np.log(x.sum(axes)),
    "LogSumExp": lambda x, axes: np.log(np.exp(x).sum(axes)),
    "SumSquare": lambda x, axes: (x * x).sum(axes),
    "Sum": np.sum, "Mean": np.mean, "Max": np.max, "Min": np.min, "Prod": np.prod,
}
for name, reduce in reductions.items():
    right = reduce(x, 1)
    before = model([node("Reduce" + name, ["x"], ["y"], axes=[1], keepdims=0)], {"x": x}, 11)
    after = model([node("Reduce" + name, ["x", "axes"], ["y"], keepdims=0)], {"x": x}, 18, axes=np.int64([1]))
    assert np.allclose(onnxruntime(after, {"x": x})[0], right, rtol=1e-3)
    assert np.allclose(mnn(before, {"x": x})[0], right, rtol=1e-3)
    gives = mnn(after, {"x": x})[0]
    print(name, "right", right.shape, right.ravel()[:2], "MNN", gives.shape, gives.ravel()[:2])
    if name in ("L1", "L2", "LogSum", "LogSumExp", "SumSquare"):
        assert gives.shape == () and np.allclose(gives, reduce(x, (0, 1, 2)), rtol=1e-3)
    else:
        assert np.allclose(gives, right, rtol=1e-3)
PY
