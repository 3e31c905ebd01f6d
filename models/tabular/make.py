"""Writes small classifiers of tables in raw units, from 1e-3 to 1e5, into this folder: `NAME.onnx`,
`NAME_calibrate.npy` (256 training rows at most), `NAME.npy` (all rows) and `NAME_labels.npy` (what
onnxruntime answers on them). Needs numpy, onnx, onnxruntime and scikit-learn.

`wine` and `cancer` are data sets that scikit-learn carries. `census` has made-up rows with the
columns of a census: ages, a sampling weight about 1e5, capital gains that are mostly zero, a year,
a rate about 1e-3, one-hot columns of which some are rare. `wine` standardises its features by nodes
of its own, `cancer` and `census` have that folded into the first layer.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.neural_network import MLPClassifier

HERE = Path(__file__).parent


def census(rows=1200):
    rng = np.random.default_rng(3)
    age = rng.integers(17, 90, rows)
    weight = rng.lognormal(12, 0.55, rows).round()
    education = rng.integers(1, 17, rows)
    gain = np.where(rng.random(rows) < 0.08, rng.lognormal(8.6, 1.2, rows).clip(0, 99999), 0).round()
    hours = rng.normal(40, 12, rows).clip(1, 99).round()
    year = rng.integers(1990, 2021, rows)
    rate = rng.normal(0, 1e-3, rows)
    work = np.eye(8)[rng.choice(8, rows, p=[0.7, 0.1, 0.06, 0.06, 0.04, 0.02, 0.015, 0.005])]
    x = np.c_[age, weight, education, gain, hours, year, rate, work]
    score = 0.03 * (age - 40) + 0.35 * (education - 10) + 0.0003 * gain + 0.03 * (hours - 40)
    score += 0.06 * (year - 2005) + 700 * rate + work @ rng.normal(0, 1, 8)
    return x, (score + rng.logistic(0, 1, rows) > np.quantile(score, 0.75)).astype(int)


def write(name, x, y, scaler):
    x = x.astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    known = len(x) // 2
    mean, deviation = x[:known].mean(0, dtype=np.float64), x[:known].std(0, dtype=np.float64)
    deviation[deviation == 0] = 1
    net = MLPClassifier((24, 12), max_iter=500, random_state=0, alpha=1e-2)
    net.fit((x[:known] - mean) / deviation, y[:known])
    weights, biases = list(net.coefs_), list(net.intercepts_)
    if weights[-1].shape[1] == 1:
        weights[-1] = np.c_[-weights[-1] / 2, weights[-1] / 2]
        biases[-1] = np.r_[-biases[-1] / 2, biases[-1] / 2]
    tensors, nodes, at = {}, [], "x"
    if scaler:
        tensors |= {"mean": mean, "deviation": deviation}
        nodes = [helper.make_node("Sub", ["x", "mean"], ["centred"], name="centre"),
                 helper.make_node("Div", ["centred", "deviation"], ["scaled"], name="scale")]
        at = "scaled"
    else:
        weights[0] = weights[0] / deviation[:, None]
        biases[0] = biases[0] - mean @ weights[0]
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        last = i + 1 == len(weights)
        out = "y" if last else f"h{i}"
        nodes.append(helper.make_node("Gemm", [at, f"w{i}", f"b{i}"], [out], name=f"layer{i}"))
        tensors |= {f"w{i}": weight, f"b{i}": bias}
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"], name=f"relu{i}"))
            at = f"r{i}"
    value = lambda name, n: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n])
    initializers = [numpy_helper.from_array(np.asarray(t, np.float32), k) for k, t in tensors.items()]
    classes = weights[-1].shape[1]
    graph = helper.make_graph(nodes, name, [value("x", x.shape[1])], [value("y", classes)], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, HERE / f"{name}.onnx")
    scores = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    labels = scores.argmax(1)
    np.save(HERE / f"{name}_calibrate.npy", x[: min(known, 256)])
    np.save(HERE / f"{name}.npy", x)
    np.save(HERE / f"{name}_labels.npy", labels)
    print(f"{name}: {len(x)} rows of {x.shape[1]}, accuracy on unseen rows {(labels == y)[known:].mean():.3f}")


if __name__ == "__main__":
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=form).parse_args()
    wine, cancer = load_wine(), load_breast_cancer()
    write("wine", wine.data, wine.target, scaler=True)
    write("cancer", cancer.data, cancer.target, scaler=False)
    write("census", *census(), scaler=False)
