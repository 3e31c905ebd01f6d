"""Private classification with scikit-learn's interface."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y

from ._fusion import UsageError
from .compiler import compile
from .parties import Client, Server


class PrivateClassifier(ClassifierMixin, BaseEstimator):
    """A classifier whose predictions two parties make, one with the model and one with the inputs.

    Both are in this process, on loopback, so nothing is hidden from whoever calls it: it says how
    well, how fast and with what verdict an estimator would answer between two organisations, with
    scikit-learn's own tools (``cross_val_score``, ``GridSearchCV``, pipelines around it).
    Between machines there are :class:`fusion.Server` and :class:`fusion.Client`.

    Parameters
    ----------
    estimator
        A classifier that :func:`fusion.compile` takes.
    public_part
        The part of the samples of :meth:`fit` that the estimator is not trained on: the client's
        public samples.
    verify, accuracy, catch, lambda_bits, false_reject
        The client's policy, as of :meth:`fusion.Client.predict`. ``accuracy`` is the estimator's
        own, at least: a claim, and too high a one rejects an honest server.
    clipped
        ``"warn"`` answers samples beyond the input's format as they are when limited to it, so that
        a score counts what that costs; ``"refuse"`` raises :class:`fusion.UsageError`.
    random_state
        Which samples are held back.
    compile_options
        Further arguments of :func:`fusion.compile`, by name.

    Attributes
    ----------
    estimator_, classes_, n_features_in_
        The fitted estimator, its classes, and its number of features.
    plan_
        The server's plan.
    result_
        The :class:`fusion.Result` of the last prediction.

    Public samples serve every prediction again, and no ledger is kept: right for one server that is
    oneself, wrong for any other.
    """

    def __init__(
        self,
        estimator=None,
        *,
        public_part=0.25,
        verify=True,
        accuracy=0.9,
        catch=0.3,
        lambda_bits=40.0,
        false_reject=0.01,
        clipped="warn",
        random_state=None,
        compile_options=None,
    ):
        self.estimator = estimator
        self.public_part = public_part
        self.verify = verify
        self.accuracy = accuracy
        self.catch = catch
        self.lambda_bits = lambda_bits
        self.false_reject = false_reject
        self.clipped = clipped
        self.random_state = random_state
        self.compile_options = compile_options

    def fit(self, X, y):
        """Holds back public samples, trains a copy of the estimator on the others, and compiles it,
        calibrated on those.

        ``X`` has the shape (samples, features), ``y`` one class each.
        """
        X, y = check_X_y(X, y)
        split = {"test_size": self.public_part, "random_state": self.random_state, "stratify": y}
        X, public_x, y, public_y = train_test_split(X, y, **split)
        return self._compile(clone(self.estimator).fit(X, y), X, (public_x, public_y))

    def fit_calibration(self, X, public=None):
        """Compiles the estimator as it is, fitted already, calibrated on ``X``.

        ``public`` are ``(samples, classes)`` that the estimator was not trained on; without them
        there is nothing to verify with, so ``verify`` must be False.
        """
        check_is_fitted(self.estimator)
        return self._compile(self.estimator, check_array(X), public and check_X_y(*public))

    def _compile(self, estimator, X, public):
        self.estimator_, self.classes_, self.n_features_in_ = estimator, estimator.classes_, X.shape[1]
        self.plan_ = compile(estimator, calibrate=X, **{"verify": self.verify} | (self.compile_options or {}))
        self._public = public
        return self

    def predict(self, X):
        """The class of each sample, by one session of a server and a client.

        Raises :class:`fusion.Rejected` if verification fails, as it does for an estimator that is
        worse than ``accuracy`` says.
        """
        check_is_fitted(self, "plan_")
        policy = {"verify": False}
        if self.verify:
            names = ("accuracy", "catch", "lambda_bits", "false_reject")
            policy = {name: getattr(self, name) for name in names} | {"public": self._known()}
        with Server(self.plan_) as server:
            client = Client(self.plan_.client(), server.address)
            self.result_ = client.predict(check_array(X), clipped=self.clipped, **policy)
        return np.asarray(self.classes_)[self.result_.labels]

    def _known(self):
        if self._public is None:
            return None
        samples, classes = self._public
        known = np.isin(classes, self.classes_)
        if not known.all():
            unknown = np.unique(np.asarray(classes)[~known]).tolist()
            raise UsageError(f"public samples have the classes {unknown}, which the estimator does not know")
        places = np.searchsorted(self.classes_, classes)
        names = self.plan_.class_names
        return samples, [names[place] for place in places] if names else places
