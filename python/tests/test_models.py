"""Models as people have them."""

import warnings

import numpy as np
import pytest

import fusion


@pytest.mark.parametrize("kind", ["logistic", "forest", "pipeline"])
def test_estimators_of_scikit_learn(kind):
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    estimator = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "forest": RandomForestClassifier(10, max_depth=4, random_state=0),
        "pipeline": make_pipeline(StandardScaler(), RandomForestClassifier(5, max_depth=3, random_state=0)),
    }[kind].fit(x.to_numpy()[:300], y[:300])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        plan = fusion.compile(estimator, calibrate=x[:300])
    assert plan.agreement.startswith("300 of 300") or kind == "logistic"
    assert plan.classes == 2 and plan.input_shape == (30,)
    with fusion.Server(plan) as server:
        client = fusion.Client(plan, server.address)
        result = client.predict(x[300:320], public=(x[320:], y[320:]), accuracy=0.85, catch=0.4, lambda_bits=10)
    np.testing.assert_array_equal(result.labels, estimator.predict(x[300:320].to_numpy()))


@pytest.mark.parametrize("names", [(1, 2), (-1, 1), ("ill", "well")])
def test_labels_are_what_the_estimator_calls_them(names):
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    x, y = load_breast_cancer(return_X_y=True)
    x, y = (x - x.mean(axis=0)) / x.std(axis=0), np.asarray(names)[y]
    estimator = LogisticRegression().fit(x[:300], y[:300])
    plan = fusion.compile(estimator, calibrate=x[:300])
    assert plan.class_names == [str(name) for name in names]
    with fusion.Server(plan) as server:
        client = fusion.Client(plan, server.address)
        result = client.predict(x[300:310], public=(x[320:400], y[320:400]), accuracy=0.9, catch=0.5, lambda_bits=5)
        with pytest.raises(fusion.UsageError, match="'?nobody'?"):
            client.predict(x[300:310], public=(x[320:400], ["nobody"] * 80), accuracy=0.9, catch=0.5, lambda_bits=5)
    assert result.classes.tolist() == [str(label) for label in estimator.predict(x[300:310])]
    assert result.to_pandas()["class"].tolist() == result.classes.tolist()


def test_logits_and_ranks_are_given_where_they_are_revealed():
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).normal(size=(200, 4))
    estimator = LogisticRegression().fit(x, (x[:, 0] > 0.5).astype(int) + (x[:, 1] > 0))
    for reveal, of in [("logits", "scores"), ("topk:2", "top_labels")]:
        plan = fusion.compile(estimator, calibrate=x, reveal=reveal, verify=False)
        with fusion.Server(plan) as server:
            result = fusion.Client(plan, server.address, reveal=reveal).predict(x[:8], verify=False)
        found = getattr(result, of)
        assert found.shape[0] == 8 and (found.argmax(1) if of == "scores" else found[:, 0]).tolist() == result.labels.tolist()


def test_modules_of_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(16, 3))
    x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    plan = fusion.compile(module, calibrate=x, verify=False)
    assert module.training and plan.classes == 3
    with fusion.Server(plan) as server:
        result = fusion.Client(plan, server.address).predict(x, verify=False)
    expected = module.eval()(torch.from_numpy(x)).argmax(1).numpy()
    assert (result.labels == expected).mean() >= 0.98 and not result.verdict["verified"]


def test_regressors_reveal_values():
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    x, y = load_diabetes(return_X_y=True)
    model = Ridge().fit(x[:200], y[:200])
    plan = fusion.compile(model, calibrate=x[:200], reveal="value")
    with fusion.Server(plan) as server:
        client = fusion.Client(plan, server.address, reveal="value")
        public = x[220:], model.predict(x[220:])
        result = client.predict(x[200:220], public, tolerance=2.0, accuracy=0.98, catch=0.2, lambda_bits=10)
        with pytest.raises(fusion.UsageError, match="tolerance"):
            client.predict(x[200:220], public)
    np.testing.assert_allclose(result.values[:, 0], model.predict(x[200:220]), atol=2.0)
    assert list(result.to_pandas().columns) == ["value"]
