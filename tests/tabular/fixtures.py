"""Small tree ensembles of every layout, and what onnxruntime answers: the fixtures of compiler/tests/trees.rs.

For each NAME.onnx: NAME.x.npy (rows, many of them on a threshold, some with missing values and infinities) and NAME.y.npy (indices of
onnxruntime's labels). refused/NAME.onnx: models that have to be refused.
"""
import argparse
import functools
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

warnings.filterwarnings("ignore")
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
FEATURES = 4


def trees(rng, count, depth, modes, missing):
    """Nodes of random trees as lists, and the leaves' tree and node."""
    nodes = {key: [] for key in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")}
    leaves = []
    for tree in range(count):
        todo, rows = [(0, 0)], []
        following = 1
        while todo:
            node, level = todo.pop()
            if level == depth or (level > 0 and rng.random() < 0.2):
                rows.append((node, 0, 0.0, "LEAF", 0, 0, 0))
                leaves.append((tree, node))
                continue
            yes, no = following, following + 1
            following += 2
            value = float(np.float32(rng.integers(-4, 5) / 3))
            rows.append((node, int(rng.integers(FEATURES)), value, str(rng.choice(modes)), yes, no, int(missing and rng.random() < 0.5)))
            todo += [(no, level + 1), (yes, level + 1)]
        for node, feature, value, mode, yes, no, track in sorted(rows):
            for key, item in zip(nodes, (tree, node, feature, value, mode, yes, no, track)):
                nodes[key].append(item)
    return nodes, leaves


def classifier(seed, classes, ids, low, base=(), post="NONE", modes=("BRANCH_LEQ",), missing=False, names=None, count=6, depth=4):
    rng = np.random.default_rng(seed)
    nodes, leaves = trees(rng, count, depth, list(modes), missing)
    weights = [(tree, node, class_, float(np.float32(rng.uniform(low, 1) / count))) for tree, node in leaves for class_ in ids]
    given = {f"nodes_{key}": value for key, value in nodes.items()}
    given |= {f"class_{key}": [w[i] for w in weights] for i, key in enumerate(("treeids", "nodeids", "ids", "weights"))}
    labels = {"classlabels_strings": names} if names else {"classlabels_int64s": list(range(classes))}
    if base:
        given["base_values"] = list(base)
    node = helper.make_node("TreeEnsembleClassifier", ["x"], ["label", "scores"], name="trees", domain="ai.onnx.ml", post_transform=post, **given, **labels)
    kind = TensorProto.STRING if names else TensorProto.INT64
    return whole([node], [("label", kind, [None]), ("scores", TensorProto.FLOAT, [None, classes])], 3)


def newest(seed):
    """TreeEnsemble of operator set 5 with all modes, MEMBER too, and an ArgMax behind. onnxruntime has sets of small integers only."""
    rng = np.random.default_rng(seed)
    features, modes, splits, yes, no, yes_leaf, no_leaf, track, members, roots = ([] for _ in range(10))
    leaf = 0
    for tree in range(5):
        first = len(features)
        roots.append(first)
        # A chain of three nodes whose false branch goes on.
        for level in range(3):
            mode = int(rng.integers(0, 7))
            if mode == 6:
                members += [float(v) for v in rng.choice(np.arange(1, 6), 3, False)] + [float("nan")]
            features.append(int(rng.integers(FEATURES)))
            modes.append(mode)
            splits.append(0.0 if mode == 6 else float(rng.integers(-4, 5)))
            track.append(int(rng.integers(2)))
            yes.append(leaf)
            yes_leaf.append(1)
            leaf += 1
            last = level == 2
            no.append(leaf if last else first + level + 1)
            no_leaf.append(int(last))
            leaf += int(last)
    tensor = lambda name, values, kind: numpy_helper.from_array(np.array(values, kind), name)
    node = helper.make_node(
        "TreeEnsemble", ["x"], ["s"], name="trees", domain="ai.onnx.ml", n_targets=3, aggregate_function=1, post_transform=0,
        nodes_featureids=features, nodes_modes=tensor("m", modes, np.uint8), nodes_splits=tensor("t", splits, np.float32),
        nodes_truenodeids=yes, nodes_falsenodeids=no, nodes_trueleafs=yes_leaf, nodes_falseleafs=no_leaf,
        nodes_missing_value_tracks_true=track, membership_values=tensor("v", members, np.float32), tree_roots=roots,
        leaf_targetids=[int(rng.integers(3)) for _ in range(leaf)], leaf_weights=tensor("w", rng.uniform(-1, 1, leaf), np.float32))
    best = helper.make_node("ArgMax", ["s"], ["label"], name="best", axis=1, keepdims=0)
    return whole([node, best], [("label", TensorProto.INT64, [None])], 5)


def extreme(seed, aggregate, base=(), post="NONE", sparse=False):
    """The smallest or largest number of any tree for each of three targets, and an ArgMax behind. If sparse, leaves of all trees but the
    first lack targets, which then do not count."""
    rng = np.random.default_rng(seed)
    nodes, leaves = trees(rng, 6, 4, MODES, True)
    has = lambda tree: not sparse or tree == 0 or rng.random() < 0.4
    weights = [(tree, node, target, float(np.float32(rng.uniform(-1, 1)))) for tree, node in leaves for target in range(3) if has(tree)]
    given = {f"nodes_{key}": value for key, value in nodes.items()}
    given |= {f"target_{key}": [w[i] for w in weights] for i, key in enumerate(("treeids", "nodeids", "ids", "weights"))}
    if base:
        given["base_values"] = list(base)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["s"], name="trees", domain="ai.onnx.ml", n_targets=3, aggregate_function=aggregate, post_transform=post, **given)
    best = helper.make_node("ArgMax", ["s"], ["label"], name="best", axis=1, keepdims=0)
    return whole([node, best], [("label", TensorProto.INT64, [None])], 3)


