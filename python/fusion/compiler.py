"""From models to plans."""

import io
import os
import warnings

import numpy as np

from . import _fusion, arrays
from .plan import Plan


def compile(
    model,
    calibrate=None,
    *,
    expected=None,
    input_shape=None,
    reveal="label",
    verify=True,
    queries=1024,
    accuracy=None,
    catch=None,
    network="lan",
    min_agreement=0.95,
    weight_bits=None,
    activation_bits=None,
):
    """The plan of a classifier, weights inside: the server's.

    Parameters
    ----------
    model
        An ONNX file (path) or its bytes, a ``torch.nn.Module``, or a fitted scikit-learn estimator.
    calibrate
        Samples along the first axis, like the inputs to come: number formats are chosen on them.
        They stay with the caller, but ranges and the formats show something of them. Needed for
        torch modules and estimators.
    expected
        What another runtime answers for the calibration samples: labels (whole numbers, one each:
        names of classes where the file has them, else positions) or scores. By default tract runs an ONNX file, and torch or scikit-learn their own models.
    input_shape
        The input's extents, batch first, where the model leaves them open.
    reveal
        What the client learns of each query: ``"label"``, ``"topk:K"``, ``"logits"``, ``"value"``.
    verify
        Whether clients verify; without it they trust the server.
    queries, accuracy, catch
        What the suggested batch is for; the client's own policy decides.
    network
        Protocols are chosen for it: ``"lan"``, ``"wan"``, or ``"MBIT_PER_S/RTT_MS"``.
    min_agreement
        The part of the calibration samples that must keep the float model's label, 0 to 1.
    weight_bits, activation_bits
        Number formats, if the compiler is not to choose. A layer that would be too rough gets wider weights all the same.

    Returns
    -------
    Plan

    Raises
    ------
    ModelError
        The model is not supported, with every node that is not; or fixed point loses its labels.
    UsageError
        An argument makes no sense.
    """
    samples = None if calibrate is None else arrays.samples(calibrate)
    data, answers = onnx(model, samples)
    labels, scores = judge(answers if expected is None else expected)
    native = _fusion.compile(
        data,
        samples,
        labels=labels,
        scores=scores,
        input_shape=None if input_shape is None else list(input_shape),
        reveal=reveal,
        verify=verify,
        queries=queries,
        accuracy=accuracy,
        catch=catch,
        network=network,
        min_agreement=min_agreement,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
    )
    for warning in native.warnings:
        warnings.warn(warning, stacklevel=2)
    return Plan(native)


def judge(expected):
    """Labels or scores, whichever it is, as the native half takes them."""
    if expected is None:
        return None, None
    expected = np.asarray(expected)
    if expected.ndim == 1 and np.issubdtype(expected.dtype, np.integer):
        return expected.tolist(), None
    return None, arrays.samples(expected)


def onnx(model, samples):
    """The model as the compiler reads it, bytes or the path of a file, and what it answers for the
    samples if its own library says it."""
    if isinstance(model, (bytes, str, os.PathLike)):
        return model, None
    if hasattr(model, "SerializeToString"):
        return model.SerializeToString(), None
    if samples is None:
        raise _fusion.UsageError(f"a {type(model).__name__} is exported on samples: pass calibrate=...")
    if hasattr(model, "state_dict") and hasattr(model, "forward"):
        return of_torch(model, samples)
    if hasattr(model, "predict") and hasattr(model, "get_params"):
        return of_sklearn(model, samples)
    raise _fusion.UsageError(f"a {type(model).__name__} is no model: a path, bytes, a torch module, or an estimator")


def of_torch(module, samples):
    """Exports a module by torch's own exporter, in evaluation mode, with an open batch axis."""
    import torch

    modes = {part: part.training for part in module.modules()}
    example, file = torch.from_numpy(samples[:1].copy()), io.BytesIO()
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "N"}, "y": {0: "N"}}}
    try:
        torch.onnx.export(module.eval(), (example,), file, dynamo=False, **names)
        with torch.no_grad():
            scores = module(torch.from_numpy(samples.copy())).numpy()
    finally:
        for part, training in modes.items():
            part.training = training
    # One score is the logit or the probability of the second of two classes: tract judges those.
    return file.getvalue(), scores if scores.ndim == 2 and scores.shape[1] > 1 else None


def of_sklearn(estimator, samples):
    """Exports a fitted estimator by skl2onnx; its answers are labels as the file names them, or
    their positions if those are texts."""
    from skl2onnx import to_onnx

    rows = np.ascontiguousarray(samples.reshape(len(samples), -1))
    options = {"zipmap": False} if hasattr(estimator, "predict_proba") else None
    answers = estimator.predict(rows)
    if hasattr(estimator, "classes_"):
        texts = np.asarray(estimator.classes_).dtype.kind not in "iufb"
        answers = np.searchsorted(estimator.classes_, answers) if texts else answers.astype(np.int64)
    return to_onnx(estimator, rows[:1], options=options).SerializeToString(), answers
