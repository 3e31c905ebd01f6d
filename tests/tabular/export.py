"""Exports the models that people have to ONNX, with default settings, and what onnxruntime answers for 2,000 rows of each.

    pip install scikit-learn==1.6.1 skl2onnx==1.20.0 onnx==1.17.0 onnxruntime==1.32.0 xgboost==3.2.0 lightgbm==4.7.0 onnxmltools==1.16.0 pandas

For each model NAME: NAME.onnx, NAME.x.npy (the rows), NAME.y.npy (indices of onnxruntime's labels among the model's classes),
NAME.c.npy (512 rows for calibration, none of the 2,000). Rows with text are NAME.x.csv and NAME.c.csv. onnxruntime runs with one thread:
it adds in an order of its own with several. NAME.s.npy are the rows whose label depends on that.
"""
import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (AdaBoostClassifier, ExtraTreesClassifier, GradientBoostingClassifier,
                              HistGradientBoostingClassifier, RandomForestClassifier)
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.naive_bayes import GaussianNB
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

warnings.filterwarnings("ignore")
ROWS, CALIBRATION, TRAIN = 2000, 512, 3000


def table(classes=2, features=10, seed=0, missing=0.0):
    """A table whose columns have units of their own."""
    x, y = datasets.make_classification(
        n_samples=ROWS + CALIBRATION + TRAIN, n_features=features, n_informative=min(8, features - 2), n_redundant=2,
        n_classes=classes, flip_y=0.03, class_sep=1.2, random_state=seed)
    units = np.random.default_rng(seed).choice([1e-2, 1.0, 10.0, 1e3], features)
    x = (x * units + np.where(units > 5, 30 * units, 0)).astype(np.float32)
    if missing:
        x[np.random.default_rng(seed + 1).random(x.shape) < missing] = np.nan
    return x, y


def mixed(seed=0):
    """Numbers and two columns of small integers that stand for categories."""
    x, y = table(2, 8, seed)
    rng = np.random.default_rng(seed + 2)
    x[:, 6] = rng.integers(0, 5, len(x))
    x[:, 7] = rng.integers(0, 3, len(x)) + (y == 1) * (rng.random(len(x)) < 0.5)
    return x, y


def sklearn_model(make, data=table):
    def export():
        from skl2onnx import to_onnx
        x, y = data()
        model = make().fit(x[-TRAIN:], y[-TRAIN:])
        return to_onnx(model, x[:1]), x, model
    return export


def gradient_boosted(convert, make, data=table, **fit):
    def export():
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType
        x, y = data()
        extra = {"eval_set": [(x[:300], y[:300])]} if fit.get("early") else {}
        model = make()
        model.fit(x[-TRAIN:], y[-TRAIN:], **extra)
        converter = getattr(onnxmltools, convert)
        kinds = {"zipmap": False} if convert == "convert_lightgbm" else {}
        onnx = converter(model, initial_types=[("input", FloatTensorType([None, x.shape[1]]))], **kinds)
        return onnx, x, model
    return export


def xgb(**settings):
    from xgboost import XGBClassifier
    return XGBClassifier(n_jobs=2, **settings)


def lgbm(**settings):
    from lightgbm import LGBMClassifier
    return LGBMClassifier(n_jobs=2, verbose=-1, **settings)


def credit():
    """30 features; what a model for credit looks like."""
    return table(2, 30, 7)


def frame(seed=0):
    """A data frame: numbers, two columns of text, a column of integers; the text of some rows is in no row that is learned from."""
    import pandas
    x, y = table(2, 5, seed)
    rng = np.random.default_rng(seed + 4)
    columns = {f"number {i}": x[:, i] for i in range(5)}
    columns["city"] = np.array(["Oslo", "Rome", "Bern", "San José", "a, b"])[rng.integers(0, 5, len(x))]
    columns["grade"] = np.array(["low", "high"])[(rng.random(len(x)) < 0.3 + 0.4 * y).astype(int)]
    columns["rooms"] = rng.integers(1, 6, len(x))
    columns["city"][:ROWS:50] = "Atlantis"
    return pandas.DataFrame(columns), y


def of_frame(make):
    def export():
        from skl2onnx import to_onnx
        x, y = frame()
        model = make().fit(x[-TRAIN:], y[-TRAIN:])
        return to_onnx(model, x[:1]), x, model
    return export


