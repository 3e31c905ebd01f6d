#!/usr/bin/env bash
# micromlgen: a OneClassSVM calls no row an outlier.
#
# Guess: the generated code tells outliers from the rest, whatever numbers it has for the two.
# Seen:  micromlgen 1.1.28 subtracts the kernels' weighted sum from the negative intercept: the sign
#        is the same for every row, and so is the answer, 1.
#
# Exits with 0 while that is so, with another code once the behaviour has changed. Needs g++.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    micromlgen==1.1.28 scikit-learn==1.9.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import re
import subprocess
from importlib.metadata import version

import micromlgen
import numpy as np
from sklearn.svm import OneClassSVM


def generated(model, rows):
    """The labels that the generated C++ gives."""
    code = micromlgen.port(model).replace("#pragma once", "#include <cmath>\n#include <cstdint>\n#include <cstdio>")
    name = re.search(r"class (\w+) {", code).group(1)
    main = """
int main() {
    Eloquent::ML::Port::%s model;
    float x[%d];
    for (int i = 0; scanf("%%f", &x[i]) == 1; i = (i + 1) %% %d)
        if (i == %d) printf("%%d\\n", model.predict(x));
}
""" % (name, rows.shape[1], rows.shape[1], rows.shape[1] - 1)
    with open("model.cpp", "w") as file:
        file.write(code + main)
    subprocess.run(["g++", "-w", "-o", "model", "model.cpp"], check=True)
    given = "\n".join(repr(float(v)) for v in rows.ravel())
    printed = subprocess.run(["./model"], input=given, capture_output=True, text=True, check=True).stdout
    return np.array(printed.split(), int)


print("micromlgen", version("micromlgen"), "scikit-learn", version("scikit-learn"))
x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
model = OneClassSVM(gamma=0.1, nu=0.3).fit(x)
far = np.full((1, 3), 50, np.float32)
right, gives = model.predict(np.vstack([x, far])), generated(model, np.vstack([x, far]))
print("outliers", (right == -1).sum(), "of", len(right), "answers of micromlgen", np.unique(gives))
assert right[-1] == -1 and (right == -1).sum() > 50 and (gives == 1).all()
PY
