#!/usr/bin/env bash
# SPU: argsort and top_k order equal keys otherwise each time.
#
# Guess: jax.numpy.argsort is stable and jax.lax.top_k prefers the smaller index, so both are, run
#        by two parties.
# Seen:  spu 0.9.5: positions of equal keys come in an order that changes from run to run: argsort
#        by Cheetah, top_k by Semi2k and Cheetah. The keys are in order. jnp.argmax does prefer the
#        first.
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


keys = np.array([2, 1, 2, 1, 2, 1], np.float32)
orders = {tuple(two_parties(jnp.argsort, keys).tolist()) for _ in range(8)}
print(orders)
assert len(orders) > 1 and all((np.diff(keys[list(order)]) >= 0).all() for order in orders)
scores = np.array([1, 3, 3, 3, 0], np.float32)
for protocol in ("SEMI2K", "CHEETAH"):
    best = {tuple(two_parties(lambda x: jax.lax.top_k(x, 3)[1], scores, protocol=protocol).tolist()) for _ in range(8)}
    print(protocol, best)
    assert len(best) > 1 and all(sorted(order) == [1, 2, 3] for order in best)
    assert two_parties(jnp.argmax, scores, protocol=protocol) == 1
PY
