"""Arrays as the native half takes them."""

import numpy as np

from ._fusion import UsageError


def samples(x):
    """Samples along the first axis as contiguous float32: an array, a list, a data frame or series.

    Nothing is copied if it is that already. A number that float32 does not hold is rounded, as
    every runtime of the model would.
    """
    array = native(x)
    if array.dtype == object:
        raise TypeError("samples are numbers; strings and mixed columns go through `fusion-run --input table.csv`")
    return np.ascontiguousarray(array, dtype=np.float32)


def values(y):
    """The known values of public samples, as float64 in one row."""
    return np.ascontiguousarray(native(y), dtype=np.float64).reshape(-1)


def labels(y, names):
    """The known labels of public samples: by name where classes have names, else positions."""
    found = native(y).reshape(-1)
    if found.dtype.kind in "fb":
        whole = found.astype(np.int64)
        for at in np.flatnonzero(whole != found)[:1]:
            raise UsageError(f"public label {at} is {found[at]}, no whole number")
        found = whole
    if names or found.dtype.kind not in "iu":
        return [str(label) for label in found.tolist()]
    return np.ascontiguousarray(found, dtype=np.int64)


def native(y):
    return np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
