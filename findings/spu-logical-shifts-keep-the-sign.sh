#!/usr/bin/env bash
# SPU: a logical shift to the right of a negative int32 keeps its sign.
#
# Guess: jax.lax.shift_right_logical fills with zeros: -1 shifted by 28 is 15.
# Seen:  spu 0.9.5 gives -1, in Semi2k and Cheetah: the 32 bits lie in a ring of 64, and the bits
#        that come in are those above. Numbers that are not negative are right.
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


x = np.array([-1, 2**30], np.int32)
for protocol in ("SEMI2K", "CHEETAH"):
    found = two_parties(lambda x: jax.lax.shift_right_logical(x, np.int32(28)), x, protocol=protocol)
    print(protocol, found)
    assert found.tolist() == [-1, 4]
PY
