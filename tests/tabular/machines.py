"""Small default exports of scikit-learn's models of tables, and what onnxruntime answers: the fixtures of compiler/tests/exports.rs.

    pip install scikit-learn==1.6.1 skl2onnx==1.20.0 onnxruntime==1.32.0 pandas

For each NAME.onnx: NAME.x.npy or, with text, NAME.x.csv (rows) and NAME.y.npy (indices of onnxruntime's labels).
"""
import argparse
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pandas
from onnx import helper, numpy_helper
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from skl2onnx import to_onnx

from export import given

warnings.filterwarnings("ignore")
ROWS, TRAIN = 200, 120


def table(classes=2, missing=0.0):
    x, y = datasets.make_classification(
        n_samples=ROWS + TRAIN, n_features=5, n_informative=4, n_redundant=0, n_classes=classes, n_clusters_per_class=1, flip_y=0.02,
        random_state=classes)
    x = x.astype(np.float32)
    if missing:
        x[np.random.default_rng(1).random(x.shape) < missing] = np.nan
    return x, y


def codes():
    """Two columns of whole numbers that stand for categories; of some rows in no row that is learned from."""
    x, y = table()
    rng = np.random.default_rng(2)
    x[:, 3] = rng.integers(0, 4, len(x))
    x[:, 4] = rng.integers(0, 3, len(x)) + (y == 1)
    x[:ROWS:40, 3] = 9
    return x, y


def frame():
    x, y = table()
    rng = np.random.default_rng(3)
    columns = {"age": x[:, 0], "body mass": x[:, 1]}
    columns["city"] = np.array(["Oslo", "San José", "a, b"])[rng.integers(0, 3, len(x))]
    columns["grade"] = np.array(["low", "high"])[(rng.random(len(x)) < 0.3 + 0.4 * y).astype(int)]
    columns["rooms"] = rng.integers(1, 6, len(x))
    columns["city"][:ROWS:25] = "Atlantis"
    return pandas.DataFrame(columns), y


def named(encoder, columns):
    return ColumnTransformer([("n", StandardScaler(), ["age", "body mass"]), ("c", encoder, columns)])


def numbered():
    return ColumnTransformer([("n", StandardScaler(), [0, 1, 2]), ("c", OneHotEncoder(handle_unknown="ignore"), [3, 4])])


forest = lambda: RandomForestClassifier(3, max_depth=3, random_state=0)
texts = lambda: (table()[0], np.array(["well", "ill"])[table()[1]])
MODELS = {
    "svc_linear": (lambda: SVC(kernel="linear"), table),
    "svc_rbf": (SVC, texts),
    "svc_rbf3": (SVC, lambda: table(3)),
    "svc_poly": (lambda: SVC(kernel="poly"), table),
    "svc_poly2": (lambda: SVC(kernel="poly", degree=2, coef0=1), lambda: table(3)),
    "svc_sigmoid": (lambda: SVC(kernel="sigmoid"), table),
    "svc_probability": (lambda: SVC(probability=True, random_state=0), table),
    "svc_probability3": (lambda: SVC(probability=True, random_state=0), lambda: table(3)),
    "svc_units": (SVC, lambda: (table(3)[0] * np.float32(2**20), table(3)[1])),
    "calibrated_svc": (lambda: CalibratedClassifierCV(SVC(), ensemble=False), table),
    "calibrated": (lambda: CalibratedClassifierCV(LinearSVC(), cv=3), table),
    "ada_boost": (lambda: AdaBoostClassifier(n_estimators=4, random_state=0), table),
    "ada_boost3": (lambda: AdaBoostClassifier(n_estimators=4, random_state=0), lambda: table(3)),
    "ada_boost_linear": (lambda: AdaBoostClassifier(LogisticRegression(), n_estimators=3, random_state=0), table),
    "pca_forest": (lambda: make_pipeline(StandardScaler(), PCA(2), forest()), table),
    "one_hot": (lambda: make_pipeline(numbered(), LogisticRegression()), codes),
    "one_hot_forest": (lambda: make_pipeline(numbered(), forest()), codes),
    "one_hot_text": (lambda: make_pipeline(named(OneHotEncoder(handle_unknown="ignore"), ["city", "grade", "rooms"]), LogisticRegression()), frame),
    "ordinal_text": (lambda: make_pipeline(named(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city", "grade"]), forest()), frame),
    "imputer": (lambda: make_pipeline(SimpleImputer(), LogisticRegression()), lambda: table(missing=0.1)),
}


def encoders():
    """Encoders that skl2onnx does not write: a mapper in front of a one-hot encoder, a label encoder to numbers, integers as they are."""
    rng = np.random.default_rng(4)
    cities, grades = ["Oslo", "San José", "a, b"], ["low", "high"]
    node = lambda op, inputs, output, **given: helper.make_node(op, inputs, [output], domain="ai.onnx.ml", **given)
    nodes = [
        node("CategoryMapper", ["city"], "number", cats_strings=cities, cats_int64s=[7, 3, 5]),
        node("OneHotEncoder", ["number"], "flags", cats_int64s=[3, 5, 7, -1], zeros=0),
        helper.make_node("Reshape", ["flags", "flat"], ["of_city"]),
        node("LabelEncoder", ["grade"], "of_grade", keys_strings=grades, values_floats=[-0.75, 1.5], default_float=0.25),
        helper.make_node("Cast", ["rooms"], ["of_rooms"], to=1),
        helper.make_node("Concat", ["age", "of_city", "of_grade", "of_rooms"], ["x"], axis=1),
        helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", classlabels_ints=[0, 1, 2], post_transform="SOFTMAX",
                         coefficients=rng.normal(size=21).astype(np.float32).tolist(), intercepts=[2.0, -1.0, 0.5]),
    ]
    input = lambda name, kind: helper.make_tensor_value_info(name, kind, [None, 1])
    inputs = [input("age", 1), input("city", 8), input("grade", 8), input("rooms", 7)]
    outputs = [helper.make_tensor_value_info("label", 7, [None]), helper.make_tensor_value_info("scores", 1, [None, 3])]
    graph = helper.make_graph(nodes, "encoders", inputs, outputs, [numpy_helper.from_array(np.array([-1, 4]), "flat")])
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 2)]
    rows = pandas.DataFrame({
        "age": (3 * rng.normal(size=ROWS)).astype(np.float32), "city": rng.choice(cities + ["Atlantis"], ROWS),
        "grade": rng.choice(grades + [""], ROWS), "rooms": rng.integers(-3, 4, ROWS)})
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString(), rows


