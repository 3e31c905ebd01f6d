"""Functions of each element, and arithmetic between tensors."""

import numpy as np

from graph import BOOL, Skip

# Where each function of one operand is tried.
DOMAINS = {
    "Abs": None, "Acos": (-0.9, 0.9), "Acosh": (1.1, 5), "Asin": (-0.9, 0.9), "Asinh": None, "Atan": None,
    "Atanh": (-0.9, 0.9), "Cos": (-6, 6), "Cosh": (-3, 3), "Erf": None, "Exp": (-4, 3), "HardSwish": None,
    "Identity": None, "Log": (0.05, 6), "Mish": None, "Neg": None, "Reciprocal": (0.3, 5), "Relu": None,
    "Sigmoid": None, "Sign": None, "Sin": (-6, 6), "Sinh": (-3, 3), "Softplus": None, "Softsign": None,
    "Sqrt": (0.01, 9), "Tan": (-1.2, 1.2), "Tanh": None,
}  # fmt: skip


def unary(op):
    def write(g):
        x, domain = g.pick(), DOMAINS[op]
        if domain:
            low, high = domain
            if op == "Reciprocal" and g.chance(0.3):
                low, high = -high, -low
            x = g.within(x, low, high)
        return g.add(op, x)

    return write


def parametric(op, **ranges):
    """A function with attributes, each given or left at its default."""

    def write(g):
        given = {name: g.real(*bounds) for name, bounds in ranges.items() if g.chance(0.7)}
        return g.add(op, g.pick(), **given)

    return write


def shrink(g):
    lambd = g.real(0, 1) if g.chance(0.7) else None
    bias = g.choice([None, 0.0, lambd, g.real(-0.5, 1)])
    return g.add("Shrink", g.pick(), lambd=lambd, bias=bias)


def gelu(g):
    return g.add("Gelu", g.pick(), approximate=g.choice([None, "none", "tanh"]))


def p_relu(g):
    x = g.pick()
    return g.add("PRelu", x, g.normal(broadcastable(g, x.shape), 0.5))


def clip(g):
    x = g.pick()
    low, high = sorted(g.real(-1, 1) * max(x.largest, 0.1) for _ in range(2))
    low, high = (None if g.chance(0.25) else limit for limit in (g.choice([low, 0.0]), high))
    if low is not None and high is not None and low > high:
        high = low + 1.0
    if g.opset < 11:
        return g.add("Clip", x, min=low, max=high)
    limits = [None if limit is None else np.float32(limit) for limit in (low, high)]
    return g.add("Clip", x, *limits)


def pow_(g):
    exponent = g.choice([2, 3, 0.5, 1, -1, 0, 1.5, 4, -2, -0.5])
    whole = float(exponent).is_integer()
    x = g.pick() if whole and exponent >= 0 else None
    x = g.within(x or g.pick(), *((-3, 3) if whole and exponent >= 0 else (0.4, 3)))
    kind = g.choice([np.float32, np.int64, np.int32]) if g.opset >= 12 and whole else np.float32
    shape = g.choice([(), (1,), x.shape if g.chance(0.3) else ()])
    return g.add("Pow", x, np.full(shape, exponent, kind))


def broadcastable(g, shape):
    """Some shape that broadcasts to this one."""
    kind = g.int(0, 4)
    if kind == 0:
        return ()
    if kind == 1:
        return tuple(shape)
    thinned = [extent if g.chance(0.5) else 1 for extent in shape]
    if kind == 2 and len(shape) >= 2:
        # One number for each channel.
        thinned = [1] * len(shape)
        thinned[1] = shape[1]
    if kind == 3:
        thinned = thinned[g.int(0, len(shape)) :]
    return tuple(thinned)


