#!/usr/bin/env bash
# MPyC: 2 to the power of -2 is 70368744177664.
#
# Guess: x ** -2 of a secret fixed-point number is 1 / (x * x), as x ** 2 is x * x, or it is
#        refused. Division, 1 / x, works.
# Seen:  MPyC 0.11 inverts the integer that stands for the number in its prime field: 2.0 ** -2 is
#        70368744177664, 4.0 ** -1 is 4.6e18, 0.5 ** -2 is 0 and 2.5 ** -1 is negative, without a
#        word. 1 / 4 is 0.25 and 2.0 ** 10 is 1024. An array's ** -1 has other values, as wrong.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    mpyc==0.11 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from mpyc.runtime import mpc

number = mpc.SecFxp()


async def main():
    await mpc.start()
    powers = [await mpc.output(number(x) ** n) for x, n in ((2.0, -2), (4.0, -1), (0.5, -2), (2.5, -1))]
    array = await mpc.output(number.array(np.array([1.0, 2.0])) ** -1)
    usual = [await mpc.output(v) for v in (1 / number(4.0), number(2.0) ** 10, number(0.5) ** 3)]
    print("MPyC", version("mpyc"), "2**-2, 4**-1, .5**-2, 2.5**-1:", powers, "array [1, 2]**-1:", array)
    print("1/4, 2**10, .5**3:", usual)
    assert powers[0] == 2.0**46 and powers[1] == 2.0**62 and powers[2] == 0 and powers[3] < 0
    assert (np.abs(array - [1, 0.5]) > 0.4).all()
    assert usual == [0.25, 1024, 0.125]
    await mpc.shutdown()


mpc.run(main())
PY
