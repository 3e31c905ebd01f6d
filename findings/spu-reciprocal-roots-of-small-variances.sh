#!/usr/bin/env bash
# SPU: reciprocal roots of small numbers are high, as of a variance plus the usual epsilon.
#
# Guess: 1e-5 is between two and three units of 2^-18, so what is read is off by up to a fifth and
#        its root by a tenth, and 5e-5 is off by a few hundredths.
# Seen:  spu 0.9.5 with its defaults reads numbers towards zero, 1.1e-5 as two units, and gives 362
#        instead of 302, a fifth too much. A layer norm of (.001, .002, .003, .002) with epsilon
#        1e-5 gives another result in each run of Cheetah, whose products lose a unit or not:
#        between zero and five thirds of what is right.
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
import jax
import jax.numpy as jnp
import numpy as np
from spu import libspu
from spu.utils.simulation import Simulator, sim_jax


def two_parties(function, *arguments, protocol="CHEETAH"):
    """What two parties compute in a ring of 64 bits, with 18 bits behind the point: the defaults."""
    simulator = Simulator.simple(2, getattr(libspu.ProtocolKind, protocol), libspu.FieldType.FM64)
    return np.asarray(sim_jax(simulator, function)(*arguments))


x = np.array([1.1e-5, 1e-3], np.float32)
for protocol in ("SEMI2K", "CHEETAH"):
    roots = two_parties(jax.lax.rsqrt, x, protocol=protocol)
    print(protocol, roots)
    assert 355 < roots[0] < 368 and abs(roots[1] - 31.62) < 0.1


def norm(x):
    return (x - x.mean()) * jax.lax.rsqrt(x.var() + 1e-5)


row = np.array([0.001, 0.002, 0.003, 0.002], np.float32)
right = np.asarray(norm(row))
parts = [float(two_parties(norm, row)[2] / right[2]) for _ in range(6)]
print(right, parts)
assert max(parts) - min(parts) > 0.1
PY
