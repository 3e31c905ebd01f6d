"""Arrays as the native half takes them."""

import numpy as np


def samples(x):
    """Samples along the first axis as contiguous float32: an array, a list, a data frame or series.

    Nothing is copied if it is that already. A number that float32 does not hold is rounded, as
    every runtime of the model would.
    """
    if hasattr(x, "to_numpy"):
        x = x.to_numpy()
    array = np.asarray(x)
    if array.dtype == object:
        raise TypeError("samples are numbers; strings and mixed columns go through `fusion-run --input table.csv`")
    return np.ascontiguousarray(array, dtype=np.float32)


def known(y):
    """What is known of public samples, labels or values, as float64 in one row."""
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    return np.ascontiguousarray(np.asarray(y), dtype=np.float64).reshape(-1)