def float_keys():
    """Label encoders of numbers, a missing one among them, to numbers and texts, and of texts by tensors; a scaler and a binarizer beside them."""
    rng = np.random.default_rng(5)
    node = lambda op, inputs, output, **given: helper.make_node(op, inputs, [output], domain="ai.onnx.ml", **given)
    tensor = lambda values, kind: numpy_helper.from_array(np.array(values, kind))
    doses = [0.5, float("nan"), -0.0, 2.25, 0.5]
    nodes = [
        node("LabelEncoder", ["dose"], "worth", keys_floats=doses, values_floats=[-0.75, 1.5, 0.25, 2.0, 9.0], default_float=-1.25),
        node("LabelEncoder", ["dose"], "name", keys_tensor=tensor(doses[:4], np.float32), values_strings=["half", "none", "zero", "more"]),
        node("OneHotEncoder", ["name"], "flags", cats_strings=["half", "none", "zero", "more", "_Unused"], zeros=0),
        helper.make_node("Reshape", ["flags", "flat"], ["of_dose"]),
        node("LabelEncoder", ["grade"], "number", keys_tensor=tensor(["low", "high"], object), values_tensor=tensor([4, -3], np.int64),
             default_tensor=tensor([1], np.int64)),
        helper.make_node("Cast", ["number"], ["of_grade"], to=1),
        node("Scaler", ["age"], "of_age", offset=[41.5], scale=[0.1]),
        node("Binarizer", ["age"], "old", threshold=60.0),
        node("FeatureVectorizer", ["of_age", "old", "worth", "of_dose", "of_grade"], "x", inputdimensions=[1, 1, 1, 5, 1]),
        helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", classlabels_ints=[0, 1, 2], post_transform="SOFTMAX",
                         coefficients=rng.normal(size=27).astype(np.float32).tolist(), intercepts=[0.5, -1.0, 0.5]),
    ]
    input = lambda name, kind: helper.make_tensor_value_info(name, kind, [None, 1])
    inputs = [input("age", 1), input("dose", 1), input("grade", 8)]
    outputs = [helper.make_tensor_value_info("label", 7, [None]), helper.make_tensor_value_info("scores", 1, [None, 3])]
    graph = helper.make_graph(nodes, "float_keys", inputs, outputs, [numpy_helper.from_array(np.array([-1, 5]), "flat")])
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 4)]
    rows = pandas.DataFrame({
        "age": rng.uniform(18, 90, ROWS).astype(np.float32), "dose": rng.choice(np.array([0.5, np.nan, 0.0, 2.25, 7.0], np.float32), ROWS),
        "grade": rng.choice(["low", "high", "other"], ROWS)})
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString(), rows


