#!/usr/bin/env bash
# MNN and pnnx: a Softmax of operator sets before 13 is taken along one axis.
#
# Guess: before set 13 a Softmax is taken over all elements from its axis on together; the axis is 1
#        if not given.
# Seen:  pnnx 20261020 with ncnn 1.0.20261020 takes axis=1 for that one axis, channels. Both it and
#        MNN 3.6.1 take the last axis if none is given. MNN with axis=1 written out is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    mnn==3.6.1 ncnn==1.0.20261020 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
# Only its converter is used, which needs none of its dependencies.
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps pnnx==20261020
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import re
import subprocess
import sys
import sysconfig
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


def ncnn(model, inputs):
    """What ncnn computes of the model that pnnx converts, read and written as in the example that pnnx writes."""
    import ncnn

    onnx.save(model, "m.onnx")
    kinds = {"float32": "f32", "int32": "i32", "int64": "i64"}
    shapes = ",".join("[" + ",".join(map(str, x.shape)) + "]" + kinds[x.dtype.name] for x in inputs.values())
    pnnx = sysconfig.get_paths()["purelib"] + "/pnnx/pnnx"
    subprocess.run([pnnx, "m.onnx", "inputshape=" + shapes, "fp16=0"], check=True, capture_output=True)
    example = open("m_ncnn.py").read()
    network = ncnn.Net()
    assert network.load_param("m.ncnn.param") == 0 and network.load_model("m.ncnn.bin") == 0
    extractor = network.create_extractor()
    batches = re.findall(r"ex\.input\(.*?(?:batch_index=(\d+))?\)\.clone", example)
    for i, (x, batch) in enumerate(zip(inputs.values(), batches, strict=True)):
        where = {"batch_index": int(batch)} if batch else {}
        extractor.input(f"in{i}", ncnn.Mat(np.ascontiguousarray(x.astype(np.float32)), **where).clone())
    results = []
    for i, batch in enumerate(re.findall(r"out\d+\.numpy\((?:batch_index=(\d+))?\)", example)):
        code, result = extractor.extract(f"out{i}")
        assert code == 0
        results.append(np.array(result.numpy(batch_index=int(batch)) if batch else result.numpy()))
    return results


print("mnn", version("mnn"), "ncnn", version("ncnn"), "onnx", version("onnx"), "onnxruntime", version("onnxruntime"), "pnnx", version("pnnx"))

node = helper.make_node
x = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)


def softmax(axes):
    e = np.exp(x)
    return e / e.sum(axes, keepdims=True)


for attributes in ({}, {"axis": 1}):
    layer = model([node("Softmax", ["x"], ["y"], **attributes)], {"x": x}, 11)
    assert np.allclose(onnxruntime(layer, {"x": x})[0], softmax((1, 2, 3)), atol=1e-5)
    for name, run in (("MNN", mnn), ("ncnn", ncnn)):
        gives = run(layer, {"x": x})[0]
        axes = (3,) if not attributes else (1,) if name == "ncnn" else (1, 2, 3)
        print(attributes, name, "a sum of 1 over", axes, "instead of (1, 2, 3)")
        assert np.allclose(gives, softmax(axes), atol=1e-3)
PY
