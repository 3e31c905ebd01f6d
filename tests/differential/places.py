"""Elements moved to and from places that constants say, and products of integers."""

import numpy as np

from graph import Skip
from moves import axis_of, ints
from onnx import TensorProto


def elements(op):
    def write(g):
        x = g.pick(lambda v: 1 <= v.rank <= 3)
        axis = axis_of(g, x)
        shape = [g.int(1, extent) for extent in x.shape]
        at = axis % x.rank
        # Which of two updates of one place counts is nobody's business.
        count = min(shape[at], x.shape[at])
        shape[at] = count
        indices = np.argsort(g.rng.random((*shape[:at], x.shape[at], *shape[at + 1 :])), axis=at)
        indices = np.take(indices, range(count), axis=at)
        reduction = g.choice([None, "none", "add", "mul"]) if g.has_attribute(op, "reduction") else None
        if g.opset >= 18 and reduction and g.chance(0.4):
            reduction = g.choice(["max", "min"])
        axis = None if axis == 0 and g.chance(0.5) else axis
        return g.add(op, x, indices.astype(np.int64), g.normal(shape), axis=axis, reduction=reduction)

    return write


def scatter_nd(g):
    x = g.pick(lambda v: 1 <= v.rank <= 3)
    depth = g.int(1, x.rank)
    places = int(np.prod(x.shape[:depth]))
    flat = g.rng.choice(places, g.int(1, min(3, places)), replace=False)
    indices = np.stack(np.unravel_index(flat, x.shape[:depth]), axis=-1).astype(np.int64)
    reduction = g.choice([None, "none", "add", "mul"]) if g.has_attribute("ScatterND", "reduction") else None
    if g.opset >= 18 and reduction and g.chance(0.4):
        reduction = g.choice(["max", "min"])
    return g.add("ScatterND", x, indices, g.normal((len(indices), *x.shape[depth:])), reduction=reduction)


def gather_nd(g):
    x = g.pick(lambda v: 1 <= v.rank <= 4)
    batch = g.choice([None, 0, 1]) if g.opset >= 12 and x.rank >= 2 else None
    depth = g.int(1, x.rank - (batch or 0))
    shape = [x.shape[0], g.int(1, 3)] if batch else [g.int(1, 4)]
    extents = x.shape[batch or 0 :][:depth]
    indices = np.stack([g.rng.integers(-n, n, shape) for n in extents], axis=-1)
    return g.add("GatherND", x, indices.astype(np.int64), batch_dims=batch)


def compress(g):
    x = g.pick(lambda v: v.rank >= 1)
    axis = axis_of(g, x) if g.chance(0.7) else None
    n = x.size if axis is None else x.shape[axis]
    condition = g.rng.random(g.int(1, n)) < 0.6
    condition[0] = True
    return g.add("Compress", x, condition, axis=axis)


def reverse_sequence(g):
    x = g.pick(lambda v: v.rank >= 2)
    time = g.choice([0, 1, None])
    batch = None if time in (0, None) and g.chance(0.5) else 0 if time == 1 else 1
    n, most = x.shape[1 if batch is None else batch], x.shape[time or 0]
    lengths = g.rng.integers(1, most + 1, n) if g.chance(0.5) else np.full(n, g.int(1, most))
    return g.add("ReverseSequence", x, lengths.astype(np.int64), time_axis=time, batch_axis=batch)


def center_crop_pad(g):
    x = g.pick(lambda v: v.rank >= 2)
    if g.chance(0.5):
        return g.add("CenterCropPad", x, ints(*(g.int(1, n + 2) for n in x.shape)))
    axis = axis_of(g, x, 1)
    return g.add("CenterCropPad", x, ints(g.int(1, x.shape[axis] + 2)), axes=[axis])


def scaled(g, x, kind=np.uint8):
    """A value as integers that span its range, with their scale and zero point."""
    low, high = min(0.0, float(x.data.min())), max(0.0, float(x.data.max()))
    least, most = np.iinfo(kind).min, np.iinfo(kind).max
    scale = np.float32(max(high - low, 1e-3) / (most - least))
    zero = kind(np.clip(np.round(least - low / scale), least, most))
    return scale, zero