def newest_extreme(seed, aggregate):
    """TreeEnsemble of operator set 5 with one target, and whether its number is below zero: what it says first is the label."""
    model = newest(seed)
    given = {a.name: a for a in model.graph.node[0].attribute}
    given["n_targets"].i, given["aggregate_function"].i = 1, aggregate
    ids = given["leaf_targetids"].ints
    ids[:] = [0] * len(ids)
    del model.graph.node[1:]
    model.graph.node.extend([
        helper.make_node("Add", ["s", "shift"], ["t"]), helper.make_node("Neg", ["t"], ["n"]), helper.make_node("Concat", ["n", "t"], ["both"], axis=1),
        helper.make_node("ArgMax", ["both"], ["label"], name="best", axis=1, keepdims=0)])
    shift = 0.45 if aggregate == 2 else -0.5
    model.graph.initializer.append(numpy_helper.from_array(np.array([shift], np.float32), "shift"))
    return model


def prepared(seed):
    """Imputer and Scaler in front of trees, whose thresholds are values that the scaler gives."""
    rng = np.random.default_rng(seed)
    model = classifier(seed, 3, (0, 1, 2), 0.0, modes=MODES[:4])
    offset, scale = rng.uniform(-1, 1, FEATURES).astype(np.float32), rng.uniform(-3, 3, FEATURES).astype(np.float32)
    node = next(n for n in model.graph.node if n.op_type.startswith("Tree"))
    given = {a.name: a for a in node.attribute}
    grid = (np.arange(-4, 5) / 3).astype(np.float32)
    for at, feature in enumerate(given["nodes_featureids"].ints):
        given["nodes_values"].floats[at] = float((rng.choice(grid) - offset[feature]) * scale[feature])
    node.input[0] = "scaled"
    before = [helper.make_node("Imputer", ["x"], ["whole"], name="impute", domain="ai.onnx.ml", imputed_value_floats=[0.5], replaced_value_float=float("nan")),
              helper.make_node("Scaler", ["whole"], ["scaled"], name="scale", domain="ai.onnx.ml", offset=offset.tolist(), scale=scale.tolist())]
    nodes = before + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


