"""What a batch proves, before there is one."""

import json

from . import _fusion


class Soundness:
    """The cheapest batch for a policy and what it proves.

    Every number of the forecast is an attribute: ``queries``, ``copies``, ``public``,
    ``tolerated``, ``positions``, ``overhead``, ``lambda_bits``, ``relabel_all_bits``,
    ``constant_bits``, ``forced_bits``, ``random_bits``, ``smallest_eps_99``, ``false_reject`` and
    others; :meth:`as_dict` has all. Infinite bits are None.
    """

    def __init__(self, forecast):
        self._forecast = forecast

    def as_dict(self):
        """All numbers by name."""
        return dict(self._forecast)

    def __getattr__(self, name):
        try:
            return self.__dict__["_forecast"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __dir__(self):
        return [*super().__dir__(), *self._forecast]

    def __repr__(self):
        bits = "unbounded" if self.lambda_bits is None else f"{self.lambda_bits:.1f} bits"
        return (
            f"R={self.queries} B={self.copies} T={self.public} u={self.tolerated}: {self.positions} positions, "
            f"{self.overhead:.2f} per query, lambda {bits}"
        )


def soundness(
    queries,
    *,
    lambda_bits=40.0,
    catch=None,
    accuracy=1.0,
    false_reject=0.01,
    classes=2,
    largest_share=None,
    copies=None,
    tolerate=None,
    available=None,
):
    """The cheapest batch that meets a policy.

    Parameters
    ----------
    queries
        Queries of the batch.
    lambda_bits
        Labels changed at chosen positions are accepted with probability at most
        ``2**-lambda_bits`` where the honest model is right.
    catch
        A server that is wrong on this part of all inputs is caught with 99 %. None demands instead
        that servers which ignore the inputs pass with at most ``2**-lambda_bits``.
    accuracy
        The honest model's, at least: everything rests on it.
    false_reject
        An honest server is rejected with at most this probability.
    classes, largest_share
        Classes of the model, and the largest part of the inputs that has one label (by default
        that of balanced classes).
    copies, tolerate
        Fixed numbers of copies and of wrong public answers, instead of the cheapest.
    available
        Public samples that there are; by default as many as it takes.

    Returns
    -------
    Soundness

    Raises
    ------
    UsageError
        No batch meets it; the text says what would.
    """
    return Soundness(
        json.loads(
            _fusion.soundness(
                queries,
                lambda_bits=lambda_bits,
                catch=catch,
                accuracy=accuracy,
                false_reject=false_reject,
                classes=classes,
                largest_share=largest_share,
                copies=copies,
                tolerate=tolerate,
                available=available,
            )
        )
    )
