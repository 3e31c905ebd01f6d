"""The native half: see the modules that wrap it."""

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

type Path = str | PathLike[str]

class FusionError(Exception): ...
class UsageError(FusionError): ...
class ModelError(FusionError): ...
class PeerError(FusionError): ...
class StateError(FusionError): ...

class Plan:
    @staticmethod
    def from_bytes(bytes: bytes) -> Plan: ...
    @staticmethod
    def load(path: Path) -> Plan: ...
    def to_bytes(self) -> bytes: ...
    def save(self, path: Path) -> None: ...
    def client(self) -> Plan: ...
    def dump(self) -> str: ...
    def program_page(self) -> str: ...
    def cost_page(self, network: str = "lan") -> str: ...
    def cost(self, network: str = "lan") -> tuple[list[dict[str, Any]], int, int, float]: ...
    @property
    def digest(self) -> str: ...
    @property
    def input_shape(self) -> list[int]: ...
    @property
    def classes(self) -> int: ...
    @property
    def class_names(self) -> list[str]: ...
    @property
    def columns(self) -> list[str]: ...
    @property
    def reveal(self) -> str: ...
    @property
    def is_verified(self) -> bool: ...
    @property
    def has_weights(self) -> bool: ...
    @property
    def public_constants(self) -> int: ...
    @property
    def agreement(self) -> str | None: ...
    @property
    def warnings(self) -> list[str]: ...

class Server:
    def __init__(
        self,
        plan: Plan,
        *,
        listen: str,
        sessions: int,
        budget: Path | None,
        positions: int | None,
        identity: Path | None,
        peers: list[str] | None,
        allow_plaintext: bool,
        timeout: float,
        memory: int | None,
    ) -> None: ...
    @property
    def address(self) -> str: ...
    @property
    def is_running(self) -> bool: ...
    def ended(self) -> list[tuple[bool, str]]: ...
    def stop(self, drain: bool = True) -> None: ...

class Client:
    def __init__(
        self,
        plan: Plan,
        addresses: list[str],
        *,
        reveal: str,
        ledger: Path | None,
        identity: Path | None,
        peers: list[str] | None,
        allow_plaintext: bool,
        timeout: float,
        memory: int | None,
    ) -> None: ...
    def job(
        self,
        queries: NDArray[np.float32],
        public: NDArray[np.float32] | None,
        known: NDArray[np.int64] | NDArray[np.float64] | list[str] | None,
        *,
        verify: bool,
        lambda_bits: float,
        catch: float | None,
        accuracy: float,
        false_reject: float,
        largest_share: float | None,
        copies: int | None,
        tolerate: int | None,
        tolerance: float | None,
        clipped: str,
    ) -> Job: ...
    def run(self, job: Job, progress: Callable[[int, int, str], object] | None) -> Ran: ...
    def ask(self) -> list[tuple[str, float, tuple[float, float] | None]]: ...

type Ran = tuple[str, str, tuple[str, list[str], str, list[tuple[str, str]]], list[list[float]] | None]

class Job:
    @property
    def positions(self) -> int: ...

class Begun:
    def conclude(self, answered: list[bytes]) -> Ran: ...
    def abandon(self, why: str) -> None: ...

def begin(client: Client, job: Job, shards: int) -> tuple[Begun, list[bytes]]: ...
def answer(client: Client, shard: bytes) -> bytes: ...
def reach(client: Client) -> None: ...
def scale(
    plan: Plan,
    positions: int,
    machines: list[int],
    *,
    network: str,
    uplink: float | None,
    spread: float,
    memory: int | None,
) -> str: ...
def compile(
    model: bytes | Path,
    calibrate: NDArray[np.float32] | None,
    *,
    labels: list[int] | None,
    scores: NDArray[np.float32] | None,
    input_shape: list[int] | None,
    reveal: str,
    verify: bool,
    queries: int,
    accuracy: float | None,
    catch: float | None,
    network: str,
    min_agreement: float,
    weight_bits: int | None,
    activation_bits: int | None,
) -> Plan: ...
def keygen(path: Path) -> str: ...
def soundness(
    queries: int,
    *,
    lambda_bits: float,
    catch: float | None,
    accuracy: float,
    false_reject: float,
    classes: int,
    largest_share: float | None,
    copies: int | None,
    tolerate: int | None,
    available: int | None,
) -> str: ...
