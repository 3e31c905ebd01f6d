#!/usr/bin/env bash
# tract: Attention with is_causal and a cache masks as if the cache were not there.
#
# Guess: with two past keys the first of three new queries sees three keys, the second four, the
#        third all five, as ONNX says of is_causal.
# Seen:  tract 0.23.9 lets the first query see one key, the second two and the third three, counted
#        from the oldest: it equals onnxruntime 1.32.0 with a mask of such a triangle. Keys and
#        values that it returns for the cache are right, and so is attention without is_causal.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 tract==0.23.9
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import onnx
from onnx import helper, numpy_helper
import onnxruntime as ort

print("tract", version("tract"), "onnxruntime", version("onnxruntime"))
draw = np.random.default_rng(1)
extents = {"q": 3, "k": 3, "v": 3, "pk": 2, "pv": 2}
given = {k: draw.normal(size=(1, 2, n, 4)).astype(np.float32) for k, n in extents.items()}


def attention(mask=None, **attributes):
    """Three queries and keys behind a cache of two: the result and the new cache."""
    import tract

    inputs = [helper.make_tensor_value_info(k, 1, v.shape) for k, v in given.items()]
    extents = {"y": 3, "nk": 5, "nv": 5}
    outputs = [helper.make_tensor_value_info(k, 1, [1, 2, n, 4]) for k, n in extents.items()]
    stored = [] if mask is None else [numpy_helper.from_array(mask, "m")]
    names = ["q", "k", "v", "m" if stored else "", "pk", "pv"]
    graph = helper.make_graph(
        [helper.make_node("Attention", names, list(extents), **attributes)], "g", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.checker.check_model(model)
    onnx.save(model, "model.onnx")
    session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    if stored:
        return session.run(None, given), None
    runnable = tract.onnx().load("model.onnx").into_model().into_runnable()
    return session.run(None, given), [v.to_numpy() for v in runnable.run(list(given.values()))]


onnxruntime, tract_gives = attention(is_causal=1)
shifted, _ = attention(np.tri(3, 5, 2, dtype=bool))
unshifted, _ = attention(np.tri(3, 5, 0, dtype=bool))
print("first query: onnxruntime", onnxruntime[0][0, 0, 0], "tract", tract_gives[0][0, 0, 0])
assert np.allclose(onnxruntime[0], shifted[0], atol=1e-5) and np.allclose(tract_gives[0], unshifted[0], atol=1e-5)
assert np.abs(onnxruntime[0] - tract_gives[0]).max() > 0.1
assert all(np.array_equal(a, b) for a, b in zip(onnxruntime[1:], tract_gives[1:]))
onnxruntime, tract_gives = attention()
assert np.allclose(onnxruntime[0], tract_gives[0], atol=1e-5)
PY
