#!/usr/bin/env bash
# coremltools: a triangle of minus infinities has NaN in its other half.
#
# Guess (written after the run): a causal mask, the band of a constant matrix of minus infinities
#        above its diagonal, is zero elsewhere, folded as a constant too.
# Seen:  coremltools 9.0 folds band_part of a constant when the program is built, by multiplying
#        with ones and zeros: zero times infinity is NaN at every position outside the band, and a
#        softmax behind the mask is NaN in each row that has one. With -10000 it is right. Its
#        documentation says zeros outside the band, beside a formula that multiplies.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    coremltools==9.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import logging
from importlib.metadata import version

logging.disable(logging.WARNING)
import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb


def converted(network, *shapes):
    """The program of a network, and what coremltools makes of it with its default passes."""
    inputs, target = [mb.TensorSpec(shape) for shape in shapes], ct.target.iOS15
    program = lambda: mb.program(inputs, opset_version=target)(network)
    usual = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": target}
    return program(), ct.convert(program(), convert_to="milinternal", **usual)


def run(program, *arrays):
    """What a program's operations give, by numpy's formulas."""
    function = program.functions["main"]
    values = dict(zip(function.inputs, arrays))
    value = lambda var: values[var.name] if var.val is None else np.asarray(var.val)
    for op in function.operations:
        if op.op_type != "const":
            given = {n: value(v) for n, v in op.inputs.items() if n in NEEDED and v is not None}
            values[op.outputs[0].name] = FORMULAS[op.op_type](**given)
    return [value(var) for var in function.outputs]


def names(program):
    return [op.op_type for op in program.functions["main"].operations if op.op_type != "const"]


NEEDED = {"x", "y", "axis"}


def softmax(x, axis):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


FORMULAS = {"add": lambda x, y: x + y, "softmax": softmax}
scores = np.float32([[1, 9, 9, 9], [1, 1, 9, 9], [1, 2, 3, 9]])
print("coremltools", version("coremltools"))
for masked in (-1e4, -np.inf):
    def network(x):
        # Columns from the second on, of which the band is what lies on and above its own diagonal.
        above = mb.band_part(x=np.full((3, 3), masked, np.float32), lower=0, upper=-1)
        mask = mb.concat(values=[np.zeros((3, 1), np.float32), above], axis=1)
        return mb.softmax(x=mb.add(x=x, y=mask), axis=-1)

    after = converted(network, scores.shape)[1]
    mask = next(op.y.val for op in after.functions["main"].operations if op.op_type == "add")
    right = softmax(scores + np.where(np.triu(np.ones((3, 4)), 1) == 1, masked, 0), -1)
    gives = run(after, scores)[0]
    shown = "right", right.round(2).tolist(), "converted", gives.round(2).tolist()
    print(masked, "mask", mask.tolist(), *shown)
    if masked == -np.inf:
        assert np.isnan(gives[1:]).all() and np.isnan(mask).sum() == 3
    else:
        assert np.allclose(gives, right, atol=1e-6)
PY
