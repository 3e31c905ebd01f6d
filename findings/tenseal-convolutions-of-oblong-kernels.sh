#!/usr/bin/env bash
# TenSEAL: a convolution with a kernel that is not square uses another kernel.
#
# Guess: im2col_encoding(context, image, kernel_n_rows, kernel_n_cols, stride) cuts windows of so
#        many rows and columns for conv2d_im2col.
# Seen:  TenSEAL 0.3.18 cuts them with rows and columns exchanged: a kernel of 3x2 on an image of
#        4x5 gives 9 numbers instead of 8, those of the same six weights read as 2x3. Square kernels
#        are right, also on oblong images.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    tenseal==0.3.18 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import tenseal as ts

print("tenseal", version("tenseal"))
context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
context.global_scale = 2**40
context.generate_galois_keys()
image = np.arange(20.0).reshape(4, 5)


def convolved(kernel):
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape)
    return (windows * kernel).sum((2, 3)).ravel()


for shape in ((3, 2), (2, 3), (2, 2)):
    kernel = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    encrypted, windows = ts.im2col_encoding(context, image.tolist(), *shape, 1)
    gives = np.array(encrypted.conv2d_im2col(kernel.tolist(), windows).decrypt())
    print(shape, "right", convolved(kernel), "TenSEAL", gives.round(2))
    assert np.allclose(gives, convolved(kernel.reshape(shape[::-1])), atol=0.01)
    assert (len(gives) == len(convolved(kernel))) == (shape[0] == shape[1])
PY
