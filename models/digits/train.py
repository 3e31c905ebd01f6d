"""Trains the digits model and writes every file of this folder except the texts. Needs numpy,
scikit-learn and onnx; onnxruntime checks the export if it is there.

The data are scikit-learn's bundled digits: 1797 grey images of 8x8 pixels, 0..16, here divided by 16. One seeded
permutation splits them into a training part, held-out queries and held-out public samples, disjoint. The network is
plain numpy with Adam, so the run is the same everywhere up to the rounding of the linear algebra library.
"""

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
SEED = 2023
TRAIN, QUERIES, PUBLIC = 1097, 350, 350
CALIBRATION = 64
EPOCHS, BATCH, RATE, DECAY = 60, 32, 2e-3, 1e-4


def patches(x):
    """The 3x3 neighbourhoods of `x` [n, c, h, w], zero padded: [n, h, w, c * 9]."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 9)


def fold(grad, c):
    """The adjoint of `patches`: [n, h, w, c * 9] to [n, c, h, w]."""
    n, h, w, _ = grad.shape
    grad = grad.reshape(n, h, w, c, 3, 3)
    padded = np.zeros((n, c, h + 2, w + 2), grad.dtype)
    for i in range(3):
        for j in range(3):
            padded[:, :, i : i + h, j : j + w] += grad[..., i, j].transpose(0, 3, 1, 2)
    return padded[:, :, 1:-1, 1:-1]


def convolve(x, weight, bias):
    """3x3 convolution with padding 1; also the patches, for the gradient."""
    columns = patches(x)
    y = columns @ weight.reshape(len(weight), -1).T + bias
    return y.transpose(0, 3, 1, 2), columns


def forward(p, x):
    """Logits [n, 10] and what the gradient needs."""
    y1, columns1 = convolve(x, p["conv1.weight"], p["conv1.bias"])
    n, c, h, w = y1.shape
    blocks = np.maximum(y1, 0).reshape(n, c, h // 2, 2, w // 2, 2)
    pooled = blocks.max(axis=(3, 5))
    y2, columns2 = convolve(pooled, p["conv2.weight"], p["conv2.bias"])
    flat = np.maximum(y2, 0).reshape(n, -1)
    logits = flat @ p["dense.weight"].T + p["dense.bias"]
    return logits, (y1, columns1, blocks, pooled, y2, columns2, flat)


def gradients(p, x, labels):
    """Gradients of the mean cross-entropy."""
    logits, (y1, columns1, blocks, pooled, y2, columns2, flat) = forward(p, x)
    n = len(x)
    soft = np.exp(logits - logits.max(axis=1, keepdims=True))
    soft /= soft.sum(axis=1, keepdims=True)
    soft[np.arange(n), labels] -= 1
    g = soft / n
    grads = {"dense.weight": g.T @ flat, "dense.bias": g.sum(axis=0)}

    g = (g @ p["dense.weight"]).reshape(y2.shape) * (y2 > 0)
    g = g.transpose(0, 2, 3, 1)
    weight = p["conv2.weight"]
    grads["conv2.weight"] = np.tensordot(g, columns2, axes=((0, 1, 2),) * 2).reshape(weight.shape)
    grads["conv2.bias"] = g.sum(axis=(0, 1, 2))

    g = fold(g @ weight.reshape(len(weight), -1), weight.shape[1])
    winners = blocks == pooled[:, :, :, None, :, None]
    g = (winners / winners.sum(axis=(3, 5), keepdims=True) * g[:, :, :, None, :, None]).reshape(y1.shape) * (y1 > 0)
    g = g.transpose(0, 2, 3, 1)
    weight = p["conv1.weight"]
    grads["conv1.weight"] = np.tensordot(g, columns1, axes=((0, 1, 2),) * 2).reshape(weight.shape)
    grads["conv1.bias"] = g.sum(axis=(0, 1, 2))
    return grads


def train(x, labels, rng):
    """Adam with decoupled weight decay and a cosine rate, from He initialisation."""
    shapes = {"conv1.weight": (8, 1, 3, 3), "conv2.weight": (16, 8, 3, 3), "dense.weight": (10, 256)}
    p = {}
    for name, shape in shapes.items():
        fan_in = np.prod(shape[1:])
        p[name] = rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
        p[name.replace("weight", "bias")] = np.zeros(shape[0], np.float32)
    first = {name: np.zeros_like(value) for name, value in p.items()}
    second = {name: np.zeros_like(value) for name, value in p.items()}
    step, steps = 0, EPOCHS * (len(x) // BATCH)
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            picked = order[start : start + BATCH]
            rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
            step += 1
            for name, grad in gradients(p, x[picked], labels[picked]).items():
                first[name] = 0.9 * first[name] + 0.1 * grad
                second[name] = 0.999 * second[name] + 0.001 * grad**2
                mean, spread = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                p[name] -= (rate * (mean / (np.sqrt(spread) + 1e-8) + DECAY * p[name])).astype(np.float32)
    return p


def export(p):
    """The network as ONNX, opset 13, batch axis `N`."""
    conv = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1"], name="conv1", **conv),
        helper.make_node("Relu", ["conv1"], ["relu1"], name="relu1"),
        helper.make_node("MaxPool", ["relu1"], ["pool1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pool1", "conv2.weight", "conv2.bias"], ["conv2"], name="conv2", **conv),
        helper.make_node("Relu", ["conv2"], ["relu2"], name="relu2"),
        helper.make_node("Flatten", ["relu2"], ["flatten"], name="flatten", axis=1),
        helper.make_node("Gemm", ["flatten", "dense.weight", "dense.bias"], ["logits"], name="dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(value, name) for name, value in p.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="fusion")
    model.ir_version = 7
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / "digits.onnx")


def check_export(x, logits):
    """Compares the exported file with the trained network, where onnxruntime is installed."""
    try:
        import onnxruntime
    except ImportError:
        print("onnxruntime is not installed: the export was not compared")
        return
    session = onnxruntime.InferenceSession(str(HERE / "digits.onnx"), providers=["CPUExecutionProvider"])
    exported = session.run(None, {"image": x})[0]
    assert np.allclose(exported, logits, atol=1e-3), "the exported model computes something else"


def main():
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=form).parse_args()
    digits = load_digits()
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(digits.images))
    x = (digits.images[order, None] / 16).astype(np.float32)
    labels = digits.target[order].astype(np.int64)
    ends = np.cumsum([TRAIN, QUERIES, PUBLIC])
    assert ends[-1] == len(x)

    p = train(x[:TRAIN], labels[:TRAIN], rng)
    export(p)
    logits = forward(p, x)[0]
    check_export(x, logits)

    right = logits.argmax(axis=1) == labels
    train_part, queries, public = slice(0, TRAIN), slice(*ends[:2]), slice(*ends[1:])
    np.save(HERE / "calibrate.npy", x[:CALIBRATION])
    for images, answers, part in (("queries", "query_labels", queries), ("public", "public_labels", public)):
        np.save(HERE / f"{images}.npy", x[part])
        np.save(HERE / f"{answers}.npy", labels[part])
    for name, part in (("training", train_part), ("queries", queries), ("public", public)):
        print(f"{name:9} {right[part].sum():5} of {len(right[part]):5} right, {100 * right[part].mean():.2f} %")


if __name__ == "__main__":
    main()
