"""Random chains that prepare columns, in front of trees, linear models and support vector machines: are labels onnxruntime's?

    python tests/tabular/chains.py --fusionc target/release/fusionc --seed 1 --models 200 [--keep /tmp/wrong]

Packages: onnx, onnxruntime and numpy, as export.py asks for them. One or two inputs are float32, float64, int32 or int64; rows lie on thresholds, near
them, and where float32 rounds. Each model is compiled with --calibrate and no other flag, or with --public-prefix, and its labels on the rows
are compared with onnxruntime's on one thread. Every row of trees behind steps that move into thresholds has to have its label. Models in
fixed point may differ on some: linear models and support vector machines on one row in fifty, which is about the rows that lie on a border,
trees behind an Abs, whose thresholds are numbers of rows, on one in ten; on more if the compiler has warned that its labels are not the float
network's.
A refusal is no fault; how many and why is printed. Exit code 1 if labels differ.
"""
import argparse
import collections
import csv
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ML = "ai.onnx.ml"
FEATURES, ROWS = 4, 240
NUMBER = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.INT32: np.int32, TensorProto.INT64: np.int64}
WHOLE = (TensorProto.INT32, TensorProto.INT64)


class Chain:
    """Nodes from "x" on, and what is known of their last result."""

    def __init__(self, rng, kind, name="x"):
        self.rng, self.kind, self.at, self.width, self.exact = rng, kind, name, FEATURES, True
        self.inputs, self.name = [(name, kind)], name
        self.nodes, self.tensors, self.made = [], [], []

    def tensor(self, value):
        name = f"{self.name}_c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, kind=None, width=None, domain="", **more):
        self.made.append((self.at, self.kind, self.width))
        self.at = f"{self.name}_v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.at], name=f"{self.name}_{op}{len(self.nodes)}", domain=domain, **more))
        self.kind, self.width = kind or self.kind, width or self.width

    def constant(self, factor=False):
        """One number or one for each column."""
        rng, number = self.rng, NUMBER[self.kind]
        shape = rng.choice([0, 1]) * self.width
        if self.kind in WHOLE:
            size = int(rng.choice([3, 100, 30000, 2**24 - 1] if factor else [5, 1000, 2**24, 2**30]))
            value = rng.integers(-size, size + 1, shape or None)
        elif factor:
            value = rng.choice([0.001, 0.37, 1.0, 7.3, 1e4]) * rng.uniform(0.5, 1, shape or None) * rng.choice([-1, 1], shape or None)
        else:
            value = rng.choice([0.1, 3.0, 1e4, 1.7e7]) * rng.normal(size=shape or None)
        return self.tensor(np.asarray(value).astype(number))

    def step(self):
        rng, x, whole = self.rng, self.at, self.kind in WHOLE
        single = self.kind == TensorProto.FLOAT
        choices = ["Add", "Sub", "RSub", "Mul", "Neg", "Clip", "Max", "Min", "Cast", "Cast", "Scaler", "Gather", "Concat", "Reshape"]
        choices += ["Abs"] * (rng.random() < 0.3)
        choices += [] if whole else ["Div", "Relu"]
        choices += ["Imputer", "Binarizer", "FeatureVectorizer", "ArrayFeatureExtractor"] if single else []
        op = str(rng.choice(choices))
        if op in ("Add", "Sub", "Mul", "Div"):
            self.node(op, [x, self.constant(op in ("Mul", "Div"))])
        elif op == "RSub":
            self.node("Sub", [self.constant(), x])
        elif op in ("Neg", "Abs", "Relu"):
            self.exact &= op != "Abs"
            self.node(op, [x])
        elif op in ("Max", "Min"):
            self.node(op, [x, self.constant()] if rng.random() < 0.5 else [self.constant(), x])
        elif op == "Clip":
            one = lambda: np.asarray(rng.integers(-2000, 2000) if whole else rng.normal() * 100).astype(NUMBER[self.kind])
            low, high = one(), one()
            low, high = min(low, high), max(low, high)
            given = int(rng.integers(3))
            self.node("Clip", [x, self.tensor(low) if given != 1 else "", self.tensor(high) if given else ""])
        elif op == "Cast":
            to = {TensorProto.FLOAT: [TensorProto.DOUBLE], TensorProto.DOUBLE: [TensorProto.FLOAT]}.get(self.kind)
            to = int(rng.choice(to or [kind for kind in NUMBER if kind != self.kind]))
            self.node("Cast", [x], kind=to, to=to)
        elif op == "Scaler":
            offset = rng.choice([0.1, 100.0, 1.7e7]) * rng.normal(size=self.width)
            scale = rng.choice([0.001, 0.37, 20.0]) * rng.normal(size=self.width)
            self.node(op, [x], kind=TensorProto.FLOAT, domain=ML, offset=offset.tolist(), scale=scale.tolist())
        elif op == "Imputer":
            self.node(op, [x], domain=ML, imputed_value_floats=rng.normal(size=self.width).tolist(), replaced_value_float=float("nan"))
        elif op == "Binarizer":
            self.node(op, [x], domain=ML, threshold=float(rng.normal()))
        elif op == "FeatureVectorizer":
            self.node(op, [x], domain=ML, inputdimensions=[self.width])
        elif op == "ArrayFeatureExtractor":
            self.node(op, [x, self.tensor(rng.integers(0, self.width, FEATURES))], width=FEATURES, domain=ML)
        elif op == "Gather":
            self.node(op, [x, self.tensor(rng.integers(-self.width, self.width, FEATURES))], width=FEATURES, axis=1)
        elif op == "Concat":
            other = [made for made in self.made if made[1] == self.kind and made[2] + self.width <= 12]
            name, _, width = other[int(rng.integers(len(other)))] if other else (x, self.kind, self.width)
            self.node(op, [x, name], width=self.width + width, axis=1)
        elif op == "Reshape":
            self.node(op, [x, self.tensor(np.array([-1, self.width]))])

    def encode(self):
        """Columns of integers as categories."""
        rng, keys = self.rng, list(range(-3, 4))
        if rng.random() < 0.5:
            self.node("OneHotEncoder", [self.at], kind=TensorProto.FLOAT, domain=ML, cats_int64s=keys, zeros=1)
            self.node("Reshape", [self.at, self.tensor(np.array([-1, FEATURES * len(keys)]))], width=FEATURES * len(keys))
        elif rng.random() < 0.5:
            self.node("LabelEncoder", [self.at], domain=ML, keys_int64s=keys, values_int64s=rng.integers(-9, 9, len(keys)).tolist(), default_int64=4)
        else:
            self.node("LabelEncoder", [self.at], kind=TensorProto.FLOAT, domain=ML, keys_int64s=keys, values_floats=rng.normal(size=len(keys)).tolist(), default_float=0.5)

    def join(self, other):
        """Beside the columns of another chain, all as float32."""
        for chain in (self, other):
            if chain.kind != TensorProto.FLOAT:
                chain.node("Cast", [chain.at], kind=TensorProto.FLOAT, to=TensorProto.FLOAT)
        self.nodes, self.tensors, self.inputs = other.nodes + self.nodes, other.tensors + self.tensors, self.inputs + other.inputs
        self.exact &= other.exact
        self.node("Concat", [self.at, other.at], width=self.width + other.width, axis=1)

    def given(self, rows):
        """Rows as the inputs take them."""
        parts = np.split(rows, len(self.inputs), axis=1)
        return {name: part.astype(NUMBER[kind]) for (name, kind), part in zip(self.inputs, parts)}

    def session(self, nodes, outputs):
        inputs = [helper.make_tensor_value_info(name, kind, [None, FEATURES]) for name, kind in self.inputs]
        outputs = [helper.make_tensor_value_info(*output) for output in outputs]
        sets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
        model = helper.make_model(helper.make_graph(nodes, "chain", inputs, outputs, self.tensors), opset_imports=sets, ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        return model, onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def rows_of(rng, kind):
    """Rows that float32 holds."""
    size = rng.choice([3, 60, 4000, 2**23])
    if kind in WHOLE:
        rows = rng.integers(-size, size + 1, (ROWS, FEATURES)) + rng.choice([0, 0, 2**23]) * (size < 2**23)
        return rows.astype(np.float32)
    rows = np.where(rng.random((ROWS, FEATURES)) < 0.5, np.round(rng.normal(size=(ROWS, FEATURES)) * 4) / 4, rng.normal(size=(ROWS, FEATURES)))
    return (rows * rng.choice([0.01, 1.0, 50.0]) + rng.choice([0, 0, 0, 1000.0, 1.7e7])).astype(np.float32)


def classifier(rng, chain, values):
    """A model on what the chain gives; trees' thresholds are what rows give, or beside it."""
    classes = int(rng.choice([2, 3]))
    what = str(rng.choice(["trees", "trees", "trees", "linear", "svm"]))
    # Of columns that float32 itself hardly tells apart onnxruntime's labels are as good as any.
    if (np.abs(values.astype(np.float64)).max(0) > 1e4 * np.maximum(values.std(0), 1e-6)).any():
        what = "trees"
    if what != "trees" and chain.kind != TensorProto.FLOAT:
        chain.node("Cast", [chain.at], kind=TensorProto.FLOAT, to=TensorProto.FLOAT)
        values = values.astype(np.float32)
    n, names = chain.width, {"classlabels_int64s" if what == "trees" else "classlabels_ints": list(range(classes))}
    if what == "trees":
        nodes = collections.defaultdict(list)
        leaves = []
        # Trees on float64 may have thresholds of it.
        number = np.float64 if chain.kind == TensorProto.DOUBLE and rng.random() < 0.5 else np.float32
        for tree in range(5):
            for node in range(7):
                leaf, feature = node > 2, int(rng.integers(n))
                threshold = number(rng.choice(values[:, feature]))
                threshold = threshold if rng.random() < 0.7 else np.nextafter(threshold, number(rng.choice([-np.inf, np.inf])))
                mode = "LEAF" if leaf else str(rng.choice(["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ"]))
                given = (tree, node, 0 if leaf else feature, 0.0 if leaf or not np.isfinite(threshold) else float(threshold), mode,
                         0 if leaf else 2 * node + 1, 0 if leaf else 2 * node + 2, int(not leaf and rng.random() < 0.5))
                for key, value in zip(("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true"), given):
                    nodes[f"nodes_{key}"].append(value)
                if leaf:
                    leaves += [(tree, node, class_, float(np.float32(rng.uniform(0, 1)))) for class_ in range(classes)]
        weights = {f"class_{key}": [leaf[at] for leaf in leaves] for at, key in enumerate(("treeids", "nodeids", "ids", "weights"))}
        if number == np.float64:
            nodes["nodes_values_as_tensor"] = numpy_helper.from_array(np.array(nodes.pop("nodes_values")), "values")
            weights["class_weights_as_tensor"] = numpy_helper.from_array(np.array(weights.pop("class_weights")), "weights")
        return what, helper.make_node("TreeEnsembleClassifier", [chain.at], ["label", "scores"], name="trees", domain=ML, post_transform="NONE", **nodes, **weights, **names)
    spread = np.maximum(values.std(0), 1e-6).astype(np.float64)
    if what == "linear":
        weights = rng.normal(size=(classes, n)) / spread
        intercepts = -(weights @ values.mean(0).astype(np.float64)) + 0.1 * rng.normal(size=classes)
        return what, helper.make_node("LinearClassifier", [chain.at], ["label", "scores"], name="linear", domain=ML, post_transform="NONE",
                                      coefficients=weights.ravel().tolist(), intercepts=intercepts.tolist(), multi_class=1, **names)
    vectors = values[rng.choice(len(values), 4 * classes, False)]
    pairs = classes * (classes - 1) // 2
    return what, helper.make_node("SVMClassifier", [chain.at], ["label", "scores"], name="machine", domain=ML, kernel_type="RBF", post_transform="NONE",
                                  kernel_params=[float(0.5 / n / spread.mean() ** 2), 0.0, 3.0], support_vectors=vectors.ravel().tolist(), vectors_per_class=[4] * classes,
                                  coefficients=rng.normal(size=4 * classes * (classes - 1)).tolist(), rho=(0.1 * rng.normal(size=pairs)).tolist(), **names)


def begun(rng, name):
    """A chain from an input of its own, and rows for it."""
    kind = int(rng.choice(list(NUMBER)))
    rows, chain = rows_of(rng, kind), Chain(rng, kind, name)
    if kind == TensorProto.INT64 and rng.random() < 0.25:
        rows = rng.integers(-5, 6, rows.shape).astype(np.float32)
        chain.encode()
    for _ in range(int(rng.integers(0, 6))):
        chain.step()
    return chain, rows


def made(seed):
    """A model, its rows, onnxruntime's labels, what kind it is, and whether every label counts; None if numbers become too large."""
    rng = np.random.default_rng(seed)
    chain, rows = begun(rng, "x")
    if rng.random() < 0.3:
        other, more = begun(rng, "w")
        chain.join(other)
        rows = np.concatenate([rows, more], 1)
        for _ in range(int(rng.integers(0, 3))):
            chain.step()
    if not chain.nodes:
        chain.node("Identity", ["x"])
    _, session = chain.session(chain.nodes, [(chain.at, chain.kind, [None, chain.width])])
    values = session.run(None, chain.given(rows))[0]
    if not np.isfinite(values.astype(np.float64)).all():
        return None
    what, last = classifier(rng, chain, values)
    model, session = chain.session(chain.nodes + [last], [("label", TensorProto.INT64, [None]), ("scores", TensorProto.FLOAT, [None, None])])
    # No integer is missing, a Binarizer takes no missing value, and layers neither.
    real = all(kind not in WHOLE for _, kind in chain.inputs) and not any(node.op_type == "Binarizer" for node in chain.nodes)
    # What the client replaces may be missing in front of layers too.
    imputed = chain.nodes[0].op_type == "Imputer" and len(chain.inputs) == 1 and not any("x" in node.input for node in chain.nodes[1:])
    if real and (what == "trees" and chain.exact or imputed):
        rows = np.where(rng.random(rows.shape) < 0.05, np.float32(np.nan), rows)
    labels = session.run(["label"], chain.given(rows))[0].astype(np.int64)
    return model, rows, labels, what, chain.exact and what == "trees"


def answered(fusionc, folder, model, rows, public):
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    np.save(folder / "m.npy", rows)
    said = ""
    for command in (["compile", "m.onnx", "--calibrate", "m.npy", "-o", "m.bin", *(["--public-prefix"] if public else [])], ["eval", "m.bin", "--input", "m.npy"]):
        ended = subprocess.run([fusionc, *command], capture_output=True, text=True, cwd=folder)
        if ended.returncode:
            return None, f"{command[0]}: {ended.stderr.strip()}"
        said += ended.stderr + ended.stdout
    return np.array([int(row["label"]) for row in csv.DictReader(io.StringIO(ended.stdout))]), said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusionc", default="fusionc", help="the compiler")
    parser.add_argument("--seed", type=int, default=1, help="of the first model")
    parser.add_argument("--models", type=int, default=200, help="how many")
    parser.add_argument("--keep", type=Path, help="where models go whose labels differ, with rows and onnxruntime's labels")
    arguments = parser.parse_args()
    fusionc = Path(arguments.fusionc)
    fusionc = str(fusionc.resolve()) if fusionc.exists() else arguments.fusionc
    counts, refusals, wrong = collections.Counter(), collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seed, arguments.seed + arguments.models):
            try:
                found = made(seed)
            except Exception as error:  # onnxruntime has no kernel for the types, or the rows are too few.
                counts["onnxruntime does not run it"] += 1
                refusals[f"onnxruntime: {str(error)[:90]}"] += 1
                continue
            if found is None:
                counts["not finite"] += 1
                continue
            model, rows, labels, what, exact = found
            for public in (False, True):
                own, why = answered(fusionc, Path(folder), model, rows, public)
                kind = f"{what}{' exact' if exact else ''}{' public' if public else ''}"
                if own is None:
                    counts[f"{kind}: refused"] += 1
                    first, *rest = why.splitlines()
                    # Numbers aside: of a node its operator and why, of a plan that is not made the
                    # beginning.
                    reason = rest[0].split("(", 1)[-1] if rest and "not supported" in first else first.split("no plan", 1)[-1][:30]
                    refusals[re.sub(r"[0-9]+([.e+][0-9]*)*", "..", reason)[:110]] += 1
                    continue
                differ = int((own != labels).sum())
                bad = differ > (0 if exact else ROWS // 10 if what == "trees" else ROWS // 50)
                if bad and not exact and "warning   only" in why:
                    counts[f"{kind}: rough, and said so"] += 1
                    continue
                counts[f"{kind}: {'wrong' if bad else 'right'}"] += 1
                if bad:
                    chain = " ".join(node.op_type for node in model.graph.node)
                    print(f"seed {seed} {kind}: {differ} of {ROWS} labels differ: {chain}", flush=True)
                    wrong.append(seed)
                    if arguments.keep:
                        arguments.keep.mkdir(parents=True, exist_ok=True)
                        onnx.save(model, arguments.keep / f"{seed}.onnx")
                        np.save(arguments.keep / f"{seed}.x.npy", rows)
                        np.save(arguments.keep / f"{seed}.y.npy", labels)
    for name, count in sorted(counts.items()):
        print(f"{count:6} {name}")
    for why, count in refusals.most_common(25):
        print(f"{count:6} {why}")
    right = sum(count for name, count in counts.items() if name.endswith(": right"))
    if right < arguments.models / 4:
        print(f"only {right} answers were compared and right")
    sys.exit(bool(wrong) or right < arguments.models / 4)


if __name__ == "__main__":
    main()