def weights(g, *shape):
    return g.rng.integers(-127, 128, shape).astype(np.int8)


def layer(g, x, conv):
    """Weights of a convolution of x, or a matrix for it, how many of them a sum has, and attributes."""
    attributes = {}
    if conv:
        kernel = [g.int(1, min(3, n)) for n in x.shape[2:]]
        group = x.shape[1] if g.chance(0.2) else 1
        w = weights(g, group * g.int(1, 3), x.shape[1] // group, *kernel)
        attributes = {"group": group, "kernel_shape": kernel if g.chance(0.5) else None, "strides": g.choice([None, [1, 2]])}
        attributes["dilations"] = g.choice([None, [1, 1]])
        if g.chance(0.3):
            attributes["auto_pad"] = g.choice(["SAME_UPPER", "VALID"])
        elif g.chance(0.5):
            attributes["pads"] = [n - 1 for n in kernel] * 2
        inner = np.prod(w.shape[1:])
    else:
        w = weights(g, x.shape[-1], g.int(1, 5))
        inner = len(w)
    return w, inner, attributes


def q_linear(op):
    """QLinearConv and QLinearMatMul, between conversions."""

    def write(g):
        conv = op == "QLinearConv"
        x = g.pick(lambda v: v.rank == 4 and v.shape[0] == 1 if conv else v.rank >= 2)
        scale, zero = scaled(g, x)
        w, inner, attributes = layer(g, x, conv)
        w_scale = np.float32(g.real(0.5, 1) / 127 / np.sqrt(inner))
        q = g.add("QuantizeLinear", x, scale, zero, keep=False)
        real = g.add("Mul", g.add("MatMul" if not conv else "Conv", x, (w * w_scale).astype(np.float32), keep=False, **attributes), np.float32(1), keep=False)
        out_scale, out_zero = scaled(g, real)
        operands = [q, scale, zero, w, w_scale, np.int8(0), out_scale, out_zero]
        if conv and g.chance(0.4):
            operands.append(np.round(g.normal(len(w)) / (scale * w_scale)).astype(np.int32))
        y = g.add(op, *operands, keep=False, **attributes)
        return g.add("DequantizeLinear", y, out_scale, out_zero)

    return write


def integer(op):
    """ConvInteger and MatMulInteger, on data quantised by known numbers or by their own range."""

    def write(g):
        conv = op == "ConvInteger"
        x = g.pick(lambda v: v.rank == 4 and v.shape[0] == 1 if conv else v.rank >= 2)
        w, inner, attributes = layer(g, x, conv)
        w = (w.astype(np.int16) + 128).astype(np.uint8)
        w_scale = np.float32(g.real(0.5, 1) / 127 / np.sqrt(inner))
        if g.opset >= 11 and g.chance(0.6):
            q, scale, zero = g.add("DynamicQuantizeLinear", x, outputs=3, keep=False)
        else:
            scale, zero = scaled(g, x)
            q = g.add("QuantizeLinear", x, scale, zero, keep=False)
        y = g.add(op, q, w, zero, np.uint8(128), keep=False, **attributes)
        y = g.add("Cast", y, to=int(TensorProto.FLOAT), keep=False, hidden=True)
        return g.add("Mul", y, g.add("Mul", scale, w_scale, keep=False))

    return write


def dynamic(g):
    if g.opset < 11:
        raise Skip
    return integer("MatMulInteger")(g)


WRITERS = {
    "CenterCropPad": center_crop_pad,
    "Compress": compress,
    "ConvInteger": integer("ConvInteger"),
    "DynamicQuantizeLinear": dynamic,
    "GatherND": gather_nd,
    "MatMulInteger": integer("MatMulInteger"),
    "QLinearConv": q_linear("QLinearConv"),
    "QLinearMatMul": q_linear("QLinearMatMul"),
    "ReverseSequence": reverse_sequence,
    "Scatter": elements("Scatter"),
    "ScatterElements": elements("ScatterElements"),
    "ScatterND": scatter_nd,
}