def by_name(encoder, columns):
    return ColumnTransformer([("n", StandardScaler(), [f"number {i}" for i in range(5)]), ("c", encoder, columns)])


encoded = lambda: ColumnTransformer([("n", StandardScaler(), list(range(6))), ("c", OneHotEncoder(handle_unknown="ignore"), [6, 7])])

MODELS = {
    "logistic": sklearn_model(LogisticRegression, lambda: scaled(2)),
    "logistic3": sklearn_model(LogisticRegression, lambda: scaled(3)),
    "logistic_cv": sklearn_model(LogisticRegressionCV, lambda: scaled(2)),
    "lda": sklearn_model(LinearDiscriminantAnalysis, lambda: scaled(3)),
    "linear_svc": sklearn_model(LinearSVC, lambda: scaled(2)),
    "linear_svc3": sklearn_model(LinearSVC, lambda: scaled(3)),
    "svc_linear": sklearn_model(lambda: SVC(kernel="linear"), lambda: scaled(2)),
    "svc_rbf": sklearn_model(SVC, lambda: scaled(2)),
    "svc_rbf3": sklearn_model(SVC, lambda: scaled(3)),
    "svc_poly": sklearn_model(lambda: SVC(kernel="poly"), lambda: scaled(2)),
    "svc_sigmoid": sklearn_model(lambda: SVC(kernel="sigmoid"), lambda: scaled(2)),
    "svc_probability": sklearn_model(lambda: SVC(probability=True, random_state=0), lambda: scaled(2)),
    "svc_raw": sklearn_model(SVC),
    "scaler_svc": sklearn_model(lambda: make_pipeline(StandardScaler(), SVC())),
    "calibrated_svc": sklearn_model(lambda: CalibratedClassifierCV(SVC(), ensemble=False), lambda: scaled(2)),
    "mlp": sklearn_model(lambda: MLPClassifier((16,), max_iter=80, random_state=0), lambda: scaled(2)),
    "mlp3": sklearn_model(lambda: MLPClassifier((16,), max_iter=80, random_state=0), lambda: scaled(3)),
    "tree": sklearn_model(lambda: DecisionTreeClassifier(random_state=0)),
    "forest": sklearn_model(lambda: RandomForestClassifier(random_state=0, n_jobs=2)),
    "forest3": sklearn_model(lambda: RandomForestClassifier(max_depth=8, random_state=0, n_jobs=2), lambda: table(3)),
    "extra_trees": sklearn_model(lambda: ExtraTreesClassifier(max_depth=9, random_state=0, n_jobs=2)),
    "gradient_boosting": sklearn_model(lambda: GradientBoostingClassifier(random_state=0)),
    "gradient_boosting3": sklearn_model(lambda: GradientBoostingClassifier(n_estimators=30, random_state=0), lambda: table(3)),
    "hist_gradient_boosting": sklearn_model(lambda: HistGradientBoostingClassifier(max_iter=30, random_state=0), lambda: table(2, missing=0.05)),
    "ada_boost": sklearn_model(lambda: AdaBoostClassifier(n_estimators=20, random_state=0)),
    "gaussian_nb": sklearn_model(GaussianNB, lambda: scaled(2)),
    "qda": sklearn_model(QuadraticDiscriminantAnalysis, lambda: scaled(2, True)),
    "scaler_forest": sklearn_model(lambda: make_pipeline(StandardScaler(), RandomForestClassifier(max_depth=8, random_state=0))),
    "min_max_logistic": sklearn_model(lambda: make_pipeline(MinMaxScaler(), LogisticRegression())),
    "scaler_logistic": sklearn_model(lambda: make_pipeline(StandardScaler(), LogisticRegression())),
    "scaler_mlp": sklearn_model(lambda: make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=80, random_state=0))),
    "pca_logistic": sklearn_model(lambda: make_pipeline(StandardScaler(), PCA(5), LogisticRegression())),
    "normalizer_logistic": sklearn_model(lambda: make_pipeline(StandardScaler(), Normalizer(), LogisticRegression())),
    "one_hot_logistic": sklearn_model(lambda: make_pipeline(encoded(), LogisticRegression()), mixed),
    "one_hot_forest": sklearn_model(lambda: make_pipeline(encoded(), RandomForestClassifier(max_depth=7, random_state=0)), mixed),
    "one_hot_text": of_frame(lambda: make_pipeline(by_name(OneHotEncoder(handle_unknown="ignore"), ["city", "grade", "rooms"]), LogisticRegression())),
    "one_hot_text_forest": of_frame(lambda: make_pipeline(by_name(OneHotEncoder(handle_unknown="ignore"), ["city", "grade"]), RandomForestClassifier(20, max_depth=6, random_state=0))),
    "ordinal_text": of_frame(lambda: make_pipeline(by_name(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city", "grade"]), LogisticRegression())),
    "imputer_logistic": sklearn_model(lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), lambda: table(2, missing=0.05)),
    "imputer_forest": sklearn_model(lambda: make_pipeline(SimpleImputer(), RandomForestClassifier(20, max_depth=7, random_state=0)), lambda: table(2, missing=0.05)),
    "pca_forest": sklearn_model(lambda: make_pipeline(StandardScaler(), PCA(5), RandomForestClassifier(20, max_depth=7, random_state=0))),
    "calibrated": sklearn_model(lambda: CalibratedClassifierCV(LinearSVC()), lambda: scaled(2)),
    "lightgbm": gradient_boosted("convert_lightgbm", lgbm),
    "lightgbm3": gradient_boosted("convert_lightgbm", lambda: lgbm(n_estimators=30), lambda: table(3)),
    "lightgbm_missing": gradient_boosted("convert_lightgbm", lambda: lgbm(n_estimators=30), lambda: table(2, missing=0.05)),
    "xgboost": gradient_boosted("convert_xgboost", lambda: xgb(n_estimators=100, max_depth=6), credit),
    "xgboost3": gradient_boosted("convert_xgboost", lambda: xgb(n_estimators=30), lambda: table(3)),
    "xgboost_early": gradient_boosted("convert_xgboost", lambda: xgb(n_estimators=300, early_stopping_rounds=5), early=True),
    "xgboost_missing": gradient_boosted("convert_xgboost", lambda: xgb(n_estimators=30), lambda: table(2, missing=0.05)),
}


def scaled(classes, independent=False):
    """One scale for all columns, without offsets."""
    x, y = table(classes)
    x = (x - x.mean(0)) / x.std(0)
    if independent:
        x = x + 0.3 * np.random.default_rng(5).standard_normal(x.shape)
    return x.astype(np.float32), y


def given(session, rows):
    """Rows as the model's inputs: one, or one for each column."""
    inputs = session.get_inputs()
    if isinstance(rows, np.ndarray):
        return {inputs[0].name: rows}
    names = {name.replace(" ", "_"): name for name in rows}
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(string)": object}
    return {one.name: rows[names[one.name.replace(" ", "_")]].to_numpy().astype(kinds[one.type]).reshape(-1, 1) for one in inputs}


def failed(name, error):
    """A converter that cannot export its own model says so here."""
    print(f"{name}: NOT EXPORTED: {str(error)[:200]!r}", file=sys.stderr, flush=True)


def answered(model, rows, classes, threads):
    """Indices of onnxruntime's labels; with 0 threads it takes as many as it likes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    labels = session.run(None, given(session, rows))[0]
    index = {str(label): i for i, label in enumerate(classes)}
    return np.array([index[str(label)] for label in np.ravel(labels)], np.int64)


def export(folder, names, quiet=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            onnx, x, model = MODELS[name]()
        except Exception as error:
            failed(name, error)
            continue
        path = folder / f"{name}.onnx"
        path.write_bytes(onnx.SerializeToString())
        for kind, rows in (("x", x[:ROWS]), ("c", x[ROWS:ROWS + CALIBRATION])):
            if isinstance(rows, np.ndarray):
                np.save(folder / f"{name}.{kind}.npy", rows)
            else:
                rows.to_csv(folder / f"{name}.{kind}.csv", index=False)
        labels, others = (answered(path.read_bytes(), x[:ROWS], model.classes_, threads) for threads in (1, 0))
        np.save(folder / f"{name}.y.npy", labels)
        np.save(folder / f"{name}.s.npy", np.flatnonzero(labels != others))
        if not quiet:
            ops = [(node.domain + ":" if node.domain else "") + node.op_type for node in onnx.graph.node]
            print(f"{name}: {len(path.read_bytes())} bytes: {' '.join(ops)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write them")
    parser.add_argument("names", nargs="*", help="which of them; all by default")
    arguments = parser.parse_args()
    export(arguments.folder, arguments.names or list(MODELS))


if __name__ == "__main__":
    main()
