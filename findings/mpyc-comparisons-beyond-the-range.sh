#!/usr/bin/env bash
# MPyC: comparisons of fixed-point numbers beyond their type's range answer 2, 16 or -14.
#
# Guess: the default SecFxp has 32 bits, 16 behind the point: up to 32767.99. What is larger wraps
#        around like an integer, or is refused; a comparison answers 0 or 1 whatever happens.
# Seen:  MPyC 0.11 keeps the sum or product as it is, 1000 * 1000 opens as 1000000, since the field
#        behind the type is larger; 1000000 > 0 is 16, and if_else with that as its condition takes
#        16 times one side less 15 times the other. An argmax over 1 and 300 * 300 gives the
#        position 2 of two. From 40000 to 65535 nothing is seen.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check mpyc==0.11
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

from mpyc.runtime import mpc

number = mpc.SecFxp()


async def opened(value):
    """What the parties see; here one party, which computes as three do."""
    return await mpc.output(value)


async def main():
    await mpc.start()
    product = number(1000.0) * number(1000.0)
    seen = {
        "1000 * 1000": await opened(product),
        "1000 * 1000 > 0": await opened(product > 0),
        "1000 * 1000 < 0": await opened(product < 0),
        "if_else(1000 * 1000 > 0, 1, 2)": await opened(mpc.if_else(product > 0, number(1.0), number(2.0))),
        "300 * 300 >= 0": await opened(number(300.0) * number(300.0) >= 0),
        "argmax of 1, 300 * 300": await opened(mpc.argmax([number(1.0), number(300.0) * number(300.0)])[0]),
        "200 * 200 > 0": await opened(number(200.0) * number(200.0) > 0),
    }
    print("MPyC", version("mpyc"), number.__name__, seen)
    assert list(seen.values()) == [1e6, 16, -15, -14, 2, 2, 1]
    await mpc.shutdown()


mpc.run(main())
PY