def rows_of_coefficients(classes, low, **more):
    """A support vector machine that has coefficients for each class and no vectors."""
    rng = np.random.default_rng(6)
    node = helper.make_node("SVMClassifier", ["x"], ["label", "scores"], name="machine", domain="ai.onnx.ml", classlabels_ints=list(range(classes)),
                            coefficients=rng.uniform(low, 1, 4 * classes).astype(np.float32).tolist(), rho=[0.125], kernel_type="LINEAR", kernel_params=[0.0, 0.0, 3.0], **more)
    outputs = [helper.make_tensor_value_info("label", 7, [None]), helper.make_tensor_value_info("scores", 1, [None, classes])]
    graph = helper.make_graph([node], "machine", [helper.make_tensor_value_info("x", 1, [None, 4])], outputs)
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString(), rng.normal(size=(ROWS, 4)).astype(np.float32)


def far(turned=False):
    """Columns far from zero beside what they vary by, seconds since an epoch, and rows that lie near the border of two classes. Turned, the
    columns are subtracted from the offset."""
    rng = np.random.default_rng(7)
    rows = np.stack([1.7e9 + rng.uniform(-2e4, 2e4, 8000), 5e6 + rng.normal(0, 300, 8000), rng.normal(0, 1, 8000)], 1).astype(np.float32)
    offset = np.array([1.7e9, 4999996.5, -0.0162], np.float32)
    scale = np.array([8.711197e-05, 0.003323479, 0.9992125], np.float32)
    weights = np.array([3.0393672, 3.2593565, -6.0137973], np.float32)
    sign = -1 if turned else 1
    margins = np.abs(sign * ((rows - offset).astype(np.float64) * scale) @ weights.astype(np.float64) + 0.25)
    rows = rows[np.argsort(margins)[np.sort(margins) > 1e-4][:ROWS]]
    node = lambda op, inputs, outputs, **more: helper.make_node(op, inputs, outputs, domain="ai.onnx.ml", **more)
    if turned:
        scaling = [helper.make_node("Sub", ["offset", "x"], ["centred"], name="sub"), helper.make_node("Mul", ["centred", "scale"], ["scaled"], name="mul")]
    else:
        scaling = [node("Scaler", ["x"], ["scaled"], offset=offset.tolist(), scale=scale.tolist())]
    nodes = [
        *scaling,
        node("LinearClassifier", ["scaled"], ["label", "scores"], classlabels_ints=[0, 1], post_transform="LOGISTIC",
             coefficients=[*(-weights).tolist(), *weights.tolist()], intercepts=[-0.25, 0.25]),
    ]
    outputs = [helper.make_tensor_value_info("label", 7, [None]), helper.make_tensor_value_info("scores", 1, [None, 2])]
    tensors = [numpy_helper.from_array(value, name) for name, value in (("offset", offset), ("scale", scale)) if turned]
    graph = helper.make_graph(nodes, "far", [helper.make_tensor_value_info("x", 1, [None, 3])], outputs, tensors)
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString(), rng.permutation(rows)


# What no exporter here writes.
WRITTEN = {
    "encoders": encoders,
    "float_keys": float_keys,
    "far": far,
    "far_turned": lambda: far(turned=True),
    "svc_coefficients": lambda: rows_of_coefficients(2, -1.0),
    "svc_coefficients_positive": lambda: rows_of_coefficients(2, 0.0),
    "svc_coefficients_probability": lambda: rows_of_coefficients(2, -1.0, prob_a=[-1.0], prob_b=[0.0]),
    "svc_coefficients3": lambda: rows_of_coefficients(3, -1.0),
}


def written(folder, name, x):
    if isinstance(x, np.ndarray):
        np.save(folder / f"{name}.x.npy", x)
    else:
        x.to_csv(folder / f"{name}.x.csv", index=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write them")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, (make, data) in MODELS.items():
        x, y = data()
        model = make().fit(x[-TRAIN:], y[-TRAIN:])
        onnx = to_onnx(model, x[:1]).SerializeToString()
        (folder / f"{name}.onnx").write_bytes(onnx)
        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        labels = session.run(None, given(session, x[:ROWS]))[0]
        index = {str(label): i for i, label in enumerate(model.classes_)}
        np.save(folder / f"{name}.y.npy", np.array([index[str(label)] for label in np.ravel(labels)], np.int8).astype(np.int64))
        written(folder, name, x[:ROWS])
        print(f"{name}: {len(onnx)} bytes, labels {np.bincount([index[str(label)] for label in np.ravel(labels)])}")
    for name, make in WRITTEN.items():
        onnx, rows = make()
        (folder / f"{name}.onnx").write_bytes(onnx)
        written(folder, name, rows)
        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        labels = session.run(None, given(session, rows))[0]
        np.save(folder / f"{name}.y.npy", labels.astype(np.int64))
        print(f"{name}: {len(onnx)} bytes, labels {np.bincount(labels)}")


if __name__ == "__main__":
    main()
