#!/usr/bin/env bash
# TVM: ConvTranspose ignores output_shape.
#
# Guess: output_shape sets the extent, and the padding follows from it.
# Seen:  Apache TVM 0.27.0.post1 gives the extent without padding, 6, for an output_shape of 5 or 7.
#        The same padding written as pads is right.
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
x, weights = np.float32([[[[1, 2, 3]]]]), np.float32([[[[1, 10]]]])
plain = np.float32([1, 10, 2, 20, 3, 30])
cases = {
    "output_shape 5": ({"output_shape": [1, 5]}, plain[1:], False),
    "output_shape 7": ({"output_shape": [1, 7]}, np.append(plain, 0), False),
    "output_shape 6": ({"output_shape": [1, 6]}, plain, True),
    "pads": ({"pads": [0, 1, 0, 0]}, plain[1:], True),
}
for name, (attributes, right, same) in cases.items():
    layer = model([node("ConvTranspose", ["x", "w"], ["y"], strides=[1, 2], **attributes)], {"x": x}, 13, w=weights)
    reference, gives = onnxruntime(layer, {"x": x})[0].ravel(), tvm(layer, {"x": x})[0].ravel()
    print(name, "onnxruntime", reference, "TVM", gives)
    assert len(reference) == len(right) and np.array_equal(gives, right if same else plain)
PY