def other(g, x, positive=False, dtype=np.float32):
    """A second operand for x: a constant, or another value of the sample that broadcasts with it."""
    if g.chance(0.45):
        fits = lambda v: v is not x and _together(v.shape, x.shape)
        try:
            y = g.pick(fits, dtype=np.dtype(dtype))
        except Skip:
            y = x
        return g.within(y, 0.4, 4) if positive else y
    shape = broadcastable(g, x.shape)
    if g.chance(0.1) and x.rank < 4:
        shape = (1,) * (x.rank - len(shape)) + tuple(shape)
        shape = (g.int(1, 2), *shape)
    if dtype == np.bool_:
        return g.rng.random(shape) < 0.5
    c = g.normal(shape, g.choice([0.3, 1, max(x.largest, 0.1)]))
    if positive:
        c = (np.abs(c) + np.float32(0.3)) * np.float32(g.choice([-1, 1]))
    return np.asarray(c, np.float32)


def _together(a, b):
    try:
        np.broadcast_shapes(a, b)
        return True
    except ValueError:
        return False


def binary(op):
    def write(g):
        x = g.pick()
        if op == "Div" and g.chance(0.3):
            return g.add(op, other(g, x), g.within(x, 0.4, 4))
        y = other(g, x, positive=op == "Div")
        pair = (y, x) if op != "Div" and g.chance(0.3) else (x, y)
        return g.add(op, *pair)

    return write


def variadic(op):
    def write(g):
        x = g.pick()
        operands = [x, *(other(g, x) for _ in range(g.int(0, 3)))]
        if g.opset < 8:
            # No broadcasting before operator set 8.
            operands = [o for o in operands if o.shape == x.shape]
        g.rng.shuffle(operands)
        return g.add(op, *operands)

    return write


def truth(g):
    """A value of truth for each sample."""
    try:
        if g.chance(0.4):
            return g.pick(dtype=BOOL)
    except Skip:
        pass
    return compare(g.choice(["Greater", "Less"]))(g)


def compare(op):
    def write(g):
        # Numbers may be equal from operator set 11 on, truths always.
        if op == "Equal" and (g.opset < 11 or g.chance(0.2)):
            x = truth(g)
            return g.add(op, x, other(g, x, dtype=np.bool_) if g.chance(0.7) else truth(g))
        x = g.pick()
        threshold = np.float32(np.quantile(x.data, g.real(0.2, 0.8)))
        y = other(g, x) if g.chance(0.6) else threshold
        return g.add(op, *((y, x) if g.chance(0.3) else (x, y)))

    return write


def logic(op):
    def write(g):
        x = truth(g)
        if op == "Not":
            return g.add(op, x)
        y = other(g, x, dtype=np.bool_) if g.chance(0.7) else truth(g)
        return g.add(op, x, y)

    return write


def where(g):
    x = g.pick()
    if g.chance(0.3):
        condition = g.rng.random(broadcastable(g, x.shape)) < 0.5
    else:
        condition = truth(g)
    y = other(g, x)
    return g.add("Where", condition, *((x, y) if g.chance(0.5) else (y, x)))


WRITERS = {
    **{op: unary(op) for op in DOMAINS},
    **{op: binary(op) for op in ("Add", "Sub", "Mul", "Div")},
    **{op: variadic(op) for op in ("Max", "Min", "Sum", "Mean")},
    **{op: compare(op) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")},
    **{op: logic(op) for op in ("And", "Or", "Not", "Xor")},
    "Celu": parametric("Celu", alpha=(0.3, 2)),
    "Clip": clip,
    "Elu": parametric("Elu", alpha=(0.3, 2)),
    "Gelu": gelu,
    "HardSigmoid": parametric("HardSigmoid", alpha=(0.1, 0.6), beta=(0.2, 0.7)),
    "LeakyRelu": parametric("LeakyRelu", alpha=(-0.5, 1.5)),
    "PRelu": p_relu,
    "Pow": pow_,
    "Selu": parametric("Selu", alpha=(0.5, 2), gamma=(0.5, 2)),
    "Shrink": shrink,
    "Swish": parametric("Swish", alpha=(0.5, 2)),
    "ThresholdedRelu": parametric("ThresholdedRelu", alpha=(-0.5, 1)),
    "Where": where,
}
