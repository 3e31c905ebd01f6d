"""Operators that move elements or change their type, and reductions over axes."""

import numpy as np

from elementwise import other
from graph import Skip
from onnx import TensorProto


def axis_of(g, x, least=0):
    """An axis, counted from either end."""
    if x.rank <= least:
        raise Skip
    axis = g.int(least, x.rank - 1)
    return axis - x.rank if g.opset >= 11 and g.chance(0.3) else axis


def ints(*numbers):
    return np.array(numbers, np.int64)


def reshape(g):
    x = g.pick()
    size, shape = x.size, []
    while size > 1 and len(shape) < 3:
        extent = g.choice([d for d in range(1, size + 1) if size % d == 0])
        shape.append(extent)
        size //= extent
    shape = [1, *shape, size] if g.chance(0.8) else [*shape, size]
    if g.chance(0.4):
        shape[g.int(0, len(shape) - 1)] = -1
    elif g.chance(0.3) and shape[0] == next(iter(x.shape), None):
        shape[0] = 0
    if g.chance(0.15) and x.rank >= 2:
        # As exporters write it: the shape is computed from another.
        dims = g.add("Shape", x, keep=False)
        first = g.add("Gather", dims, ints(0), axis=0, keep=False)
        target = g.add("Concat", first, ints(-1), axis=0, keep=False)
        return g.add("Reshape", x, target)
    return g.add("Reshape", x, ints(*shape), allowzero=g.choice([None, 0]))


def flatten(g):
    x = g.pick()
    axis = g.int(0, x.rank)
    if g.opset >= 11 and axis < x.rank and g.chance(0.3):
        axis -= x.rank
    return g.add("Flatten", x, axis=None if g.chance(0.5) else axis)


def transpose(g):
    x = g.pick(lambda v: v.rank >= 2)
    perm = [int(a) for a in g.rng.permutation(x.rank)]
    if g.chance(0.6):
        perm = [0, *(int(a) + 1 for a in g.rng.permutation(x.rank - 1))]
    return g.add("Transpose", x, perm=None if g.chance(0.1) else perm)


def concat(g):
    x = g.pick(lambda v: v.rank >= 1)
    axis = axis_of(g, x)
    operands = [x]
    for _ in range(g.int(0, 2)):
        shape = list(x.shape)
        if g.chance(0.4):
            shape[axis] = g.int(1, 3)
            operands.append(g.normal(shape))
        else:
            at = axis % x.rank
            fits = lambda v: v.rank == x.rank and all(a == b for i, (a, b) in enumerate(zip(v.shape, shape)) if i != at)
            operands.append(g.pick(fits))
    g.rng.shuffle(operands)
    return g.add("Concat", *operands, axis=axis)


def split(g):
    x = g.pick(lambda v: max(v.shape, default=0) >= 2)
    axis = g.choice([i for i, extent in enumerate(x.shape) if extent >= 2])
    extent, parts = x.shape[axis], g.int(1, min(3, x.shape[axis]))
    axis = axis - x.rank if g.opset >= 11 and g.chance(0.3) else axis
    if axis == 0 and g.chance(0.5):
        axis = None
    if g.opset >= 18 and g.chance(0.4):
        outputs = g.add("Split", x, outputs=parts, axis=axis, num_outputs=parts)
    elif extent % parts == 0 and g.opset < 18 and g.chance(0.4):
        outputs = g.add("Split", x, outputs=parts, axis=axis)
    else:
        cuts = sorted(int(c) for c in g.rng.choice(extent - 1, parts - 1, replace=False) + 1)
        sizes = np.diff([0, *cuts, extent]).tolist()
        given = [ints(*sizes)] if g.opset >= 13 else []
        outputs = g.add("Split", x, *given, outputs=parts, axis=axis, split=sizes)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return g.choice(outputs)


def slice_(g):
    x = g.pick(lambda v: v.rank >= 1)
    axes = sorted(int(a) for a in g.rng.choice(x.rank, g.int(1, min(2, x.rank)), replace=False))
    starts, ends, steps = [], [], []
    for axis in axes:
        extent = x.shape[axis]
        step = g.choice([1, 1, 1, 2, 3, -1, -2]) if g.opset >= 10 else 1
        low = g.int(0, extent - 1)
        high = g.int(low + 1, extent)
        if step > 0:
            start, end = g.choice([low, low - extent]), g.choice([high, high - extent or extent, 2**31 - 1])
        else:
            start, end = g.choice([high - 1, -1, 2**31 - 1]), g.choice([low - 1 - extent, -(2**31), low - 1 - extent])
        starts.append(start), ends.append(end), steps.append(step)
    if g.opset < 10:
        return g.add("Slice", x, starts=starts, ends=ends, axes=axes)
    if g.opset >= 10 and g.chance(0.3):
        axes = [axis - x.rank for axis in axes]
    kind = g.choice([np.int64, np.int64, np.int32])
    plain, first = all(step == 1 for step in steps), axes == list(range(len(axes)))
    axes = None if first and g.chance(0.5) else np.array(axes, kind)
    steps = None if plain and g.chance(0.7) else np.array(steps, kind)
    return g.add("Slice", x, np.array(starts, kind), np.array(ends, kind), axes, steps)


