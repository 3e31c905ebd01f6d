#!/usr/bin/env bash
# SPU: arithmetic of 8-bit and 32-bit integers is not done modulo 2^8 and 2^32.
#
# Guess: an array of uint8, int8 or int32 wraps around as in JAX, which SPU runs: 200 + 100 is 44 in
#        uint8, 2^31 - 1 + 1 is below zero in int32. Quantised networks rely on it.
# Seen:  spu 0.9.5 computes in its ring of 64 bits and cuts off when the result is opened as that
#        type, or never: cast to int32 the sum is 300, 3 - 5 is not above 100 in uint8, ~7 is -8,
#        and the int32 sum, which opens as -2^31, is above zero. JAX gives 44, true, 248 and false.
#
# Exits with 0 while that is so, with another code once the behaviour has changed. Needs Python 3.11
# on Linux for x86-64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check spu==0.9.5
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import jax.numpy as jnp
import numpy as np
from spu import libspu
from spu.utils.simulation import Simulator, sim_jax


def two_parties(function, *arguments, protocol):
    """What two parties compute in a ring of 64 bits, with 18 bits behind the point: the defaults."""
    simulator = Simulator.simple(2, getattr(libspu.ProtocolKind, protocol), libspu.FieldType.FM64)
    return np.asarray(sim_jax(simulator, function)(*arguments))


byte = lambda v: np.array([v], np.uint8)
word = lambda v: np.array([v], np.int32)
asked = {
    "uint8 200 + 100, as int32": (lambda a, b: (a + b).astype(jnp.int32), byte(200), byte(100), 44, 300),
    "uint8 3 - 5 > 100": (lambda a, b: (a - b) > 100, byte(3), byte(5), True, False),
    "uint8 ~7, as int32": (lambda a: (~a).astype(jnp.int32), byte(7), 248, -8),
    "int32 2^31 - 1 + 1": (lambda a, b: a + b, word(2**31 - 1), word(1), -(2**31), -(2**31)),
    "int32 2^31 - 1 + 1 > 0": (lambda a, b: (a + b) > 0, word(2**31 - 1), word(1), False, True),
}
print("spu", version("spu"))
for name, (function, *arguments, jax_gives, spu_gives) in asked.items():
    plain = np.asarray(function(*map(jnp.asarray, arguments)))[0]
    for protocol in ("SEMI2K", "CHEETAH"):
        shared = two_parties(function, *arguments, protocol=protocol)[0]
        print(name, protocol, shared, "JAX", plain)
        assert plain == jax_gives and shared == spu_gives
PY
