#!/usr/bin/env bash
# pnnx: a MaxPool with padding at the beginning only has rows and columns of -3.4e38.
#
# Guess: pads=[1, 1, 0, 0] puts a row above and a column before the image; 3x3 pooled by 2 becomes
#        2x2.
# Seen:  pnnx 20261020 and ncnn 1.0.20261020 give 3x3: the largest negative float stands where
#        windows see only padding, and the others begin one element late. Padding at the end only,
#        and the same on both sides, is right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    ncnn==1.0.20261020 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
# Only its converter is used, which needs none of its dependencies.
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps pnnx==20261020
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import re
import subprocess
import sysconfig
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


print("ncnn", version("ncnn"), "onnx", version("onnx"), "onnxruntime", version("onnxruntime"), "pnnx", version("pnnx"))

node = helper.make_node
x = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
for pads, right in (([1, 1, 0, 0], [[1, 3], [7, 9]]), ([0, 0, 1, 1], [[5, 6], [8, 9]])):
    pool = model([node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], pads=pads)], {"x": x}, 13)
    gives = ncnn(pool, {"x": x})[0][0, 0]
    print(pads, "right", right, "ncnn", gives.tolist())
    assert np.array_equal(onnxruntime(pool, {"x": x})[0][0, 0], right)
    if pads[0]:
        none = np.finfo(np.float32).min
        assert np.array_equal(gives, np.float32([[none, none, none], [none, 5, 6], [none, 8, 9]]))
    else:
        assert np.array_equal(gives, right)
PY
