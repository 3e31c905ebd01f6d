"""BERT-tiny (2 layers, 128 wide, 2 heads, 128 tokens), trained here on English that a package ships, through fusionc.

The texts are SciPy's own documentation (BSD-3-Clause): what is said of functions, in texts of 128 word pieces,
with the part of SciPy that it is of (statistics, signals, sparse matrices and so on) for their label. No function is in
both the training and the test set. The network is BERT's as its authors describe it, with a vocabulary of its own: two
layers of attention and GELU, normalised behind each sum, a pooler on the first token. It is exported as exporters
write it: LayerNormalization, Softmax, Erf.
Fixed point must give float's label, as onnxruntime computes it, on at least 99 % of texts that it was not calibrated
on.

    python3 -m venv target/trained
    target/trained/bin/pip install jax numpy onnx onnxruntime scipy
    cargo build --release --bin fusionc
    target/trained/bin/python tests/trained/bert_tiny.py

Training takes a quarter of an hour on two cores; a network that is there already is not trained again.
"""
import argparse
import ast
import collections
import importlib.util
import pathlib
import re
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ["stats", "signal", "sparse", "optimize", "linalg", "special", "ndimage", "spatial", "interpolate", "integrate"]
TOKENS, WIDTH, HEADS, LAYERS, INNER = 128, 128, 2, 2, 512
VOCABULARY = 2048
# A function gives so many texts at most, none of them shorter than this.
MOST_PARTS, FEWEST_PIECES = 6, 32
PAD, CLS, UNKNOWN = 0, 1, 2
CALIBRATED = 64
EPSILON = 1e-5


def texts():
    """The documentation in SciPy's files: of each function its words and the part that it is of."""
    package = pathlib.Path(importlib.util.find_spec("scipy").submodule_search_locations[0])
    found, seen = [], set()
    for label, part in enumerate(PARTS):
        for path in sorted((package / part).rglob("*.py")):
            if "tests" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value):
                    continue
                # Without its examples' code, and without what says where it is from.
                lines = [line for line in node.value.split("\n") if not line.strip().startswith((">>>", "..."))]
                text = re.sub(r"scipy(\.\w+)*", " ", "\n".join(lines).lower())
                words = re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]", text)
                if len(words) >= 24 and tuple(words[:24]) not in seen:
                    seen.add(tuple(words[:24]))
                    found.append((words, label))
    return found


def pieces(words):
    """A vocabulary: signs, frequent words, and frequent ends of words, which begin with ##."""
    counts = collections.Counter(words)
    single = sorted({sign for word in counts for sign in word if counts[word] > 1})
    parts = collections.Counter()
    for word, count in counts.items():
        parts[word] += count * len(word)
        for start in range(1, len(word)):
            for end in range(start + 2, min(len(word), start + 8) + 1):
                parts["##" + word[start:end]] += count * (end - start - 1) // 4
    vocabulary = ["[PAD]", "[CLS]", "[UNK]", *single, *("##" + sign for sign in single)]
    known = set(vocabulary)
    for part, _ in parts.most_common():
        if len(vocabulary) == VOCABULARY:
            break
        if part not in known:
            known.add(part)
            vocabulary.append(part)
    return {piece: place for place, piece in enumerate(vocabulary)}


def numbers(words, vocabulary):
    """Word pieces, the longest that fit first, in texts of as many as the network reads."""
    row = []
    for word in words:
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary)
            end = next(ends, None)
            if end is None:
                row.append(UNKNOWN)
                break
            row.append(vocabulary[prefix + word[start:end]])
            start = end
    length = TOKENS - 1
    parts = [row[first : first + length] for first in range(0, min(len(row), MOST_PARTS * length), length)]
    return [[CLS, *part, *[PAD] * (length - len(part))] for part in parts if len(part) >= FEWEST_PIECES]