GRID = np.arange(-5, 6) / 3


def behind(seed, before, values, tensors=(), kind=TensorProto.FLOAT):
    """Trees behind the nodes `before`, from x to "scaled". Their thresholds are what these make of rows on the grid: `values` takes a
    column's index and its numbers in float64."""
    rng = np.random.default_rng(seed)
    model = classifier(seed, 3, (0, 1, 2), 0.0, modes=MODES[:4], count=12)
    node = next(n for n in model.graph.node if n.op_type.startswith("Tree"))
    given = {a.name: a for a in node.attribute}
    for at, feature in enumerate(given["nodes_featureids"].ints):
        whole = kind in (TensorProto.INT32, TensorProto.INT64)
        grid = np.round(GRID * 3).astype(np.int64) + 2**24 if whole else GRID.astype(np.float32).astype(np.float64)
        given["nodes_values"].floats[at] = float(np.float32(rng.choice(values(feature, grid))))
    node.input[0] = "scaled"
    nodes = before + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensors)
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


def wide(seed, narrow, scaler=False, cast=True):
    """A standard scaler in float64, as skl2onnx writes one for `cast64` or for an input of doubles, and trees that read float32 or float64."""
    rng = np.random.default_rng(seed)
    mean, scale = rng.uniform(-1, 1, FEATURES), rng.uniform(0.2, 3, FEATURES)
    nodes = [helper.make_node("Cast", ["x"], ["wide"], name="widen", to=TensorProto.DOUBLE)] if cast else []
    first, last = "wide" if cast else "x", "y" if narrow else "scaled"
    if scaler:
        mean, scale = mean.astype(np.float32).astype(np.float64), scale.astype(np.float32).astype(np.float64)
        nodes += [helper.make_node("Scaler", [first], [last], name="scale", domain="ai.onnx.ml", offset=mean.tolist(), scale=scale.tolist())]
        values = lambda feature, grid: (grid - mean[feature]) * scale[feature]
    else:
        nodes += [helper.make_node("Sub", [first, "mean"], ["centred"], name="centre"), helper.make_node("Div", ["centred", "deviation"], [last], name="divide")]
        values = lambda feature, grid: (grid - mean[feature]) / scale[feature]
    if narrow:
        nodes += [helper.make_node("Cast", ["y"], ["scaled"], name="narrow", to=TensorProto.FLOAT)]
    tensors = [] if scaler else [numpy_helper.from_array(mean, "mean"), numpy_helper.from_array(scale, "deviation")]
    return behind(seed, nodes, values, tensors, TensorProto.FLOAT if cast else TensorProto.DOUBLE)


def whole_numbers(seed):
    """Arithmetic on integers beyond what float32 holds, then a cast."""
    shift = np.array([1, 3, -1, 5], np.int64)
    nodes = [helper.make_node("Add", ["x", "shift"], ["once"], name="shift"), helper.make_node("Add", ["once", "shift"], ["shifted"], name="again"),
             helper.make_node("Cast", ["shifted"], ["scaled"], name="cast", to=TensorProto.FLOAT)]
    return behind(seed, nodes, lambda feature, grid: grid + 2 * shift[feature], [numpy_helper.from_array(shift, "shift")], TensorProto.INT64)


