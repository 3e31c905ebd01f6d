"""Recurrent layers, resized images, volumes."""

import numpy as np

from graph import Skip
from moves import axis_of, ints

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
# Functions of gates, with the numbers that each takes.
FUNCTIONS = {
    "Relu": (), "Tanh": (), "Sigmoid": (), "Softsign": (), "Softplus": (), "Affine": ((0.3, 1), (-0.5, 0.5)), "LeakyRelu": ((0.1, 0.5),),
    "ThresholdedRelu": ((0, 0.5),), "ScaledTanh": ((0.3, 1), (0.5, 1.5)), "HardSigmoid": ((0.1, 0.3), (0.3, 0.6)), "Elu": ((0.3, 1),),
}  # fmt: skip


def recurrent(op):
    def write(g):
        x = g.pick(lambda v: v.rank == 3 and v.shape[0] <= 8)
        if x.shape[0] == 1 and g.chance(0.7):
            x = g.add("Transpose", x, perm=[1, 0, 2], keep=False)
        steps, batch, features = x.shape
        if steps > 8 or features == 0:
            raise Skip
        hidden, rows = g.int(1, 5), GATES[op]
        direction = g.choice([None, "forward", "reverse", "bidirectional"])
        n = 2 if direction == "bidirectional" else 1
        rows *= hidden
        x = g.within(x, -3, 3) if g.chance(0.5) else x
        w, r = g.normal((n, rows, features), 1 / np.sqrt(features)), g.normal((n, rows, hidden), 0.7 / np.sqrt(hidden))
        bias = g.normal((n, 2 * rows), 0.5) if g.chance(0.6) else None
        lengths = np.full(batch, g.choice([steps, steps, g.int(1, steps)]), np.int32) if g.chance(0.2) else None
        state = g.normal((n, batch, hidden), g.choice([0.0, 0.5])) if g.chance(0.3) else None
        operands = [x, w, r, bias, lengths, state]
        if op == "LSTM":
            operands.append(g.normal((n, batch, hidden), 0.5) if state is not None else None)
            operands.append(g.normal((n, 3 * hidden), 0.5) if g.chance(0.2) else None)
        given = {"hidden_size": hidden, "direction": direction}
        if op == "GRU":
            given["linear_before_reset"] = g.choice([None, 0, 1])
        if g.chance(0.3):
            names = [g.choice(sorted(FUNCTIONS)) for _ in range({"RNN": 1, "GRU": 2, "LSTM": 3}[op] * n)]
            numbers = [[g.real(*limits) for limits in FUNCTIONS[name]] for name in names]
            given["activations"] = names
            given["activation_alpha"] = [some[0] for some in numbers if some] or None
            given["activation_beta"] = [some[1] for some in numbers if len(some) > 1] or None
        found = g.add(op, *operands, outputs=3 if op == "LSTM" else 2, **given)
        return g.choice(found)

    return write


