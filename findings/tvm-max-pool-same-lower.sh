#!/usr/bin/env bash
# TVM: a MaxPool with auto_pad SAME_LOWER is not padded.
#
# Guess: SAME_LOWER pads at the beginning, so 5 elements with stride 2 become 3, whatever the
#        kernel.
# Seen:  Apache TVM 0.27.0.post1 pads nothing: with a kernel of 2 there are 2, from windows one
#        element further on, and the last element is in none. SAME_UPPER is right, and so are
#        AveragePool and Conv with SAME_LOWER.
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
x = np.float32([[[[1, 2, 3, 4, 5]]]])
rights = {
    ("MaxPool", "SAME_LOWER"): [1, 3, 5],
    ("MaxPool", "SAME_UPPER"): [2, 4, 5],
    ("AveragePool", "SAME_LOWER"): [1, 2.5, 4.5],
}
for (name, pad), right in rights.items():
    attributes = {"kernel_shape": [1, 2], "strides": [1, 2], "auto_pad": pad}
    pool = model([node(name, ["x"], ["y"], **attributes)], {"x": x}, 13)
    gives = tvm(pool, {"x": x})[0].ravel().tolist()
    print(name, pad, "right", right, "TVM", gives)
    assert np.allclose(onnxruntime(pool, {"x": x})[0].ravel(), right)
    assert gives == ([2, 4] if (name, pad) == ("MaxPool", "SAME_LOWER") else right)
PY