def whole_steps(seed, kind, steps, ends="scaled", behind_them=()):
    """A chain of (operator, constant) on integers, which trees read as they are, or behind other nodes from `ends`. Thresholds are what
    the chain gives, as float32."""
    nodes, tensors, at = [], [], "x"
    for place, (op, constant) in enumerate(steps):
        after = ends if place + 1 == len(steps) else f"step{place}"
        constants = [constant] if np.ndim(constant) == 0 and op != "Clip" else list(constant) if op == "Clip" else [np.array(constant)]
        names = [f"c{place}_{i}" for i in range(len(constants))] if op != "Neg" else []
        tensors += [numpy_helper.from_array(np.array(c, helper.tensor_dtype_to_np_dtype(kind)), name) for c, name in zip(constants, names)]
        nodes.append(helper.make_node(op.strip("-"), [*names, at] if op.startswith("-") else [at, *names], [after], name=f"{op}{place}"))
        at = after
    exact = {"Add": lambda x, c: x + c, "Sub": lambda x, c: x - c, "-Sub": lambda x, c: c - x, "Mul": lambda x, c: x * c, "Neg": lambda x, c: -x,
             "Max": lambda x, c: max(x, c), "Min": lambda x, c: min(x, c), "Clip": lambda x, c: min(max(x, c[0]), c[1])}

    def values(feature, grid):
        chain = lambda x: functools.reduce(lambda x, step: exact[step[0]](x, step[1]), steps, x)
        return [np.float32(chain(int(x))) for x in grid]
    return behind(seed, nodes + list(behind_them), values, tensors, kind)


def whole_scaler(seed, kind):
    """A Scaler on integers, which become float32 first."""
    rng = np.random.default_rng(seed)
    offset, scale = (2.0**24 + rng.integers(-9, 9, FEATURES)).astype(np.float32), rng.uniform(-3, 3, FEATURES).astype(np.float32)
    node = helper.make_node("Scaler", ["x"], ["scaled"], name="scale", domain="ai.onnx.ml", offset=offset.tolist(), scale=scale.tolist())
    return behind(seed, [node], lambda feature, grid: (grid.astype(np.float32) - offset[feature]) * scale[feature], kind=kind)


def limits(seed, kind):
    """Neg, Clip, Max and Min of floats, which leave a missing value missing."""
    number = helper.tensor_dtype_to_np_dtype(kind)
    low, high, most, least = np.array(-1.4, number), np.array(1.3, number), np.array([0.9, 2, 1.1, 0.1], number), np.array(-0.7, number)
    nodes = [helper.make_node("Neg", ["x"], ["minus"], name="minus"), helper.make_node("Clip", ["minus", "low", "high"], ["clipped"], name="clip"),
             helper.make_node("Min", ["most", "clipped"], ["limited"], name="limit"), helper.make_node("Max", ["limited", "least"], ["scaled"], name="keep")]
    values = lambda feature, grid: np.maximum(np.minimum(np.clip((-grid).astype(number), low, high), most[feature]), least)
    tensors = [numpy_helper.from_array(value, name) for name, value in (("low", low), ("high", high), ("most", most), ("least", least))]
    return behind(seed, nodes, values, tensors, kind)


def vanishing(seed):
    """A factor that float32 does not tell from one, with an axis more than the data."""
    nodes = [helper.make_node("Mul", ["x", "factor"], ["larger"], name="enlarge"), helper.make_node("Reshape", ["larger", "shape"], ["scaled"], name="flat")]
    tensors = [numpy_helper.from_array(np.full((1, 1, FEATURES), 1 + 2.0**-40), "factor"), numpy_helper.from_array(np.array([-1, FEATURES]), "shape")]
    return behind(seed, nodes, lambda feature, grid: grid, tensors, TensorProto.DOUBLE)


def far(seed):
    """A Scaler whose offsets are large beside what columns vary by: seconds since an epoch."""
    rng = np.random.default_rng(seed)
    offset = rng.uniform(1e6, 1e7, FEATURES).astype(np.float32)
    scale = rng.uniform(0.1, 3, FEATURES).astype(np.float32)
    node = helper.make_node("Scaler", ["x"], ["scaled"], name="scale", domain="ai.onnx.ml", offset=offset.tolist(), scale=scale.tolist())
    near = lambda feature, grid: ((offset[feature] + (3 * grid).astype(np.float32)) - offset[feature]) * scale[feature]
    return behind(seed, [node], near), offset


