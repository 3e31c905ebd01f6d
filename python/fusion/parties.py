"""The two parties."""

import json

from . import _fusion, arrays
from .plan import Plan
from .result import Result

TIMEOUT = 60.0


class Rejected(_fusion.FusionError):
    """The batch was not verified: ``result`` has the verdict, and no labels."""

    def __init__(self, result):
        super().__init__(result.summary())
        self.result = result


class Server:
    """Serves a plan on threads of its own until it is stopped, one client at a time or several.

    For a service that runs for months, with many clients at once, metrics and logs, there is
    `fusion-server`.

    Parameters
    ----------
    plan
        The server's plan.
    listen
        ``host:port``; port 0 lets the system choose, :attr:`address` says which.
    identity, peers
        This party's file of :func:`fusion.keygen`, and the fingerprints of the clients that are let
        in: TLS 1.3 with both sides authenticated. Without them only loopback is served.
    allow_plaintext
        Serves other addresses without TLS: neither encrypted nor authenticated.
    sessions
        Clients that are served at once; others wait.
    positions, budget
        The most positions of a client, in one session and, with a budget file, in all of them.
    memory
        What a session may take, in bytes.
    timeout
        Seconds without a byte after which a session fails.
    """

    def __init__(
        self,
        plan,
        listen="127.0.0.1:0",
        *,
        identity=None,
        peers=None,
        allow_plaintext=False,
        sessions=1,
        positions=None,
        budget=None,
        memory=None,
        timeout=TIMEOUT,
    ):
        self._native = _fusion.Server(
            plan._native,
            listen=listen,
            identity=identity,
            peers=None if peers is None else list(peers),
            allow_plaintext=allow_plaintext,
            sessions=sessions,
            positions=positions,
            budget=budget,
            memory=memory,
            timeout=float(timeout),
        )

    @property
    def address(self):
        """Where it listens."""
        return self._native.address

    @property
    def is_running(self):
        """Whether it takes clients."""
        return self._native.is_running

    @property
    def sessions(self):
        """The last thousand sessions that ended: of each its report, or the reason why there is
        none."""
        return [json.loads(text) if well else text for well, text in self._native.ended()]

    def stop(self, drain=True):
        """Takes no more clients and waits for the one that is being served, or breaks it off."""
        self._native.stop(drain)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop(drain=kind is None)

    def __repr__(self):
        return f"<fusion.Server at {self.address}, {'running' if self.is_running else 'stopped'}>"


