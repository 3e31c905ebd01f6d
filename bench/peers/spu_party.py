"""One party of a private inference by SPU (https://github.com/secretflow/spu), for `fusion-bench
run --spu`: Python 3.11 with `pip install spu==0.9.5 onnx`.

Party 0 has the model, party 1 the images; each secret is shared by its owner. A query is run for
each line `go` on standard input; what it took is a line of JSON on standard output, as is what
setting up took.
"""

import argparse
import json
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import spu
import spu.utils.frontend as frontend
from onnx import numpy_helper
from spu import libspu

SERVER, CLIENT = 0, 1


class Network:
    """An ONNX model as a function of its weights and an image, in jax."""

    def __init__(self, path):
        graph = onnx.load(path).graph
        self.weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.nodes = graph.node
        (self.input,) = [value.name for value in graph.input if value.name not in self.weights]
        # A list of extents and the like is public, and no weight.
        self.public = {name: array for name, array in self.weights.items() if array.dtype != np.float32}
        for node in graph.node:
            if node.op_type == "Constant":
                self.public[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
        self.weights = {name: array for name, array in self.weights.items() if name not in self.public}
        for node in graph.node:
            if node.op_type == "BatchNormalization":
                self.fold(node)

    def fold(self, node):
        """A normalisation as a factor and a summand, which the model's owner knows."""
        scale, bias, mean, variance = (self.weights.pop(name).astype(np.float64) for name in node.input[1:])
        factor = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        for name, array in zip(node.input[1:3], (factor, bias - mean * factor)):
            self.weights[name] = array.astype(np.float32)
        del node.input[3:]

    def __call__(self, weights, image):
        values = {"": None, **self.public, **weights, self.input: image}
        for node in self.nodes:
            if node.op_type == "Constant":
                continue
            operation = OPERATIONS.get(node.op_type)
            if operation is None:
                sys.exit(f"node {node.name or node.output[0]}: this adapter has no {node.op_type}")
            last = operation([values[name] for name in node.input], attributes(node))
            values[node.output[0]] = last
        return last.reshape(-1)


def attributes(node):
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def pads(extents, kernel, a):
    """Padding before and after each axis."""
    count, strides = len(kernel), a.get("strides", [1] * len(kernel))
    auto = a.get("auto_pad", b"NOTSET")
    if auto in (b"NOTSET", b""):
        flat = a.get("pads", [0] * 2 * count)
        return list(zip(flat[:count], flat[count:]))
    if auto == b"VALID":
        return [(0, 0)] * count
    around = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(extents, kernel, strides)]
    return [(p - p // 2, p // 2) if auto == b"SAME_LOWER" else (p // 2, p - p // 2) for p in around]


def conv(x, a):
    data, kernel = x[0], x[1]
    out = jax.lax.conv_general_dilated(
        data, kernel, a.get("strides", [1] * (data.ndim - 2)), pads(data.shape[2:], kernel.shape[2:], a),
        rhs_dilation=a.get("dilations"), feature_group_count=a.get("group", 1),
        dimension_numbers=("NCHW", "OIHW", "NCHW"))
    return out if len(x) < 3 else out + x[2].reshape(1, -1, 1, 1)


def pool(start, combine):
    def run(x, a):
        kernel = a["kernel_shape"]
        around = pads(x[0].shape[2:], kernel, a)
        window, strides = (1, 1, *kernel), (1, 1, *a.get("strides", [1] * len(kernel)))
        out = jax.lax.reduce_window(x[0], start, combine, window, strides, [(0, 0), (0, 0), *around])
        return out if combine is jax.lax.max else out / np.prod(kernel)
    return run


def gemm(x, a):
    left, right = x[0].T if a.get("transA") else x[0], x[1].T if a.get("transB") else x[1]
    out = a.get("alpha", 1.0) * (left @ right)
    return out if len(x) < 3 else out + a.get("beta", 1.0) * x[2]


def normalise(x, a):
    data, factor, summand = x
    return data * factor.reshape(1, -1, 1, 1) + summand.reshape(1, -1, 1, 1)


def clip(x, a):
    low = x[1] if len(x) > 1 else a.get("min")
    high = x[2] if len(x) > 2 else a.get("max")
    out = x[0] if low is None else jnp.maximum(x[0], low)
    return out if high is None else jnp.minimum(out, high)


OPERATIONS = {
    "Add": lambda x, a: x[0] + x[1],
    "AveragePool": pool(0.0, jax.lax.add),
    "BatchNormalization": normalise,
    "Clip": clip,
    "Concat": lambda x, a: jnp.concatenate(x, a["axis"]),
    "Conv": conv,
    "Div": lambda x, a: x[0] / x[1],
    "Dropout": lambda x, a: x[0],
    "Flatten": lambda x, a: x[0].reshape(int(np.prod(x[0].shape[: a.get("axis", 1)])), -1),
    "Gemm": gemm,
    "GlobalAveragePool": lambda x, a: x[0].mean((2, 3), keepdims=True),
    "Identity": lambda x, a: x[0],
    "MatMul": lambda x, a: x[0] @ x[1],
    "MaxPool": pool(-jnp.inf, jax.lax.max),
    "Mul": lambda x, a: x[0] * x[1],
    "ReduceMean": lambda x, a: x[0].mean(tuple(a["axes"]), keepdims=bool(a.get("keepdims", 1))),
    "Relu": lambda x, a: jnp.maximum(x[0], 0),
    "Reshape": lambda x, a: x[0].reshape([int(n) for n in x[1]]),
    # It keeps the order of scores.
    "Softmax": lambda x, a: x[0],
    "Sub": lambda x, a: x[0] - x[1],
    "Transpose": lambda x, a: x[0].transpose(a.get("perm")),
}


def say(**fields):
    print(json.dumps(fields), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("images", help="NumPy file of float32, samples along the first axis")
    parser.add_argument("--party", type=int, choices=(SERVER, CLIENT), required=True)
    parser.add_argument("--addresses", nargs=2, required=True, metavar="HOST:PORT",
                        help="party 0's and party 1's: one's own to listen at, the other's to connect to")
    parser.add_argument("--protocol", choices=("cheetah", "semi2k"), default="cheetah")
    parser.add_argument("--field", type=int, choices=(32, 64, 128), default=64)
    args = parser.parse_args()

    began = time.monotonic()
    config = libspu.RuntimeConfig(
        protocol=getattr(libspu.ProtocolKind, args.protocol.upper()),
        field=getattr(libspu.FieldType, f"FM{args.field}"))
    network, images = Network(args.model), np.load(args.images)
    names = sorted(network.weights)
    example = jnp.asarray(images[:1])
    inputs = [f"in{at}" for at in range(len(names) + 1)]
    executable, _ = frontend.compile(
        frontend.Kind.JAX, lambda image, *weights: network(dict(zip(names, weights)), image),
        (example, *(network.weights[name] for name in names)), {}, inputs,
        [libspu.Visibility.VIS_SECRET] * len(inputs), lambda out: [f"out{at}" for at in range(len(out))])
    compiled = time.monotonic()

    description = libspu.link.Desc()
    # A layer may take a party longer than the usual half a minute.
    description.recv_timeout_ms = 3_600_000
    for party, address in enumerate(args.addresses):
        description.add_party(f"party{party}", address)
    link = libspu.link.create_brpc(description, args.party)
    io, runtime = spu.Io(2, config), spu.Runtime(link, config)

    def share(name, owner, array):
        """Gives both parties their share of what `owner` has."""
        if args.party == owner:
            shares = io.make_shares(array, libspu.Visibility.VIS_SECRET, owner)
            theirs = shares[1 - owner]
            send(link, 1 - owner, [theirs.meta, *theirs.share_chunks])
            runtime.set_var(name, shares[owner])
        else:
            meta, *chunks = receive(link, owner)
            mine = libspu.Share()
            mine.meta, mine.share_chunks = meta, chunks
            runtime.set_var(name, mine)

    for at, name in enumerate(names):
        share(inputs[at + 1], SERVER, np.asarray(network.weights[name], np.float32))
    say(compile_s=compiled - began, setup_s=time.monotonic() - compiled, version=spu.__version__)
    for query, line in enumerate(sys.stdin):
        if line.strip() != "go":
            break
        began, used = time.monotonic(), time.process_time()
        share(inputs[0], CLIENT, np.asarray(images[query % len(images)][None], np.float32))
        runtime.run(executable)
        # The server's share of the scores is the client's: here it looks for the largest.
        result, label = runtime.get_var(executable.output_names[0]), None
        if args.party == SERVER:
            send(link, CLIENT, [result.meta, *result.share_chunks])
        else:
            theirs = libspu.Share()
            theirs.meta, *chunks = receive(link, SERVER)
            theirs.share_chunks = chunks
            label = int(np.argmax(io.reconstruct([theirs, result])))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        say(seconds=time.monotonic() - began, cpu_s=time.process_time() - used, label=label, memory_peak_bytes=peak)


def send(link, to, parts):
    link.send(to, json.dumps([len(part) for part in parts]))
    for part in parts:
        link.send(to, part)


def receive(link, sender):
    return [bytes(link.recv(sender)) for _ in json.loads(link.recv(sender))]


if __name__ == "__main__":
    main()
