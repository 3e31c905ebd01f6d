#!/usr/bin/env python3
"""Writes ImageNet-sized classifiers with seeded random weights as ONNX files: for measuring
compilation, memory and traffic, which depend on shapes only. Needs numpy and onnx. All of them
together are 0.7 GB.

Kernels are drawn so that a ReLU network keeps the variance of its data (He et al., 2015);
BatchNormalization has the statistics that follow from it, with a small factor at the end of
residual branches. So activations stay within sane ranges.
"""
import argparse
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 224
CLASSES = 1000


class Network:
    def __init__(self, name):
        self.name = name
        self.rng = np.random.default_rng(1)
        self.nodes, self.weights = [], []

    def weight(self, values, name):
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name

    def node(self, op, inputs, **attributes):
        output = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x, channels_in, channels, kernel, stride=1, pad=None, groups=1, bias=False):
        shape = (channels, channels_in // groups, kernel, kernel)
        spread = np.sqrt(2.0 / np.prod(shape[1:]))
        name = f"conv{len(self.nodes)}"
        inputs = [x, self.weight(self.rng.standard_normal(shape) * spread, f"{name}.weight")]
        if bias:
            inputs.append(self.weight(self.rng.normal(0, 0.02, channels), f"{name}.bias"))
        pad = kernel // 2 if pad is None else pad
        return self.node("Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups)

    def norm(self, x, channels, gain=1.0):
        name = f"norm{len(self.nodes)}"
        scale = gain * self.rng.uniform(0.8, 1.2, channels)
        shift, mean = self.rng.normal(0, 0.1, channels), self.rng.normal(0, 0.1, channels)
        parameters = {"scale": scale, "shift": shift, "mean": mean, "variance": self.rng.uniform(0.8, 1.2, channels)}
        inputs = [self.weight(values, f"{name}.{key}") for key, values in parameters.items()]
        return self.node("BatchNormalization", [x, *inputs])

    def relu(self, x):
        return self.node("Relu", [x])

    def relu6(self, x):
        if not any(weight.name == "six" for weight in self.weights):
            self.weight(0.0, "zero")
            self.weight(6.0, "six")
        return self.node("Clip", [x, "zero", "six"])

    def pool(self, x, kernel=3, stride=2, pad=0, ceil=0):
        return self.node("MaxPool", [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=ceil)

    def dense(self, x, size_in, size):
        name = f"dense{len(self.nodes)}"
        weight = self.weight(self.rng.standard_normal((size, size_in)) * np.sqrt(1.0 / size_in), f"{name}.weight")
        return self.node("Gemm", [x, weight, self.weight(np.zeros(size), f"{name}.bias")], transB=1)

    def head(self, x, channels):
        return self.dense(self.node("Flatten", [self.node("GlobalAveragePool", [x])]), channels, CLASSES)

    def model(self):
        self.nodes[-1].output[0] = "output"
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
                 for name, shape in (("input", [3, SIDE, SIDE]), ("output", [CLASSES]))]
        graph = helper.make_graph(self.nodes, self.name, ports[:1], ports[1:], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        return model


def resnet(net, blocks, bottleneck):
    """He et al., CVPR 2016; the stride of a bottleneck is on its 3x3 convolution."""
    x = net.pool(net.relu(net.norm(net.conv("input", 3, 64, 7, 2), 64)), pad=1)
    channels = 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        out = 4 * width if bottleneck else width
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            kernels = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
            if not bottleneck:
                kernels = [(channels, width, 3, stride), (width, width, 3, 1)]
            y = x
            for at, (size_in, size, kernel, step) in enumerate(kernels):
                last = at + 1 == len(kernels)
                y = net.norm(net.conv(y, size_in, size, kernel, step), size, 0.3 if last else 1.0)
                y = y if last else net.relu(y)
            if stride != 1 or channels != out:
                x = net.norm(net.conv(x, channels, out, 1, stride), out)
            x, channels = net.relu(net.node("Add", [y, x])), out
    return net.head(x, channels)


def mobilenetv2(net):
    """Sandler et al., CVPR 2018."""
    x, channels = net.relu6(net.norm(net.conv("input", 3, 32, 3, 2), 32)), 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, out, count, first_stride in stages:
        for block in range(count):
            stride, hidden, y = first_stride if block == 0 else 1, channels * expansion, x
            if expansion != 1:
                y = net.relu6(net.norm(net.conv(y, channels, hidden, 1), hidden))
            y = net.relu6(net.norm(net.conv(y, hidden, hidden, 3, stride, groups=hidden), hidden))
            y = net.norm(net.conv(y, hidden, out, 1), out, 0.5)
            x, channels = net.node("Add", [x, y]) if stride == 1 and channels == out else y, out
    return net.head(net.relu6(net.norm(net.conv(x, channels, 1280, 1), 1280)), 1280)


def squeezenet(net, version):
    """Iandola et al., 2016."""
    x = net.conv("input", 3, 96 if version == 0 else 64, 7 if version == 0 else 3, 2, 0, bias=True)
    x, channels = net.pool(net.relu(x), ceil=1), 96 if version == 0 else 64
    pools = {2, 6} if version == 0 else {1, 3}
    for at, (squeeze, expand) in enumerate([(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]):
        s = net.relu(net.conv(x, channels, squeeze, 1, bias=True))
        parts = [net.relu(net.conv(s, squeeze, expand, kernel, bias=True)) for kernel in (1, 3)]
        x, channels = net.node("Concat", parts, axis=1), 2 * expand
        x = net.pool(x, ceil=1) if at in pools else x
    x = net.relu(net.conv(x, channels, CLASSES, 1, bias=True))
    return net.node("Flatten", [net.node("GlobalAveragePool", [x])])


def vgg16(net):
    """Simonyan and Zisserman, ICLR 2015."""
    x, channels = "input", 3
    for size, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x, channels = net.relu(net.conv(x, channels, size, 3, bias=True)), size
        x = net.pool(x, 2, 2)
    x = net.node("Flatten", [x])
    x = net.relu(net.dense(x, 512 * 7 * 7, 4096))
    return net.dense(net.relu(net.dense(x, 4096, 4096)), 4096, CLASSES)


NETWORKS = {
    "resnet18": lambda net: resnet(net, [2, 2, 2, 2], False),
    "resnet50": lambda net: resnet(net, [3, 4, 6, 3], True),
    "mobilenetv2": mobilenetv2,
    "squeezenet1_0": lambda net: squeezenet(net, 0),
    "squeezenet1_1": lambda net: squeezenet(net, 1),
    "vgg16": vgg16,
}



def arguments():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("folder", help="where NAME.onnx is written; made if there is none")
    parser.add_argument("name", nargs="*", help=f"networks: {', '.join(NETWORKS)}; by default all")
    options = parser.parse_args()
    unknown = [name for name in options.name if name not in NETWORKS]
    if unknown:
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    return options


if __name__ == "__main__":
    options = arguments()
    os.makedirs(options.folder, exist_ok=True)
    for chosen in options.name or NETWORKS:
        network = Network(chosen)
        NETWORKS[chosen](network)
        made = network.model()
        onnx.checker.check_model(made)
        path = os.path.join(options.folder, f"{chosen}.onnx")
        onnx.save(made, path)
        count = sum(int(np.prod(weight.dims)) for weight in made.graph.initializer)
        print(f"{path}: {count} parameters")
