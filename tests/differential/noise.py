"""Near ties: which labels survive when every tensor is a little off."""

import numpy as np
import onnx
from onnx import helper

from graph import LARGEST, reads, session

# A tensor may be off by this part of its largest value before a label counts. Tables may err by
# half of it.
NOISE = 1 / 128


def answers(outputs):
    """Each sample's label: what an ArgMax at the end says, or the first of the largest scores, or whether the only one is more likely
    than not; -1 for no numbers."""
    flat = outputs.reshape(len(outputs), -1)
    if outputs.dtype.kind == "b" or (outputs.dtype.kind == "f" and flat.shape[1] == 1):
        return (flat[:, 0] > 0.5).astype(np.int64)
    if outputs.dtype.kind == "i":
        return flat[:, 0].astype(np.int64)
    return np.where(np.isfinite(flat).all(axis=1), np.argmax(flat, axis=1), -1)


class Noise:
    """A model with a summand at every float tensor of the sample."""

    def __init__(self, model, samples):
        self.samples = samples
        values = tensors(model, samples)
        noisy = onnx.ModelProto()
        noisy.CopyFrom(model)
        graph, self.sizes = noisy.graph, {"input": (samples.shape[1:], np.abs(samples).max())}
        nodes = list(graph.node)
        del graph.node[:], graph.value_info[:]
        for node in nodes:
            graph.node.append(node)
            kept = graph.node[-1]
            for place, name in enumerate(node.output):
                value = values.get(name)
                if value is None or value.dtype != np.float32:
                    continue
                kept.output[place] = f"{name}_clean"
                graph.node.append(helper.make_node("Add", [f"{name}_clean", f"{name}_noise"], [name]))
                self.sizes[f"{name}_noise"] = value.shape[1:], largest(value)
                graph.input.append(helper.make_tensor_value_info(f"{name}_noise", 1, value.shape[1:]))
        self.scores = f"{graph.output[0].name}_noise"
        self.session = session(noisy, optimised=False)

    def labels(self, indices, draws):
        """The labels of some samples, one row for each draw of the noise."""
        rng = np.random.default_rng(0)
        return np.stack([answers(np.stack([self.output(rng, i, draw) for i in indices])) for draw in range(draws)])

    def output(self, rng, index, draw):
        feed = {}
        for name, (shape, largest) in self.sizes.items():
            # A table is off by nearly the same wherever its operand is nearly the same: every other
            # draw, by one number.
            noise = rng.uniform(-NOISE, NOISE, shape) if draw % 2 == 0 else np.full(shape, rng.choice([-NOISE, NOISE]) / 2)
            # Noise everywhere hides a single jump: x > 0 behind a ReLU. So in every third draw, it
            # is at some tensors only.
            if draw % 3 == 2 and rng.random() < 0.5:
                noise = np.zeros(shape)
            # What noise further up makes of a sample may hide that its scores are a tie: every
            # sixth, at the scores only.
            if draw % 6 == 4 and name != self.scores:
                noise = np.zeros(shape)
            feed[name] = np.asarray(noise * largest, np.float32)
        feed["input"] += self.samples[index]
        return self.session.run(None, feed)[0]


def clear(model, samples, wanted, indices, draws):
    """Those of the samples whose label no draw of the noise changes."""
    labels = Noise(model, samples).labels(indices, draws)
    return [int(i) for at, i in enumerate(indices) if (labels[:, at] == wanted[i]).all()]


def largest(value):
    """The largest absolute element, but for those that hide others."""
    size = np.abs(value)
    return size[size <= LARGEST].max(initial=0.0)


def tensors(model, samples):
    """All values that depend on the sample, first axis the samples."""
    secret, names = {"input"}, []
    for node in model.graph.node:
        if secret & set(reads(node)) and node.op_type not in ("Shape", "Size"):
            secret |= set(node.output)
            names += [name for name in node.output if name]
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    runtime = session(probed, optimised=False)
    rows = [runtime.run(names, {"input": sample}) for sample in samples]
    return {name: np.stack(column) for name, column in zip(names, zip(*rows))}