def logistic(seed, post):
    """One target, a post_transform that onnxruntime does not apply to it, and whether the number is below a shift: the label."""
    rng = np.random.default_rng(seed)
    nodes, leaves = trees(rng, 6, 4, MODES, True)
    given = {f"nodes_{key}": value for key, value in nodes.items()}
    given |= {"target_treeids": [tree for tree, _ in leaves], "target_nodeids": [node for _, node in leaves], "target_ids": [0] * len(leaves),
              "target_weights": [float(np.float32(rng.uniform(-1, 1))) for _ in leaves]}
    chain = [helper.make_node("TreeEnsembleRegressor", ["x"], ["s"], name="trees", domain="ai.onnx.ml", n_targets=1, post_transform=post, **given),
             helper.make_node("Add", ["s", "shift"], ["t"]), helper.make_node("Neg", ["t"], ["n"]), helper.make_node("Concat", ["n", "t"], ["both"], axis=1),
             helper.make_node("ArgMax", ["both"], ["label"], name="best", axis=1, keepdims=0)]
    model = whole(chain, [("label", TensorProto.INT64, [None])], 3)
    model.graph.initializer.append(numpy_helper.from_array(np.array([-0.3], np.float32), "shift"))
    return model


def twin(seed):
    """One shape of trees with other features, thresholds, modes, missing values and leaves for every seed; names and number formats are equal."""
    model = classifier(20, 3, (0, 1, 2), -1.0, missing=True)
    rng = np.random.default_rng(seed)
    given = {a.name: a for a in model.graph.node[0].attribute}
    for at in range(len(given["nodes_modes"].strings)):
        if given["nodes_modes"].strings[at] != b"LEAF":
            given["nodes_modes"].strings[at] = str(rng.choice(MODES[:4])).encode()
            given["nodes_featureids"].ints[at] = int(rng.integers(FEATURES))
            given["nodes_values"].floats[at] = float(np.float32(rng.integers(-4, 5) / 3))
            given["nodes_missing_value_tracks_true"].ints[at] = int(rng.integers(2))
    weights = given["class_weights"].floats
    weights[:] = rng.uniform(-0.15, 0.15, len(weights)).astype(np.float32).tolist()
    # The largest possible sum is in every one, so that sums have one format.
    of_first = [at for at, class_ in enumerate(given["class_ids"].ints) if class_ == 0]
    for tree in set(given["class_treeids"].ints):
        weights[next(at for at in of_first if given["class_treeids"].ints[at] == tree)] = 0.16
    return model


def whole(nodes, outputs, version):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])]
    outputs = [helper.make_tensor_value_info(*output) for output in outputs]
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(helper.make_graph(nodes, "small", inputs, outputs), opset_imports=sets, ir_version=8)


INT32, INT64 = TensorProto.INT32, TensorProto.INT64


def casts(name, *kinds):
    """From `name` to "scaled"."""
    names = [name] + [f"cast{i}" for i in range(len(kinds) - 1)] + ["scaled"]
    return [helper.make_node("Cast", [x], [y], name=f"to_{y}", to=kind) for kind, x, y in zip(kinds, names, names[1:])]


def codes(seed):
    """What a client may encode, as int32, times what int32 does not hold of the larger codes."""
    encode = helper.make_node("LabelEncoder", ["x"], ["code"], name="encode", domain="ai.onnx.ml", keys_int64s=list(range(10)),
                              values_int64s=[100 * code for code in range(10)], default_int64=0)
    nodes = [encode, *[helper.make_node("Cast", ["code"], ["short"], name="shorten", to=INT32)],
             helper.make_node("Mul", ["short", "factor"], ["y"], name="enlarge"), *casts("y", TensorProto.FLOAT)]
    return behind(seed, nodes, lambda feature, grid: grid, [numpy_helper.from_array(np.array(10_000_000, np.int32), "factor")], INT64)


