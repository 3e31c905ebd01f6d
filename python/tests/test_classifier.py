"""Private classification with scikit-learn's own tools."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fusion

POLICY = {"accuracy": 0.85, "catch": 0.45, "lambda_bits": 10}


@pytest.fixture(scope="module")
def data():
    x, y = load_breast_cancer(return_X_y=True)
    return x[:400], np.asarray(["ill", "well"])[y[:400]]


def classifier(**parameters):
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    return fusion.PrivateClassifier(estimator, random_state=0, **POLICY | parameters)


def test_it_answers_as_its_estimator_does_and_says_what_was_verified(data):
    x, y = data
    private = classifier().fit(x[:300], y[:300])
    found = private.predict(x[300:320])
    np.testing.assert_array_equal(found, private.estimator_.predict(x[300:320]))
    assert private.result_.accepted and private.result_.verdict["verified"]
    assert private.score(x[300:320], y[300:320]) == (found == y[300:320]).mean()
    assert private.n_features_in_ == 30 and private.classes_.tolist() == ["ill", "well"]
    # The estimator has not seen what it is judged by.
    assert 0 < private.result_.verdict["public_total"] <= 75
    assert private.estimator_.named_steps["standardscaler"].n_samples_seen_ == 225


def test_public_samples_of_other_classes_are_named(data):
    x, y = data
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:200], y[:200])
    other = np.where(y[200:300] == "ill", "dead", y[200:300])
    private = fusion.PrivateClassifier(estimator, **POLICY).fit_calibration(x[:200], (x[200:300], other))
    with pytest.raises(fusion.UsageError, match="dead"):
        private.predict(x[300:304])


def test_cross_validation_goes_through_both_parties(data):
    scores = cross_val_score(classifier(), *data, cv=2, error_score="raise")
    assert scores.shape == (2,) and (scores > 0.9).all()


def test_parameters_are_searched_like_any_others(data):
    one = classifier(public_part=0.3)
    assert one.get_params()["public_part"] == 0.3 and "estimator__logisticregression__C" in one.get_params()
    assert clone(one).set_params(catch=0.35).catch == 0.35
    grid = {"estimator__logisticregression__C": [1e-4, 1.0]}
    with pytest.warns(UserWarning, match="REJECTED"):
        search = GridSearchCV(classifier(), grid, cv=2, refit=False).fit(*data)
    # The first is worse than claimed: rejected, it has no score.
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    assert search.best_params_ == {"estimator__logisticregression__C": 1.0}


def test_an_estimator_that_is_worse_than_claimed_is_rejected(data):
    x, y = data
    lies = np.random.default_rng(0).permutation(y)
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:200], lies[:200])
    private = fusion.PrivateClassifier(estimator, **POLICY).fit_calibration(x[:200], (x[200:], y[200:]))
    with pytest.raises(fusion.Rejected):
        private.predict(x[:5])


def test_a_fitted_estimator_is_taken_as_it_is(data):
    x, y = data
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:200], y[:200])
    private = fusion.PrivateClassifier(estimator, **POLICY).fit_calibration(x[:200], (x[200:280], y[200:280]))
    np.testing.assert_array_equal(private.predict(x[280:300]), estimator.predict(x[280:300]))
    trusting = fusion.PrivateClassifier(estimator, verify=False).fit_calibration(x[:200])
    np.testing.assert_array_equal(trusting.predict(x[280:300]), estimator.predict(x[280:300]))
    assert not trusting.result_.verdict["verified"]
    with pytest.raises(fusion.UsageError, match="public="):
        fusion.PrivateClassifier(estimator).fit_calibration(x[:200]).predict(x[280:300])