def start(rng):
    """Parameters before training, by name."""
    draw = lambda *shape: (0.02 * rng.standard_normal(shape)).astype(np.float32)
    zero, one = (lambda n: np.zeros(n, np.float32)), (lambda n: np.ones(n, np.float32))
    p = {"words": draw(VOCABULARY, WIDTH), "places": draw(TOKENS, WIDTH), "norm": one(WIDTH), "norm.b": zero(WIDTH)}
    for layer in range(LAYERS):
        for name, rows, columns in [("q", WIDTH, WIDTH), ("k", WIDTH, WIDTH), ("v", WIDTH, WIDTH), ("o", WIDTH, WIDTH),
                                    ("up", WIDTH, INNER), ("down", INNER, WIDTH)]:
            p[f"{layer}.{name}"], p[f"{layer}.{name}.b"] = draw(rows, columns), zero(columns)
        for name in ("norm1", "norm2"):
            p[f"{layer}.{name}"], p[f"{layer}.{name}.b"] = one(WIDTH), zero(WIDTH)
    p["pool"], p["pool.b"] = draw(WIDTH, WIDTH), zero(WIDTH)
    p["label"], p["label.b"] = draw(WIDTH, len(PARTS)), zero(len(PARTS))
    return p


def train(x, y, epochs, batch=32, rate=1e-3):
    """Parameters after so many passes over the texts."""
    import jax
    import jax.numpy as jnp

    def norm(p, name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * p[name] + p[name + ".b"]

    def scores(p, ids, key):
        def drop(x, at):
            if key is None:
                return x
            return jnp.where(jax.random.bernoulli(jax.random.fold_in(key, at), 0.9, x.shape), x / 0.9, 0.0)

        x = drop(norm(p, "norm", p["words"][ids] + p["places"]), 0)
        heads = lambda x: x.reshape(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)
        for layer in range(LAYERS):
            linear = lambda name, x: x @ p[f"{layer}.{name}"] + p[f"{layer}.{name}.b"]
            q, k, v = (heads(linear(name, x)) for name in "qkv")
            weights = jax.nn.softmax(q @ k.transpose(0, 1, 3, 2) / np.sqrt(WIDTH // HEADS), axis=-1)
            mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(x.shape)
            x = norm(p, f"{layer}.norm1", x + drop(linear("o", mixed), 3 * layer + 1))
            inner = jax.nn.gelu(linear("up", x), approximate=False)
            x = norm(p, f"{layer}.norm2", x + drop(linear("down", inner), 3 * layer + 2))
        pooled = jnp.tanh(x[:, 0] @ p["pool"] + p["pool.b"])
        return drop(pooled, 99) @ p["label"] + p["label.b"]

    def loss(p, ids, labels, key):
        return -jnp.take_along_axis(jax.nn.log_softmax(scores(p, ids, key)), labels[:, None], 1).mean()

    steps = epochs * (len(x) // batch)

    @jax.jit
    def step(p, m, v, at, ids, labels, key):
        value, gradient = jax.value_and_grad(loss)(p, ids, labels, jax.random.fold_in(key, at))
        warm = jnp.minimum(1.0, at / (0.1 * steps)) * jnp.maximum(0.0, 1.0 - at / steps)
        new_m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        new_v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        scale = rate * warm * jnp.sqrt(1 - 0.999 ** (at + 1.0)) / (1 - 0.9 ** (at + 1.0))
        decayed = lambda p, m, v: p - scale * (m / (jnp.sqrt(v) + 1e-8)) - rate * warm * 0.01 * p * (p.ndim > 1)
        return jax.tree.map(decayed, p, new_m, new_v), new_m, new_v, value

    rng = np.random.default_rng(1)
    p = start(rng)
    m, v = (jax.tree.map(np.zeros_like, p) for _ in range(2))
    at, key, began = 0, jax.random.key(3), time.time()
    for epoch in range(epochs):
        order, losses = rng.permutation(len(x)), []
        for first in range(0, len(x) - batch + 1, batch):
            rows = order[first : first + batch]
            p, m, v, value = step(p, m, v, at, x[rows], y[rows], key)
            losses.append(value)
            at += 1
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f} after {time.time() - began:.0f} s", flush=True)
    return {name: np.asarray(value) for name, value in p.items()}


def export(p, path):
    """The network as an ONNX file that reads the numbers of word pieces."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(op, name, *inputs, **attributes):
        nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def linear(name, x, key):
        product = node("MatMul", name + ".product", x, constant(name + ".weight", p[key]))
        return node("Add", name, product, constant(name + ".bias", p[key + ".b"]))

    def norm(name, x, key):
        weights = constant(name + ".weight", p[key]), constant(name + ".bias", p[key + ".b"])
        return node("LayerNormalization", name, x, *weights, axis=-1, epsilon=EPSILON)

    split = constant("split", np.array([0, TOKENS, HEADS, WIDTH // HEADS], np.int64))
    joined = constant("joined", np.array([0, TOKENS, WIDTH], np.int64))
    root = constant("root", np.float32(np.sqrt(WIDTH // HEADS)))
    half, one, two = (constant(name, np.float32(x)) for name, x in [("half", 0.5), ("one", 1), ("two", 2**0.5)])
    x = node("Gather", "words", constant("words.table", p["words"]), "ids", axis=0)
    x = norm("norm", node("Add", "placed", x, constant("places.table", p["places"])), "norm")
    for layer in range(LAYERS):
        at = f"layer{layer}."
        heads = {}
        for name in "qkv":
            flat = linear(at + name, x, f"{layer}.{name}")
            apart = node("Reshape", at + name + ".apart", flat, split)
            perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
            heads[name] = node("Transpose", at + name + ".heads", apart, perm=perm)
        scores = node("MatMul", at + "scores", heads["q"], heads["k"])
        weights = node("Softmax", at + "softmax", node("Div", at + "scaled", scores, root), axis=-1)
        mixed = node("Transpose", at + "mixed", node("MatMul", at + "values", weights, heads["v"]), perm=[0, 2, 1, 3])
        out = linear(at + "out", node("Reshape", at + "flat", mixed, joined), f"{layer}.o")
        x = norm(at + "norm1", node("Add", at + "sum1", out, x), f"{layer}.norm1")
        up = linear(at + "up", x, f"{layer}.up")
        erf = node("Add", at + "erf1", node("Erf", at + "erf", node("Div", at + "root2", up, two)), one)
        gelu = node("Mul", at + "gelu", node("Mul", at + "twice", up, erf), half)
        down = linear(at + "down", gelu, f"{layer}.down")
        x = norm(at + "norm2", node("Add", at + "sum2", down, x), f"{layer}.norm2")
    first = node("Gather", "first", x, constant("zero", np.int64(0)), axis=1)
    pooled = node("Tanh", "pooled", linear("pool", first, "pool"))
    linear("scores", pooled, "label")
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", TOKENS])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(PARTS)])
    graph = helper.make_graph(nodes, "bert_tiny", [ids], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fusionc", default=ROOT / "target/release/fusionc")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/trained-bert-tiny")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples", type=int, default=500)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    functions = texts()
    np.random.default_rng(5).shuffle(functions)
    cut = len(functions) // 5
    vocabulary = pieces(word for words, _ in functions[cut:] for word in words)
    cut_up = lambda functions: [(row, label) for words, label in functions for row in numbers(words, vocabulary)]
    tested, trained = cut_up(functions[:cut]), cut_up(functions[cut:])
    for rows in (tested, trained):
        np.random.default_rng(6).shuffle(rows)
    arrays = lambda rows: (np.array([row for row, _ in rows], np.int64), np.array([label for _, label in rows]))
    (test, test_labels), (x, y) = arrays(tested[: args.samples]), arrays(trained)
    print(f"{len(x)} texts to train on, {len(test)} to test on, {(x != PAD).mean():.0%} of their places filled")
    model = args.out / "model.onnx"
    if not model.exists():
        export(train(x, y, args.epochs), model)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model))
    float_labels = session.run(None, {"ids": test})[0].argmax(1)
    # Calibration sees what a model's owner has, texts that the network was trained on.
    np.save(args.out / "calibrate.npy", x[:CALIBRATED])
    np.save(args.out / "input.npy", test)
    print(f"float is right about {(float_labels == test_labels).mean():.1%} of texts", flush=True)
    plan, labels = args.out / "plan.bin", args.out / "labels.csv"
    run = lambda *command: subprocess.run([str(part) for part in (args.fusionc, *command)], check=True)
    run("compile", model, "--calibrate", args.out / "calibrate.npy", "-o", plan)
    run("cost", plan)
    run("eval", plan, "--input", args.out / "input.npy", "-o", labels)
    fixed = np.loadtxt(labels, delimiter=",", skiprows=1, dtype=int)[:, 1]
    same = int((fixed == float_labels).sum())
    print(f"fixed point has float's label for {same} of {len(fixed)} texts")
    if same < 0.99 * len(fixed):
        sys.exit("that is less than 99 %")


if __name__ == "__main__":
    main()