def gather(g):
    x = g.pick(lambda v: v.rank >= 1)
    axis = axis_of(g, x)
    low = -x.shape[axis] if g.opset >= 11 else 0
    shape = g.choice([(), (1,), (g.int(1, 4),), (2, 2), (1, g.int(1, 3))])
    indices = g.rng.integers(low, x.shape[axis], shape).astype(g.choice([np.int64, np.int32]))
    return g.add("Gather", x, np.asarray(indices), axis=None if axis == 0 and g.chance(0.5) else axis)


def gather_elements(g):
    x = g.pick(lambda v: v.rank >= 1)
    axis = axis_of(g, x)
    shape = [g.int(1, extent) if g.chance(0.3) else extent for extent in x.shape]
    indices = g.rng.integers(-x.shape[axis], x.shape[axis], shape)
    return g.add("GatherElements", x, indices.astype(np.int64), axis=axis)


def pad(g):
    x = g.pick(lambda v: v.rank >= 1)
    mode = g.choice([None, "constant", "constant", "reflect", "edge", "wrap"])
    if mode == "wrap" and g.opset < 19:
        mode = None
    axes = [i for i in range(x.rank) if g.chance(0.5)] or [x.rank - 1]
    low = -1 if g.chance(0.2) else 0
    most = lambda axis: 2 if mode in (None, "constant", "edge") else min(2, x.shape[axis] - 1)
    pads = {side: [g.int(low, most(i)) if i in axes else 0 for i in range(x.rank)] for side in (0, 1)}
    number = g.choice([None, g.real(-2, 2), 0.0])
    if g.opset < 11:
        return g.add("Pad", x, mode=mode, pads=pads[0] + pads[1], value=number)
    number = None if number is None else np.float32(number)
    if g.opset >= 18 and g.chance(0.4):
        short = [pads[side][i] for side in (0, 1) for i in axes]
        named = [i - x.rank if g.chance(0.3) else i for i in axes]
        return g.add("Pad", x, ints(*short), number, ints(*named), mode=mode)
    return g.add("Pad", x, ints(*pads[0], *pads[1]), number, mode=mode)


def expand(g):
    x = g.pick()
    shape = [g.int(1, 3) if extent == 1 and g.chance(0.4) else g.choice([extent, 1]) for extent in x.shape]
    if g.chance(0.3):
        shape = [g.int(1, 2), *shape]
    return g.add("Expand", x, ints(*shape))


def tile(g):
    x = g.pick(lambda v: v.rank >= 1)
    return g.add("Tile", x, ints(*(g.choice([1, 1, 2, 3]) for _ in x.shape)))


def squeeze(g):
    x = g.pick(lambda v: 1 in v.shape)
    ones = [i for i, extent in enumerate(x.shape) if extent == 1]
    axes = [i for i in ones if g.chance(0.5)] or ones[-1:]
    axes = [i - x.rank if g.opset >= 11 and g.chance(0.3) else i for i in axes]
    if g.chance(0.15):
        return g.add("Squeeze", x)
    return g.add("Squeeze", x, ints(*axes)) if g.opset >= 13 else g.add("Squeeze", x, axes=axes)


def unsqueeze(g):
    x = g.pick(lambda v: v.rank <= 3)
    rank = x.rank + g.int(1, 2)
    axes = [int(a) for a in g.rng.choice(rank, rank - x.rank, replace=False)]
    axes = [a - rank if g.opset >= 11 and g.chance(0.3) else a for a in axes]
    if g.opset < 11:
        axes.sort()
    return g.add("Unsqueeze", x, ints(*axes)) if g.opset >= 13 else g.add("Unsqueeze", x, axes=axes)


def depth_to_space(g):
    if g.chance(0.5):
        x = g.pick(lambda v: v.rank == 4 and v.shape[1] % 4 == 0)
    else:
        x = g.pick(lambda v: v.rank == 4)
        x = g.add("Tile", x, ints(1, 4, 1, 1), keep=False)
    return g.add("DepthToSpace", x, blocksize=2, mode=g.choice([None, "DCR", "CRD"]))


