"""Batches over many machines, on Ray: ``pip install './python[ray]'``.

:func:`predict` spreads one batch over Ray's workers, each of which runs a part of it as a session
with some server; :func:`serve` runs replicas of a server as Ray actors. Ray is imported when one of
them is called. :func:`plan_scale`, which needs no Ray, foretells how a batch fares on many machines.

The workers of :func:`predict` belong to the client. A worker sees the inputs of its part in the
clear and what was revealed of them, and both lie in Ray's object store; which position holds which
sample stays in the calling process. So the cluster is the client's own, as its machine is, and none
that a server's owner has access to. A cluster of :func:`serve` holds the model's weights, and is
likewise the server's.
"""

import os

from . import _fusion
from .parties import TIMEOUT, Client, Server
from .plan import Plan
from .scale import plan_scale

__all__ = ["Replicas", "plan_scale", "predict", "serve"]


def predict(
    plan,
    queries,
    public=None,
    *,
    servers,
    shards="auto",
    threads=1,
    reveal="label",
    ledger=None,
    identity=None,
    peers=None,
    allow_plaintext=False,
    memory=None,
    timeout=TIMEOUT,
    check=True,
    **policy,
):
    """Runs one verified batch over Ray's workers.

    All positions have one secret order, of which each worker gets a part; there is one entry in the
    ledger, and one verdict when the last part has ended. If a part fails, or a worker is lost, the
    batch has failed and counts: the other parts are cancelled, and nothing is run again.

    Parameters
    ----------
    plan, queries, public
        As of :class:`fusion.Client` and its :meth:`~fusion.Client.predict`.
    servers
        Addresses of servers that offer the plan, or of a load balancer in front of them. Parts go to
        them in turn; a server must take as many sessions at once as it gets parts.
    shards
        Parts; ``"auto"``: one for each address.
    threads
        Of a worker, which are also the CPUs that its task asks Ray for.
    ledger
        A file of the calling process.
    identity
        A file that every worker has at this path: the key in it does not travel through Ray.
    reveal, peers, allow_plaintext, memory, timeout
        As of :class:`fusion.Client`, for each worker.
    check, policy
        As of :meth:`fusion.Client.predict`: ``accuracy``, ``catch``, ``lambda_bits`` and so on.

    Returns
    -------
    Result
        Of several parts its ``report["shards"]`` has what each took.

    Raises
    ------
    Rejected
        Verification failed.
    PeerError
        A part failed: the text says whose, and why. Or a server would not serve: nothing counts then.
    UsageError
        The policy cannot be met, or an argument makes no sense. Nothing was sent.
    """
    servers = [servers] if isinstance(servers, str) else list(servers)
    if not servers:
        raise _fusion.UsageError("servers is a list of at least one address")
    shards = len(servers) if shards == "auto" else int(shards)
    # Those that get a part.
    servers = servers[: max(shards, 1)]
    ray = _ray()
    _room(ray, threads)
    client = Client(plan, servers, reveal=reveal, ledger=ledger, memory=memory)
    job = client._job(queries, public, **policy)
    if not 1 <= shards <= job.positions:
        raise _fusion.UsageError(f"a batch of {job.positions} positions cannot be cut into {shards} shards")
    options = {
        "reveal": client.plan.reveal,
        "identity": None if identity is None else os.fspath(identity),
        "peers": None if peers is None else list(peers),
        "allow_plaintext": allow_plaintext,
        "memory": memory,
        "timeout": timeout,
    }
    once = {"max_retries": 0, "retry_exceptions": False, **_resources(threads)}
    program = ray.put(client.plan.to_bytes())
    # One server of another plan, or that lets nobody in, is not to cost the whole batch.
    ask = ray.remote(_reach).options(**once)
    for kind, why in ray.get([ask.remote(program, server, options) for server in dict.fromkeys(servers)]):
        if kind is not None:
            raise getattr(_fusion, kind)(why)
    # From here on the batch counts. Ray may not run a part twice.
    begun, parts = _fusion.begin(client._native, job, shards)
    tasks = {}
    try:
        task = ray.remote(_part).options(**once)
        for number, part in enumerate(parts):
            server = servers[number % len(servers)]
            tasks[task.remote(program, part, server, options)] = number, server
        answered = _gather(ray, tasks, len(parts))
    except BaseException as why:
        _cancel(ray, tasks)
        begun.abandon(str(why) or type(why).__name__)
        raise
    return client._result(begun.conclude(answered), check)


def _gather(ray, tasks, of):
    """What all parts left, in their order; the first failure is raised."""
    answered, waiting = [None] * of, list(tasks)
    while waiting:
        done, waiting = ray.wait(waiting)
        for ended in done:
            number, server = tasks[ended]
            try:
                answered[number], kind, why = ray.get(ended)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                why = f"{server} (shard {number + 1} of {of}): its worker failed ({type(cause).__name__})"
                raise _fusion.PeerError(why) from None
            if kind is not None:
                raise getattr(_fusion, kind)(why)
    return answered


def _cancel(ray, tasks):
    for task in tasks:
        try:
            ray.cancel(task)
        except Exception:  # It has ended, or Ray has: either way it does not run.
            pass


def _reach(program, server, options):
    """Asks on a worker whether a server would serve: what kind of error there was and its text."""
    try:
        _fusion.reach(Client(Plan.from_bytes(program), server, **options)._native)
        return None, None
    except _fusion.FusionError as error:
        return type(error).__name__, str(error)


