#!/usr/bin/env bash
# pnnx: SpaceToDepth orders the new channels as DepthToSpace's mode CRD.
#
# Guess: ONNX's SpaceToDepth puts a pixel's place in the block before its old channel.
# Seen:  pnnx 20261020 and ncnn 1.0.20261020 put the old channel first: the layer behind it reads
#        its channels in another order. With one channel both orders are the same.
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
x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
blocks = model([node("SpaceToDepth", ["x"], ["y"], blocksize=2)], {"x": x}, 13)
right, gives = onnxruntime(blocks, {"x": x})[0].ravel(), ncnn(blocks, {"x": x})[0].ravel()
print("right", right, "ncnn", gives)
# Row and column of the block, then the channel; and the channel first.
assert np.array_equal(right, x[0].transpose(1, 2, 0).ravel()) and np.array_equal(gives, x.ravel())
PY