def space_to_depth(g):
    x = g.pick(lambda v: v.rank == 4)
    block = g.choice([1, 2, 2, 3])
    if any(extent % block for extent in x.shape[2:]):
        pads = [-extent % block for extent in x.shape[2:]]
        whole = [0] * 6 + pads
        x = g.add("Pad", x, ints(*whole), keep=False) if g.opset >= 11 else g.add("Pad", x, pads=whole, keep=False)
    return g.add("SpaceToDepth", x, blocksize=block, mode=g.choice([None, None, "DCR", "CRD"]))


def dropout(g):
    x = g.pick()
    if g.opset < 12:
        node = {"ratio": g.choice([None, 0.3])}
        return g.add("Dropout", x, **node) if g.chance(0.7) else g.add("Dropout", x, outputs=2, **node)[0]
    ratio = np.float32(0.3) if g.chance(0.5) else None
    training = np.bool_(False) if g.chance(0.3) else None
    node = {"seed": g.choice([None, 3])}
    if g.chance(0.7):
        return g.add("Dropout", x, ratio, training, **node)
    return g.add("Dropout", x, ratio, training, outputs=2, **node)[0]


# Types that a value may take on its way, and how often.
TYPES = [np.float32, np.bool_, np.bool_, np.float64, np.float16, np.int32, np.int64, np.uint8]


def cast(g):
    """To another type and back, perhaps with some work in between."""
    kind = g.choice(TYPES)
    x = g.pick() if kind != np.uint8 else g.within(g.pick(), 0, 250)
    if kind == np.bool_ and g.chance(0.7):
        x = g.add("Relu", x, keep=False)
    name = {"to": int(np_type(kind)), "saturate": g.choice([None, 1]), "round_mode": g.choice([None, None, "up"])}
    y = g.add("Cast", x, keep=False, **name)
    if kind == np.float64 and g.chance(0.4):
        y = g.add(g.choice(["Relu", "Neg", "Abs", "Exp"]), g.add("Cast", x, keep=False, **name), keep=False)
    return g.add("Cast", y, to=int(TensorProto.FLOAT))


def cast_like(g):
    x = g.pick()
    kind = g.choice([np.float32, np.bool_, np.float64, np.float16])
    given = {"saturate": g.choice([None, 1]), "round_mode": g.choice([None, None, "up"])}
    y = g.add("CastLike", x, np.zeros((1,), kind), keep=False, **given)
    return g.add("CastLike", y, g.choice([x, np.zeros((), np.float32)]))


def np_type(kind):
    from graph import element_type

    return element_type(kind)


def axes_and_flags(g, op, x):
    """Operands and attributes of a reduction."""
    axes = [i for i in range(x.rank) if g.chance(0.4)] or [x.rank - 1]
    axes = [i - x.rank if g.opset >= 11 and g.chance(0.3) else i for i in axes]
    if g.chance(0.1):
        axes = None
    attributes = {"keepdims": g.choice([None, 0, 1])}
    if g.has_attribute(op, "axes"):
        return [], {**attributes, "axes": axes}
    if axes is None:
        attributes["noop_with_empty_axes"] = g.choice([None, 0, 1])
        return [ints()] if g.chance(0.3) else [], attributes
    return [ints(*axes)], attributes


def reduction(op, low=None, high=None):
    def write(g):
        x = g.pick(lambda v: v.rank >= 1)
        if low is not None:
            x = g.within(x, low, high)
        axes, attributes = axes_and_flags(g, op, x)
        return g.add(op, x, *axes, **attributes)

    return write


def softmax(op):
    def write(g):
        x = g.pick(lambda v: v.rank >= 1)
        x = g.within(x, -6, 6) if g.chance(0.7) else x
        if op == "Softmax" and g.chance(0.3):
            return masked(g, x)
        return g.add(op, x, axis=None if g.chance(0.3) else axis_of(g, x))

    return write


def masked(g, x):
    """The softmax of scores of which some are hidden, as attention writes it."""
    hides = np.float32(g.choice([-1e4, -1e9, -np.inf, np.finfo(np.float32).min]))
    rows = g.choice([x.shape[-1:], x.shape])
    hidden = g.rng.random(rows) < 0.4
    # Something is left of every row.
    hidden[..., g.int(0, x.shape[-1] - 1)] = False
    if g.opset >= 9 and g.chance(0.5):
        operands = (hidden, hides, x) if g.chance(0.5) else (~hidden, x, hides)
        y = g.add("Where", *operands, keep=False, hidden=True)
    else:
        y = g.add("Add", x, np.where(hidden, hides, np.float32(0)), keep=False, hidden=True)
    return g.add("Softmax", y, axis=x.rank - 1)