def _part(program, part, server, options):
    """Runs a part on a worker: what it left, or what kind of error there was and its text."""
    try:
        client = Client(Plan.from_bytes(program), server, **options)
        return _fusion.answer(client._native, part), None, None
    except _fusion.FusionError as error:
        return None, type(error).__name__, str(error)


def serve(
    plan,
    replicas=1,
    *,
    threads=1,
    listen="127.0.0.1:0",
    identity=None,
    peers=None,
    allow_plaintext=False,
    sessions=1,
    positions=None,
    budget=None,
    memory=None,
    timeout=TIMEOUT,
):
    """Serves a plan by replicas, each a Ray actor with a :class:`fusion.Server`.

    Parameters
    ----------
    plan
        The server's plan. With its weights it lies in Ray's object store.
    replicas
        How many.
    threads
        Of each, which are also the CPUs that its actor asks Ray for.
    listen
        As of :class:`fusion.Server`, on each replica's machine. Of ``0.0.0.0`` the addresses name
        the machine.
    budget, positions
        Replicas on one machine share the budget's file, so a client has ``positions`` in all. It is
        no file that machines can share: on several, each replica has a file of its own and an
        equal part of ``positions``.
    identity, peers, allow_plaintext, sessions, memory, timeout
        As of :class:`fusion.Server`; files are at the same path on every machine.

    Returns
    -------
    Replicas
    """
    if replicas < 1:
        raise _fusion.UsageError("replicas is at least 1")
    if budget is not None and positions is None:
        raise _fusion.UsageError("a budget file goes with positions=..., what it allows a client")
    ray = _ray()
    _room(ray, threads)
    actor = ray.remote(_Replica).options(max_restarts=0, **_resources(threads))
    actors = [actor.remote() for _ in range(replicas)]
    try:
        machines = ray.get([one.machine.remote() for one in actors])
        shared = len(set(machines)) == 1
        each = positions
        if budget is not None and not shared:
            each = positions // replicas
            if each == 0:
                raise _fusion.UsageError(f"a budget of {positions} positions has no part for each of {replicas} replicas")
        options = {
            "listen": listen,
            "identity": identity,
            "peers": peers,
            "allow_plaintext": allow_plaintext,
            "sessions": sessions,
            "positions": each,
            "memory": memory,
            "timeout": timeout,
        }
        program = ray.put(plan.to_bytes())

        def file(number):
            return budget if budget is None or shared else f"{os.fspath(budget)}.{number}"

        started = [one.start.remote(program, {**options, "budget": file(at)}) for at, one in enumerate(actors)]
        addresses = []
        for address, kind, why in ray.get(started):
            if kind is not None:
                raise getattr(_fusion, kind)(why)
            addresses.append(address)
    except BaseException:
        [ray.kill(one) for one in actors]
        raise
    return Replicas(ray, actors, addresses, each, shared)


class Replicas:
    """Servers that run as Ray actors, until they are stopped: a context manager.

    Attributes
    ----------
    addresses
        Where they listen: the ``servers`` of :func:`predict`.
    positions
        What each allows a client, if that is limited.
    shared
        Whether all count a client's positions in one file.
    """

    def __init__(self, ray, actors, addresses, positions, shared):
        self._ray, self._actors = ray, actors
        self.addresses, self.positions, self.shared = addresses, positions, shared

    @property
    def sessions(self):
        """Of each replica what :attr:`fusion.Server.sessions` says."""
        return self._ray.get([one.sessions.remote() for one in self._actors])

    def stop(self, drain=True):
        """Takes no more clients, and waits for those that are being served or breaks them off."""
        actors, self._actors = self._actors, []
        self._ray.get([one.stop.remote(drain) for one in actors])
        [self._ray.kill(one) for one in actors]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop(drain=kind is None)

    def __repr__(self):
        return f"<fusion.ray.Replicas at {', '.join(self.addresses)}>"


class _Replica:
    """The actor."""

    def machine(self):
        import ray

        return ray.get_runtime_context().get_node_id()

    def start(self, program, options):
        """The address, or what kind of error there was and its text."""
        import ray

        try:
            self.server = Server(Plan.from_bytes(program), **options)
        except _fusion.FusionError as error:
            return None, type(error).__name__, str(error)
        host, _, port = self.server.address.rpartition(":")
        anywhere = host in ("0.0.0.0", "[::]")
        return f"{ray.util.get_node_ip_address() if anywhere else host}:{port}", None, None

    def sessions(self):
        return self.server.sessions

    def stop(self, drain):
        self.server.stop(drain)


def _resources(threads):
    # Each process computes on as many threads as Ray counts for it.
    return {"num_cpus": threads, "runtime_env": {"env_vars": {"RAYON_NUM_THREADS": str(threads)}}}


def _room(ray, threads):
    """What Ray could never place would wait for ever."""
    if not ray.is_initialized():
        ray.init()
    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if not 1 <= threads <= most:
        raise _fusion.UsageError(f"threads is {threads}, but no machine of this Ray cluster has more than {most:g} CPUs")


def _ray():
    try:
        import ray
    except ImportError:
        raise _fusion.UsageError("Ray is not installed: pip install './python[ray]'") from None
    return ray
