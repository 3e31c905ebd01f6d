"""Plans, and what they cost."""

from . import _fusion
from .page import Page


class Plan(Page):
    """What both parties execute: :func:`fusion.compile` makes one, :meth:`load` reads one.

    The server's has the weights; :meth:`client` gives what a client may have. Reading a plan
    verifies it.
    """

    def __init__(self, native):
        self._native = native

    @classmethod
    def load(cls, path):
        """Reads a plan file. Raises UsageError if it is none."""
        return cls(_fusion.Plan.load(path))

    @classmethod
    def from_bytes(cls, data):
        """Reads a plan. Raises UsageError if the bytes are none."""
        return cls(_fusion.Plan.from_bytes(data))

    def to_bytes(self):
        """The plan file."""
        return self._native.to_bytes()

    def save(self, path):
        """Writes the plan file."""
        self._native.save(path)

    def client(self):
        """The same plan without weights, for clients."""
        return Plan(self._native.client())

    def dump(self):
        """The secure program as text, one operation a line."""
        return self._native.dump()

    def cost(self, network="lan"):
        """What each layer of one position costs.

        ``network`` is ``"lan"``, ``"wan"`` or ``"MBIT_PER_S/RTT_MS"``. Bytes and rounds are exact,
        without a session's set-up and oblivious transfers; seconds are a forecast for a machine
        like this one, of one position among those that go through the layers together.

        Returns
        -------
        Cost
        """
        return Cost(self._native, network)

    @property
    def digest(self):
        """SHA-256 of what client and server must agree on, in hexadecimal."""
        return self._native.digest

    @property
    def input_shape(self):
        """The extents of one sample."""
        return tuple(self._native.input_shape)

    @property
    def classes(self):
        """How many classes there are."""
        return self._native.classes

    @property
    def class_names(self):
        """What each label is called; empty if they have no names."""
        return self._native.class_names

    @property
    def columns(self):
        """The columns of a table that a sample is made of; empty if they have no names."""
        return self._native.columns

    @property
    def reveal(self):
        """What the client learns of each query."""
        return self._native.reveal

    @property
    def is_verified(self):
        """Whether clients verify a batch."""
        return self._native.is_verified

    @property
    def has_weights(self):
        """Whether this is the server's."""
        return self._native.has_weights

    @property
    def public_constants(self):
        """How many numbers and names of the model clients are told, since they encode categories
        or fill in missing values themselves; ``fusionc dump --format json`` lists them."""
        return self._native.public_constants

    @property
    def agreement(self):
        """How often fixed point has the float model's label, in words; None of a plan that was read."""
        return self._native.agreement

    def __repr__(self):
        party = "server's" if self.has_weights else "client's"
        shape = "x".join(map(str, self.input_shape))
        public = f", {self.public_constants} public constants" if self.public_constants else ""
        return (
            f"<fusion.Plan {self.digest[:12]}: {shape} to {self.classes} classes, reveals {self.reveal}{public}, "
            f"the {party}>"
        )

    def _html(self):
        return self._native.program_page()

    def __reduce__(self):
        return Plan.from_bytes, (self.to_bytes(),)


class Cost(Page):
    """What one position of a plan costs.

    Attributes
    ----------
    layers
        Each a dict: ``node``, ``operation``, ``backend``, ``to_server``, ``to_client`` (bytes),
        ``rounds``, ``seconds``.
    bytes
        Both ways: of the layers, and of the public keys that they share.
    rounds
        Of one position by itself.
    seconds
        Forecast of one position among others.
    network
        The network that the forecast is for.
    """

    def __init__(self, native, network):
        self._native, self.network = native, network
        self.layers, self.bytes, self.rounds, self.seconds = native.cost(network)

    def to_pandas(self):
        """The layers as a data frame."""
        import pandas

        return pandas.DataFrame(self.layers)

    def __repr__(self):
        return (
            f"{self.bytes / 1e6:.3g} MB and {self.rounds} rounds per position, about {1e3 * self.seconds:.3g} ms "
            f"each on {self.network}"
        )

    def _html(self):
        return self._native.cost_page(self.network)