def number_always(g):
    """Attention as torch exports it: zeros where a row of scores is masked entirely."""
    x = g.pick(lambda v: v.rank >= 1)
    y = masked(g, g.within(x, -6, 6))
    none = g.add("IsNaN", y, keep=False)
    return g.add("Where", none, np.float32(0), y)


def quantised(g):
    """QuantizeLinear and DequantizeLinear that span the tensor's range."""
    x = g.pick()
    signed = g.chance(0.5)
    kind = np.int8 if signed else np.uint8
    if g.opset >= 21 and g.chance(0.2):
        kind = np.int16 if signed else np.uint16
    steps = np.iinfo(kind).max - np.iinfo(kind).min
    low, high = float(x.data.min()), float(x.data.max())
    scale = np.float32(max(high - low, 1e-3) / steps * g.choice([1.0, 1.0, 0.5, 1.5]))
    zero = int(np.clip(np.round(np.iinfo(kind).min - low / scale), np.iinfo(kind).min, np.iinfo(kind).max))
    per_tensor = g.choice([(), (1,)]) if g.chance(0.2) else ()
    attributes = {}
    rows = x.rank >= 2 and g.opset >= 13 and g.chance(0.1)
    if rows:
        attributes["axis"] = g.choice([1, None])
        per_tensor = (x.shape[1],)
    point = np.full(per_tensor, 0 if g.chance(0.3) else zero, kind)
    scale = np.full(per_tensor, scale, np.float32)
    bare = g.chance(0.15) and kind == np.uint8 and not point.any()
    operands = [scale] if bare else [scale, point]
    if g.opset >= 21 and g.chance(0.3):
        attributes["output_dtype"] = int(np_type(kind))
    if g.chance(0.1):
        attributes["saturate"] = 1
    if g.chance(0.1):
        attributes["precision"] = g.choice([0, int(TensorProto.FLOAT)])
    q = g.add("QuantizeLinear", x, *operands, keep=False, **attributes)
    attributes.pop("output_dtype", None)
    if g.opset >= 23 and g.chance(0.2):
        attributes["output_dtype"] = int(TensorProto.FLOAT)
    # Other numbers than the integer was made with make it another number.
    if not rows and not bare and g.chance(0.2):
        operands = [scale * np.float32(g.real(0.5, 2)), np.full(per_tensor, zero, kind)]
    return g.add("DequantizeLinear", q, *operands, **attributes)


def quantised_weights(g):
    """A product with dequantised weights, one scale each or one for each column."""
    x = g.pick(lambda v: v.rank >= 2)
    columns = g.int(2, 5)
    kind = g.choice([np.int8, np.uint8])
    info = np.iinfo(kind)
    w = g.rng.integers(info.min, info.max, (x.shape[-1], columns), endpoint=True).astype(kind)
    per_column = g.opset >= 13 and g.chance(0.5)
    shape = (columns,) if per_column else ()
    given = {"axis": g.choice([1, -1, None]) if per_column else None}
    inner = w.shape[0]
    if g.opset >= 21 and inner % 2 == 0 and g.chance(0.3):
        # One scale for each two rows.
        shape, given = (inner // 2, columns), {"axis": 0, "block_size": 2}
    if g.chance(0.1):
        given["output_dtype"] = int(TensorProto.FLOAT)
    scale = np.asarray(np.abs(g.normal(shape)) * 0.01 + 0.002, np.float32)
    zero = np.full(shape, 128 if kind == np.uint8 else 0, kind)
    w = g.add("DequantizeLinear", w, scale, zero, keep=False, **given)
    return g.add("MatMul", x, w)


REDUCTIONS = {
    "ReduceL1": (), "ReduceL2": (), "ReduceLogSum": (0.1, 3), "ReduceLogSumExp": (-3, 3), "ReduceMax": (),
    "ReduceMean": (), "ReduceMin": (), "ReduceProd": (0.5, 1.5), "ReduceSum": (), "ReduceSumSquare": (-3, 3),
}  # fmt: skip

WRITERS = {
    **{op: reduction(op, *limits) for op, limits in REDUCTIONS.items()},
    **{op: softmax(op) for op in ("Softmax", "LogSoftmax")},
    "Cast": cast,
    "CastLike": cast_like,
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "DequantizeLinear": quantised_weights,
    "Dropout": dropout,
    "Expand": expand,
    "Flatten": flatten,
    "IsNaN": number_always,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Pad": pad,
    "QuantizeLinear": quantised,
    "Reshape": reshape,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
