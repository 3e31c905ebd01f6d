"""A tumour classifier from scikit-learn, exported as a data scientist would: `model.onnx`, and tables of its data set's rows.

    pip install scikit-learn==1.7.2 skl2onnx==1.20.0 pandas && python make.py [FOLDER]

`calibrate.csv` are rows that the model was trained on; `queries.csv`, `public.csv` and `answers.csv` are rows that it was not. `black_op` has
the scaler written as a subtraction and a division.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
QUERIES = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=HERE, help="where to write [default: beside this script]")
    folder = parser.parse_args().folder

    data = load_breast_cancer(as_frame=True)
    features = data.data.astype(np.float32)
    diagnosis = data.target.map(dict(enumerate(data.target_names))).rename("diagnosis")
    # Made up: the data set has none.
    patient = pd.Series([f"P-{4001 + 7 * row}" for row in features.index], name="patient")
    table = pd.concat([patient, features, diagnosis], axis=1)
    train, rest = train_test_split(table, test_size=0.5, random_state=0, stratify=data.target)

    model = make_pipeline(StandardScaler(), MLPClassifier((24, 12), max_iter=2000, random_state=0, alpha=1))
    labels = train.diagnosis.map({name: label for label, name in enumerate(data.target_names)})
    model.fit(train[features.columns].to_numpy(), labels)
    sample = train[features.columns][:1].to_numpy()
    exported = to_onnx(model, sample, options={"zipmap": False}, black_op={"Scaler"})
    (folder / "model.onnx").write_bytes(exported.SerializeToString())

    queries, public = rest[:QUERIES], rest[QUERIES:]
    train.drop(columns=["patient"]).to_csv(folder / "calibrate.csv", index=False)
    queries.drop(columns=["diagnosis"]).to_csv(folder / "queries.csv", index=False)
    public.drop(columns=["patient"]).to_csv(folder / "public.csv", index=False)
    # What the model says of the queries, to compare with.
    said = data.target_names[model.predict(queries[features.columns].to_numpy())]
    pd.DataFrame({"patient": queries.patient, "label": said}).to_csv(folder / "answers.csv", index=False)
    right = data.target_names[model.predict(rest[features.columns].to_numpy())] == rest.diagnosis
    print(f"accuracy on rows that it was not trained on: {np.mean(right):.3f}")


if __name__ == "__main__":
    main()
