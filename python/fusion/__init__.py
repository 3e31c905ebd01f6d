"""Private classification that checks itself.

A server has a model, a client has inputs; neither shows them to the other. The client accepts a batch
of answers only if copies of its queries agree and samples whose labels it knows are answered well
enough; a result says what that excludes.

>>> import fusion
>>> print(fusion.soundness(queries=1024, accuracy=0.99, catch=0.05))
R=1024 B=5 T=344 u=8: 5464 positions, 5.34 per query, lambda 45.1 bits
"""

from ._fusion import FusionError, ModelError, PeerError, StateError, UsageError, keygen
from .compiler import compile
from ._demo import demo
from .parties import Client, Rejected, Server
from .plan import Plan
from .result import Result
from .soundness import Soundness, soundness

__all__ = [
    "Client",
    "FusionError",
    "ModelError",
    "PeerError",
    "Plan",
    "PrivateClassifier",
    "Rejected",
    "Result",
    "Server",
    "Soundness",
    "StateError",
    "UsageError",
    "compile",
    "demo",
    "keygen",
    "soundness",
]


def __getattr__(name):
    # Of scikit-learn and of Ray, which this package does not need otherwise.
    if name == "PrivateClassifier":
        from .classifier import PrivateClassifier

        return PrivateClassifier
    if name == "ray":
        from importlib import import_module

        return import_module("fusion.ray")
    raise AttributeError(f"module 'fusion' has no attribute {name!r}")