def product(seed):
    """A product of int32 with a matrix."""
    nodes = [helper.make_node("MatMul", ["x", "matrix"], ["y"], name="multiply"), *casts("y", TensorProto.FLOAT)]
    matrix = numpy_helper.from_array(10_000_000 * np.eye(FEATURES, dtype=np.int32), "matrix")
    return behind(seed, nodes, lambda feature, grid: grid, [matrix], INT32)


# Chains of integers that wrap around on some rows. They are refused by the name of the node that
# does.
REFUSED = {
    "mul": lambda: whole_steps(48, INT32, [("Mul", 128)]),
    "million": lambda: whole_steps(49, INT32, [("Mul", 10_000_000)], "y", casts("y", TensorProto.FLOAT)),
    "second": lambda: whole_steps(50, INT64, [("Mul", 2**24 - 1), ("Mul", 2**24 - 1), ("Mul", 2**24 - 1)]),
    "sub": lambda: whole_steps(51, INT32, [("Mul", 100), ("-Sub", -(2**30))]),
    "cast": lambda: whole_steps(52, INT64, [("Mul", 1000)], "y", casts("y", INT32, TensorProto.FLOAT)),
    "codes": lambda: codes(54),
    "product": lambda: product(55),
}

FIXTURES = {
    # One score for two classes: under the first or the second class's name, probabilities or not,
    # with base values.
    "first": lambda: classifier(1, 2, (0,), 0.0),
    "second": lambda: classifier(2, 2, (1,), 0.0),
    "first_logit": lambda: classifier(3, 2, (0,), -1.0, post="LOGISTIC"),
    "second_logit": lambda: classifier(4, 2, (1,), -1.0, post="LOGISTIC"),
    "first_base": lambda: classifier(5, 2, (0,), -1.0, (0.2,), "LOGISTIC"),
    "first_bases": lambda: classifier(6, 2, (0,), -1.0, (0.2, -0.1)),
    "second_base": lambda: classifier(7, 2, (1,), -1.0, (0.2,)),
    "both": lambda: classifier(8, 2, (0, 1), -1.0),
    "both_bases": lambda: classifier(9, 2, (0, 1), -1.0, (0.3, -0.1)),
    # More classes, one of them without any weight.
    "three": lambda: classifier(10, 3, (0, 1, 2), 0.0),
    "three_softmax": lambda: classifier(11, 3, (0, 1, 2), -1.0, (0.1, 0.0, -0.1), "SOFTMAX"),
    "three_absent": lambda: classifier(12, 3, (0, 2), -1.0),
    "names": lambda: classifier(13, 3, (0, 1, 2), 0.0, names=["no", "maybe", "yes"]),
    # Every mode, missing values on either side.
    "modes": lambda: classifier(14, 3, (0, 1, 2), -1.0, modes=MODES),
    "missing": lambda: classifier(15, 3, (0, 1, 2), -1.0, modes=MODES, missing=True),
    "missing_two": lambda: classifier(16, 2, (0,), -1.0, missing=True, count=20, depth=6),
    "newest": lambda: newest(17),
    "prepared": lambda: prepared(18),
    "twin_a": lambda: twin(21),
    "twin_b": lambda: twin(22),
    # The smallest or the largest number that a tree gives.
    "minimum": lambda: extreme(23, "MIN"),
    "minimum_base": lambda: extreme(24, "MIN", (0.2, 0.0, -0.3)),
    "maximum": lambda: extreme(25, "MAX", post="LOGISTIC"),
    "maximum_sparse": lambda: extreme(26, "MAX", (0.1, 0.0, -0.1), sparse=True),
    "newest_minimum": lambda: newest_extreme(27, 2),
    "newest_maximum": lambda: newest_extreme(28, 3),
    # Steps in float64 and in integers.
    "wide": lambda: wide(29, True),
    "wide_trees": lambda: wide(30, False),
    "wide_scaler": lambda: wide(31, False, scaler=True),
    "wide_input": lambda: wide(32, True, cast=False),
    "wide_input_trees": lambda: wide(33, False, cast=False),
    "whole": lambda: whole_numbers(34),
    "far": lambda: far(35)[0],
    # A single target is what it is.
    "one_logistic": lambda: logistic(36, "LOGISTIC"),
    "one_softmax": lambda: logistic(37, "SOFTMAX"),
    "one_softmax_zero": lambda: logistic(38, "SOFTMAX_ZERO"),
    # Integers that trees read without a cast, up to the last that fit, beyond what float64 holds,
    # and by way of a double.
    "whole_trees": lambda: whole_steps(39, INT64, [("Add", 3), ("-Sub", 2**25)]),
    "whole_short": lambda: whole_steps(40, INT32, [("Mul", 127), ("Sub", 5)]),
    "whole_product": lambda: whole_steps(41, INT64, [("Mul", 2**24 - 1), ("Add", 1), ("Mul", 8191)]),
    "whole_double": lambda: whole_steps(42, INT64, [("Mul", 2**24 - 1), ("Add", 1), ("Mul", 8191)], "y", casts("y", TensorProto.DOUBLE, TensorProto.FLOAT)),
    "whole_limits": lambda: whole_steps(43, INT32, [("Neg", 0), ("Clip", (-(2**24) - 3, 2)), ("Max", -(2**24) - 1), ("Min", 5), ("Mul", 100)]),
    "whole_short_scaler": lambda: whole_scaler(44, INT32),
    "whole_scaler": lambda: whole_scaler(45, INT64),
    "limits": lambda: limits(46, TensorProto.FLOAT),
    "limits_wide": lambda: limits(47, TensorProto.DOUBLE),
    "wide_vanishing": lambda: vanishing(53),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write them: tests/fixtures/tabular")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, make) in enumerate(FIXTURES.items()):
        model, rng = make(), np.random.default_rng(100 + seed)
        x = (rng.integers(-5, 6, (128, FEATURES)) / 3).astype(np.float32)
        x += rng.choice([0, 0, 1e-7, -1e-7, 0.1], x.shape).astype(np.float32)
        x[rng.random(x.shape) < 0.08] = np.nan
        x[rng.random(x.shape) < 0.02] = np.inf
        x[rng.random(x.shape) < 0.02] = -np.inf
        if name.startswith("newest"):
            x = np.where(np.isnan(x), x, np.clip(np.nan_to_num(np.round(3 * x)), -5, 5)).astype(np.float32)
        if name == "prepared":
            x[np.isinf(x)] = 0
        if name.startswith("wide"):
            x = rng.choice(GRID, x.shape).astype(np.float32)
            x = np.where(rng.random(x.shape) < 0.3, np.nextafter(x, np.float32(rng.choice([-9, 9]))), x)
        if name.startswith("whole"):
            x = (rng.integers(-5, 6, x.shape) + 2**24).astype(np.float32)
        if name == "far":
            x = (far(35)[1] + rng.integers(-5, 6, x.shape)).astype(np.float32)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        kind = {"tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(int32)": np.int32}.get(session.get_inputs()[0].type, np.float32)
        labels = session.run(["label"], {"x": x.astype(kind)})[0]
        names = ["no", "maybe", "yes"]
        index = np.array([names.index(label) if name == "names" else int(label) for label in labels], np.int64)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        np.save(folder / f"{name}.x.npy", x)
        np.save(folder / f"{name}.y.npy", index)
        print(name, np.bincount(index))
    (folder / "refused").mkdir(exist_ok=True)
    for name, make in REFUSED.items():
        (folder / "refused" / f"{name}.onnx").write_bytes(make().SerializeToString())


if __name__ == "__main__":
    main()
