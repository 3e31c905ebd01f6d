import pathlib

import numpy as np
import pytest

import fusion

DIGITS = pathlib.Path(fusion.__file__).parent / "data"


def read(name):
    return np.load(DIGITS / f"{name}.npy")


@pytest.fixture(scope="session")
def digits():
    return {name: read(name) for name in ("calibrate", "queries", "query_labels", "public", "public_labels")}


@pytest.fixture(scope="session")
def plan(digits):
    return fusion.compile(DIGITS / "digits.onnx", calibrate=digits["calibrate"])