def resize(g):
    x = g.pick(lambda v: v.rank == 4 and v.shape[0] == 1)
    mode = g.choice([None, "nearest", "linear", "cubic"])
    to = [1, 1, *(g.choice([0.5, 1, 1.25, 1.5, 2, 3]) for _ in x.shape[2:])]
    if g.opset < 11:
        mode = "nearest" if mode == "cubic" else mode
        whole = [max(1, factor) for factor in to] if mode != "linear" else to
        return g.add("Resize", x, np.array(whole, np.float32), mode=mode)
    transformations = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize", None]
    if g.opset >= 19:
        transformations.append("half_pixel_symmetric")
    given = {"mode": mode, "coordinate_transformation_mode": g.choice(transformations)}
    corners = given["coordinate_transformation_mode"] in ("align_corners", "tf_crop_and_resize")
    region = None
    if given["coordinate_transformation_mode"] == "tf_crop_and_resize":
        low, high = [g.real(-0.1, 0.4) for _ in range(2)], [g.real(0.6, 1.1) for _ in range(2)]
        region = np.array([0, 0, *low, 1, 1, *high], np.float32)
        given["extrapolation_value"] = g.choice([None, g.real(-1, 1)])
    elif g.opset < 13:
        region = np.zeros(0, np.float32)
    if mode in (None, "nearest"):
        given["nearest_mode"] = g.choice([None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    if mode == "cubic":
        given["cubic_coeff_a"] = g.choice([None, -0.5, -0.75])
        given["exclude_outside"] = g.choice([None, 0, 1])
    if g.chance(0.5) or corners:
        extents = [g.int(1, 2 * n) for n in x.shape[2:]]
        none = np.zeros(0, np.float32) if g.opset < 13 else None
        if g.opset >= 18 and region is None and g.chance(0.5):
            given["keep_aspect_ratio_policy"] = g.choice([None, "stretch", "not_larger", "not_smaller"])
            return g.add("Resize", x, region, none, ints(*extents), axes=[2, g.choice([3, -1])], **given)
        return g.add("Resize", x, region, none, ints(*x.shape[:2], *extents), **given)
    if g.opset >= 18 and g.chance(0.2):
        given["antialias"] = 0
    return g.add("Resize", x, region, np.array(to, np.float32), **given)


def upsample(g):
    x = g.pick(lambda v: v.rank == 4 and v.shape[0] == 1)
    scales = [1.0, 1.0, *(g.choice([1.0, 1.5, 2.0, 3.0]) for _ in x.shape[2:])]
    mode = g.choice([None, "nearest", "linear"])
    if g.opset < 9:
        return g.add("Upsample", x, scales=scales, mode=mode)
    return g.add("Upsample", x, np.array(scales, np.float32), mode=mode)


def cum_sum(g):
    x = g.pick(lambda v: v.rank >= 1)
    axis = axis_of(g, x)
    return g.add("CumSum", x, np.int64(axis), exclusive=g.choice([None, 0, 1]), reverse=g.choice([None, 0, 1]))


def hardmax(g):
    x = g.pick(lambda v: v.rank >= 1)
    return g.add("Hardmax", x, axis=None if g.chance(0.3) else axis_of(g, x))


def top_k(g):
    x = g.pick(lambda v: v.rank >= 1)
    axis = None if g.chance(0.3) else axis_of(g, x)
    if g.opset < 10:
        return g.add("TopK", x, outputs=2, axis=axis, k=1)[0]
    given = {"largest": g.choice([None, 0, 1]), "sorted": g.choice([None, 1])}
    return g.add("TopK", x, ints(1), outputs=2, axis=axis, **given)[0]


def einsum(g):
    x = g.pick(lambda v: 2 <= v.rank <= 4)
    letters = "abcdefgh"[: x.rank]
    kind = g.int(0, 3)
    if kind == 0:
        kept = [c for c in letters if g.chance(0.6)] or [letters[0]]
        g.rng.shuffle(kept)
        return g.add("Einsum", x, equation=f"{letters}->{''.join(kept)}")
    if kind == 1:
        w = g.normal((x.shape[-1], g.int(1, 5)), 1 / np.sqrt(x.shape[-1]))
        return g.add("Einsum", x, w, equation=g.choice([f"...{letters[-1]},{letters[-1]}z->...z", f"{letters},{letters[-1]}z"]))
    both = [c for c in letters if g.chance(0.5)] or [letters[-1]]
    extents = [x.shape[letters.index(c)] for c in both]
    w = g.normal((*extents, g.int(1, 3)), 1 / np.sqrt(np.prod(extents)))
    out = [c for c in letters if c not in both or g.chance(0.3)] + ["z"]
    g.rng.shuffle(out)
    return g.add("Einsum", x, w, equation=f"{letters}, {''.join(both)}z -> {''.join(out)}")


WRITERS = {
    **{op: recurrent(op) for op in GATES},
    "CumSum": cum_sum,
    "Einsum": einsum,
    "Hardmax": hardmax,
    "Resize": resize,
    "TopK": top_k,
    "Upsample": upsample,
}
