"""Linear maps, pools over windows, and normalisation."""

import numpy as np

from graph import Skip


def spatial(g, least=1, most=2):
    """A value with a batch of one, channels and some spatial axes."""
    return g.pick(lambda v: least + 2 <= v.rank <= most + 2 and v.shape[0] == 1)


def window(g, extents, dilate=True, ceil=False, always_kernel=True):
    """Attributes of a window over axes of these extents: its shape and how it moves."""
    axes = len(extents)
    kernel = [g.int(1, min(4, extent + 1)) for extent in extents]
    attributes = {"kernel_shape": kernel if always_kernel or g.chance(0.7) else None}
    if g.chance(0.5):
        attributes["strides"] = [g.int(1, 3) for _ in range(axes)]
    if dilate and g.chance(0.3):
        attributes["dilations"] = [g.int(1, 2) for _ in range(axes)]
    mode = g.int(0, 4)
    if mode == 0:
        attributes["auto_pad"] = g.choice(["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
    elif mode <= 2:
        attributes["pads"] = [g.int(0, kernel[i % axes] - 1) for i in range(2 * axes)]
    if ceil and g.chance(0.4):
        attributes["ceil_mode"] = g.int(0, 1)
    return kernel, attributes


def conv(g):
    x = spatial(g)
    channels = x.shape[1]
    group = g.choice([d for d in range(1, channels + 1) if channels % d == 0]) if g.chance(0.5) else 1
    kernel, attributes = window(g, x.shape[2:], always_kernel=False)
    out = group * g.int(1, 3)
    weights = g.normal((out, channels // group, *kernel), 1 / np.sqrt(channels // group * np.prod(kernel)))
    bias = g.normal(out) if g.chance(0.5) else None
    return g.add("Conv", x, weights, bias, group=group if group > 1 or g.chance(0.3) else None, **attributes)


def conv_transpose(g):
    x = spatial(g)
    channels = x.shape[1]
    group = g.choice([d for d in range(1, channels + 1) if channels % d == 0]) if g.chance(0.4) else 1
    kernel, attributes = window(g, x.shape[2:], always_kernel=False)
    strides = attributes.get("strides")
    if strides and g.chance(0.4):
        attributes["output_padding"] = [g.int(0, stride - 1) for stride in strides]
    elif g.chance(0.15):
        attributes.pop("pads", None)
        most = zip(x.shape[2:], strides or [1] * len(kernel), kernel)
        attributes["output_shape"] = [max(1, (n - 1) * s + k - g.int(0, 2)) for n, s, k in most]
    weights = g.normal((channels, g.int(1, 3), *kernel), 1 / np.sqrt(channels * np.prod(kernel)))
    bias = g.normal(weights.shape[1] * group) if g.chance(0.5) else None
    return g.add("ConvTranspose", x, weights, bias, group=group, **attributes)


def gemm(g):
    x = g.pick(lambda v: v.rank == 2)
    transposed_x, transposed_w = g.chance(0.2), g.chance(0.5)
    rows, inner = x.shape[::-1] if transposed_x else x.shape
    columns = g.int(1, 8)
    w = g.normal((inner, columns), 1 / np.sqrt(inner))
    c = g.normal(g.choice([(), (1,), (columns,), (1, columns), (rows, columns), (rows, 1)]))
    if g.opset >= 11 and g.chance(0.25):
        c = None
    return g.add(
        "Gemm",
        x,
        np.ascontiguousarray(w.T) if transposed_w else w,
        c,
        alpha=g.real(-1, 2) if g.chance(0.3) else None,
        beta=g.real(-1, 2) if g.chance(0.3) else None,
        transA=int(transposed_x) if transposed_x or g.chance(0.2) else None,
        transB=int(transposed_w) if transposed_w or g.chance(0.2) else None,
    )


def mat_mul(g):
    x = g.pick(lambda v: v.rank >= 1)
    kind = g.int(0, 4)
    inner = x.shape[-1]
    if kind <= 1:
        batch = x.shape[:-2] if g.chance(0.2) else ()
        return g.add("MatMul", x, g.normal((*batch, inner, g.int(1, 6)), 1 / np.sqrt(inner)))
    if kind == 2 and x.rank >= 2:
        rows = x.shape[-2]
        return g.add("MatMul", g.normal((g.int(1, 6), rows), 1 / np.sqrt(rows)), x)
    if kind == 3:
        return g.add("MatMul", x, g.normal((inner,), 1 / np.sqrt(inner)))
    if x.rank < 2:
        raise Skip
    perm = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    return g.add("MatMul", x, g.add("Transpose", x, perm=perm, keep=False))


def batch_normalization(g):
    x = g.pick(lambda v: v.rank >= 2 and v.shape[0] == 1)
    per = (x.shape[1],)
    attributes = {}
    if g.opset < 9 and g.chance(0.2):
        attributes["spatial"] = g.int(0, 1)
        per = per if attributes["spatial"] else tuple(x.shape[1:])
    variance = np.abs(g.normal(per)) + np.float32(0.1)
    scale, bias, mean = g.normal(per), g.normal(per), g.normal(per)
    if g.chance(0.3):
        attributes["epsilon"] = g.choice([1e-5, 1e-2, 0.3])
    if g.chance(0.2):
        attributes["momentum"] = g.real(0, 1)
    if g.chance(0.2):
        attributes["training_mode"] = 0
    return g.add("BatchNormalization", x, scale, bias, mean, variance, **attributes)


def epsilon(g):
    return g.choice([None, 1e-5, 1e-2, 0.3])


def instance_normalization(g):
    x = spatial(g, most=3)
    per = (x.shape[1],)
    return g.add("InstanceNormalization", x, g.normal(per), g.normal(per), epsilon=epsilon(g))


def layer_normalization(g):
    x = g.pick(lambda v: v.rank >= 2)
    axis = g.int(1, x.rank - 1)
    per = tuple(x.shape[axis:])
    if g.chance(0.2):
        per = per[-1:]
    bias = g.normal(per) if g.chance(0.6) else None
    axis = g.choice([axis, axis - x.rank, None if axis == x.rank - 1 else axis])
    stash = 1 if g.chance(0.2) else None
    return g.add("LayerNormalization", x, g.normal(per), bias, axis=axis, epsilon=epsilon(g), stash_type=stash)


def group_normalization(g):
    x = spatial(g)
    channels = x.shape[1]
    groups = g.choice([d for d in range(1, channels + 1) if channels % d == 0])
    per = (groups if g.opset < 21 else channels,)
    stash = 1 if g.chance(0.2) else None
    return g.add(
        "GroupNormalization", x, g.normal(per), g.normal(per), num_groups=groups, epsilon=epsilon(g), stash_type=stash
    )


def mean_variance_normalization(g):
    x = g.pick(lambda v: v.rank == 4)
    axes = g.choice([None, [0, 2, 3], [0, 1, 2, 3], [2, 3], [1], [-1], [0, -1]])
    return g.add("MeanVarianceNormalization", x, axes=axes)


def lrn(g):
    x = spatial(g)
    given = {"alpha": (1e-4, 0.5), "beta": (0.3, 1), "bias": (0.5, 2)}
    given = {name: g.real(*bounds) for name, bounds in given.items() if g.chance(0.7)}
    return g.add("LRN", x, size=g.int(1, 5), **given)


def average_pool(g):
    x = spatial(g, most=3)
    _, attributes = window(g, x.shape[2:], ceil=True)
    if g.chance(0.5):
        attributes["count_include_pad"] = g.int(0, 1)
    return g.add("AveragePool", x, **attributes)


def max_pool(g):
    x = spatial(g, most=3)
    _, attributes = window(g, x.shape[2:], ceil=True)
    if g.opset < 10:
        attributes.pop("dilations", None)
    if g.opset >= 8 and g.chance(0.2):
        attributes["storage_order"] = g.int(0, 1)
        return g.add("MaxPool", x, outputs=2, **attributes)[0]
    return g.add("MaxPool", x, **attributes)


def lp_pool(g):
    x = spatial(g, most=3)
    _, attributes = window(g, x.shape[2:], ceil=True)
    return g.add("LpPool", x, p=g.choice([None, 1, 2, 3]), **attributes)


def whole(op):
    return lambda g: g.add(op, spatial(g, most=3))


WRITERS = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "GlobalAveragePool": whole("GlobalAveragePool"),
    "GlobalMaxPool": whole("GlobalMaxPool"),
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": lrn,
    "LayerNormalization": layer_normalization,
    "LpPool": lp_pool,
    "MatMul": mat_mul,
    "MaxPool": max_pool,
    "MeanVarianceNormalization": mean_variance_normalization,
}