class Client:
    """Asks a server, or several at once, about private inputs.

    Parameters
    ----------
    plan
        The client's plan, from the server.
    address
        ``host:port`` of the server, or a list of them: of several servers that offer the same plan
        each computes a part of a batch at the same time. There is one secret order of all
        positions, one entry in the ledger and one verdict; if one server fails, so has the batch.
    reveal
        What the plan may reveal of each query, at most. ``None``: what it does reveal.
    ledger
        A file that counts sessions and the public samples that servers have seen. Without one
        nobody does, and samples that a server has seen count as new evidence: for tests.
    identity, peers, allow_plaintext, memory, timeout
        As of :class:`Server`; ``peers`` are servers' fingerprints.
    """

    def __init__(
        self,
        plan,
        address,
        *,
        reveal="label",
        ledger=None,
        identity=None,
        peers=None,
        allow_plaintext=False,
        memory=None,
        timeout=TIMEOUT,
    ):
        self.plan = plan.client() if isinstance(plan, Plan) else Plan.load(plan).client()
        self._addresses = [address] if isinstance(address, str) else list(address)
        if not self._addresses:
            raise _fusion.UsageError("a client has at least one address")
        self._native = _fusion.Client(
            self.plan._native,
            self._addresses,
            reveal=self.plan.reveal if reveal is None else reveal,
            ledger=ledger,
            identity=identity,
            peers=None if peers is None else list(peers),
            allow_plaintext=allow_plaintext,
            memory=memory,
            timeout=float(timeout),
        )

    def ask(self):
        """Whether the server would serve. Neither side counts that as a session.

        Returns its name, the seconds that connecting took, and the network to it as
        ``"MBIT_PER_S/RTT_MS"``, which :meth:`Plan.cost` takes, or None if the server had no time to
        let it be measured; of several servers a list of that. Raises PeerError with its reason.
        """
        asked = [
            (name, connected, network and "{:.4g}/{:.4g}".format(*network))
            for name, connected, network in self._native.ask()
        ]
        return asked[0] if len(asked) == 1 else asked

    def predict(
        self,
        queries,
        public=None,
        *,
        verify=True,
        accuracy=1.0,
        catch=None,
        lambda_bits=40.0,
        false_reject=0.01,
        largest_share=None,
        copies=None,
        tolerate=None,
        tolerance=None,
        clipped="refuse",
        progress=None,
        check=True,
    ):
        """Runs one verified batch: every call is a session, and counts as one.

        Parameters
        ----------
        queries
            Samples along the first axis.
        public
            ``(samples, labels)`` that the server has never seen, drawn like the queries; for a plan
            that reveals values ``(samples, values)``, with ``tolerance``. Labels are what the
            plan calls its classes, or positions if they have no names.
        verify
            False trusts the server: no public samples then, and whatever it answers is believed.
        accuracy, catch, lambda_bits, false_reject, largest_share, copies, tolerate
            The policy, as of :func:`fusion.soundness`. ``largest_share`` is bounded from the public
            labels by default.
        clipped
            ``"refuse"`` samples with more than one element in a hundred beyond the input's format,
            or ``"warn"``: take them.
        progress
            Called with ``(done, of, node)`` before each layer, on another thread.
        check
            Whether to raise Rejected if the answers are not accepted.

        Returns
        -------
        Result

        Raises
        ------
        Rejected
            Verification failed.
        PeerError
            A server or the connection failed. The batch counts; nothing tries again.
        UsageError
            The policy cannot be met with these samples; the text says what would do. Nothing was
            sent.
        """
        if len(set(self._addresses)) < len(self._addresses):
            raise _fusion.UsageError("an address is named twice: two parts at the same time are two servers'")
        job = self._job(
            queries,
            public,
            verify=verify,
            accuracy=accuracy,
            catch=catch,
            lambda_bits=lambda_bits,
            false_reject=false_reject,
            largest_share=largest_share,
            copies=copies,
            tolerate=tolerate,
            tolerance=tolerance,
            clipped=clipped,
        )
        return self._result(self._native.run(job, progress), check)

    def _job(
        self,
        queries,
        public=None,
        *,
        verify=True,
        accuracy=1.0,
        catch=None,
        lambda_bits=40.0,
        false_reject=0.01,
        largest_share=None,
        copies=None,
        tolerate=None,
        tolerance=None,
        clipped="refuse",
    ):
        """The batch of :meth:`predict`, of which nothing has been sent."""
        samples, known = (None, None) if public is None else public
        if verify and (samples is None or known is None):
            raise _fusion.UsageError("to verify takes public=(samples, labels); verify=False trusts the server")
        if clipped not in ("refuse", "warn"):
            raise _fusion.UsageError(f"clipped is \"refuse\" or \"warn\", not {clipped!r}")
        if known is not None:
            is_value = self.plan.reveal == "value"
            known = arrays.values(known) if is_value else arrays.labels(known, self.plan.class_names)
        return self._native.job(
            arrays.samples(queries),
            None if samples is None else arrays.samples(samples),
            known,
            verify=verify,
            lambda_bits=float(lambda_bits),
            catch=catch,
            accuracy=float(accuracy),
            false_reject=float(false_reject),
            largest_share=largest_share,
            copies=copies,
            tolerate=tolerate,
            tolerance=tolerance,
            clipped=clipped,
        )

    def _result(self, ran, check):
        report, page, words, scores = ran
        result = Result(json.loads(report), page, words, scores, self.plan.class_names)
        if check and not result.accepted:
            raise Rejected(result)
        return result
