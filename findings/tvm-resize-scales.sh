#!/usr/bin/env bash
# TVM: a linear Resize by a scale that does not divide is one by another scale.
#
# Guess: with scales given, a sample's position is reckoned with the scale, also where the output's
#        extent is rounded down.
# Seen:  Apache TVM 0.27.0.post1 takes the ratio of the extents, as if sizes had been given: 4
#        elements by 1.3 make 5, sampled 0.8 apart instead of 0.77.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    apache-tvm==0.27.0.post1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
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


def tvm(model, inputs):
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    module = relax.transform.LegalizeOps()(relax.transform.DecomposeOpsForInference()(from_onnx(model)))
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    machine.set_input("main", *[tvm.runtime.tensor(x) for x in inputs.values()])
    machine.invoke_stateful("main")
    results = machine.get_outputs("main")
    return [r.numpy() for r in ([results] if hasattr(results, "numpy") else results)]


print("apache-tvm", version("apache-tvm"), "onnx", version("onnx"), "onnxruntime", version("onnxruntime"))

node = helper.make_node
x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 1, 4)


def sampled(scale, count):
    """Linear samples of 1, 2, 3, 4 where half_pixel puts them."""
    return np.clip((np.arange(count) + 0.5) / scale + 0.5, 1, 4)


for scale in (1.3, 0.6, 2.0):
    count = int(4 * scale)
    resize = model([node("Resize", ["x", "", "s"], ["y"], mode="linear")], {"x": x}, 13, s=np.float32([1, 1, 1, scale]))
    right, gives = sampled(scale, count), tvm(resize, {"x": x})[0].ravel()
    print("scale", scale, "right", right.round(3), "TVM", gives)
    assert np.allclose(onnxruntime(resize, {"x": x})[0].ravel(), right, atol=1e-4)
    assert np.allclose(gives, sampled(count / 4, count), atol=1e-4)
    assert np.allclose(gives, right, atol=1e-4) == (scale == 2)
PY
