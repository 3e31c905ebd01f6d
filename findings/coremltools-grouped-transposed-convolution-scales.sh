#!/usr/bin/env bash
# coremltools: normalisation behind a transposed convolution in groups scales the wrong channels.
#
# Guess (written after the run): a batch normalisation, or a factor for each channel, goes into the
#        weights of a transposed convolution channel by channel, in groups too.
# Seen:  coremltools 9.0 takes a channel's number within its group before the group's: of 4 channels
#        in 2 groups the second has the third's factor and the third the second's, also between
#        channels of one input. Biases are right, and so are one group, as many groups as channels,
#        and a convolution in groups.
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


NEEDED = {"x", "y", "weight", "bias", "groups", "gamma", "beta", "mean", "variance", "epsilon"}


def transposed(x, weight, groups, bias=0):
    each = zip(np.split(x, groups, axis=1), np.split(weight[:, :, 0, 0], groups))
    products = [np.einsum("nihw,io->nohw", *pair) for pair in each]
    return np.concatenate(products, axis=1) + np.reshape(bias, (-1, 1, 1))


def normalised(x, mean, variance, gamma, beta, epsilon):
    scale = gamma / np.sqrt(variance + epsilon)
    return x * scale.reshape(-1, 1, 1) + (beta - mean * scale).reshape(-1, 1, 1)


FORMULAS = {
    "conv_transpose": transposed,
    "batch_norm": normalised,
    "mul": lambda x, y: x * y,
    "relu": lambda x: np.maximum(x, 0),
}
gamma = np.float32([1, 10, 100, 1000])
zeros, ones = np.zeros(4, np.float32), np.ones(4, np.float32)
norm = {"mean": zeros, "variance": ones, "gamma": gamma, "beta": zeros, "epsilon": np.float32(1e-7)}
print("coremltools", version("coremltools"))
x = np.float32([1, 2, 3, 4]).reshape(1, 4, 1, 1)
for groups in (1, 2, 4):
    weights = np.arange(1, 1 + 16 // groups, dtype=np.float32).reshape(4, 4 // groups, 1, 1)
    networks = {
        "batch_norm": lambda y: mb.batch_norm(x=y, **norm),
        "mul": lambda y: mb.mul(x=y, y=gamma.reshape(1, 4, 1, 1)),
    }
    for name, scaled in networks.items():
        convolved = lambda x: mb.conv_transpose(x=x, weight=weights, groups=groups)
        before, after = converted(lambda x: mb.relu(x=scaled(convolved(x))), x.shape)
        right, gives = run(before, x)[0].ravel(), run(after, x)[0].ravel()
        shown = right.tolist(), "converted", names(after), gives.tolist()
        print(groups, "groups", name, "right", *shown)
        assert names(after) == ["conv_transpose", "relu"]
        plain = transposed(x, weights, groups).ravel()
        assert np.allclose(right, plain * gamma, rtol=1e-5)
        taken = gamma[[0, 2, 1, 3]] if groups == 2 else gamma
        assert np.allclose(gives, plain * taken, rtol=1e-5)
PY
