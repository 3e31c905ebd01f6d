#!/usr/bin/env python3
"""Small networks of many architectures, exported from torch both ways, through fusionc: does each compile, and are the labels onnxruntime's? See README.md."""

import argparse
import collections
import csv
import pathlib
import re
import subprocess
import sys
import warnings

import numpy as np
import onnxruntime
import torch
from torch import nn

import images
import sequences
import tasks
import texts

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPORTERS = {"default": {"dynamo": True}, "TorchScript": {"dynamo": False}}
CALIBRATED, TRAINED, HELD_OUT = 128, 2000, 400

# Of networks that give several rows of scores, `row` is the one that is asked for.
Architecture = collections.namedtuple("Architecture", "title build task row", defaults=(None,))
# `unwritten` is why torch's exporter gave no file, `refusal` why fusionc gave no plan.
Outcome = collections.namedtuple("Outcome", "unwritten refusal right same rows traffic rounds", defaults=("", "", 0, 0, 0, "", ""))


def recurrent(kind, **options):
    return lambda: sequences.Recurrent(kind, **options)


MIDDLE = 16 * 8 + 8
ARCHITECTURES = {
    "vit_class_token": Architecture("ViT with a class token (torchvision)", images.vit_class_token, tasks.stripes),
    "vit_mean": Architecture("ViT, mean of patches (timm)", images.vit_mean, tasks.stripes),
    "mixer": Architecture("MLP-Mixer (timm)", images.mixer, tasks.stripes),
    "convnext": Architecture("ConvNeXt (torchvision)", images.convnext, tasks.stripes),
    "mobilenet_v3": Architecture("MobileNetV3: HardSwish, squeeze and excitation (torchvision)", images.mobilenet_v3, tasks.stripes),
    "efficientnet": Architecture("EfficientNet: SiLU, squeeze and excitation (torchvision)", images.efficientnet, tasks.stripes),
    "resnet": Architecture("ResNet (timm)", images.resnet, tasks.stripes),
    "densenet": Architecture("DenseNet (torchvision)", images.densenet, tasks.stripes),
    "cnn_3d": Architecture("CNN of volumes", images.cnn_3d, tasks.volumes),
    "unet_nearest": Architecture("U-Net, nearest upsampling, one pixel's label", lambda: images.UNet("nearest"), tasks.blobs, MIDDLE),
    "unet_bilinear": Architecture("U-Net, bilinear upsampling, one pixel's label", lambda: images.UNet("bilinear"), tasks.blobs, MIDDLE),
    "two_inputs": Architecture("image and metadata, two inputs", images.ImageAndMetadata, tasks.stripes_and_metadata),
    "lstm": Architecture("LSTM", recurrent(nn.LSTM), tasks.series),
    "lstm_both": Architecture("LSTM of both directions", recurrent(nn.LSTM, both=True), tasks.series),
    "gru": Architecture("GRU", recurrent(nn.GRU), tasks.series),
    "gru_both": Architecture("GRU of both directions", recurrent(nn.GRU, both=True), tasks.series),
    "rnn": Architecture("RNN, tanh", recurrent(nn.RNN), tasks.series),
    "conv_gru": Architecture("1-D convolution and GRU", sequences.ConvolutionAndGru, tasks.series),
    "float_transformer": Architecture("transformer encoder of float embeddings (torch.nn)", sequences.FloatTransformer, tasks.series),
    "einsum_cumsum": Architecture("Einsum and CumSum", sequences.EinsumAndCumSum, tasks.series),
    "bert": Architecture("BERT: token ids, attention mask, token types (transformers)", texts.bert, tasks.pairs_of_texts),
    "distilbert": Architecture("DistilBERT: token ids, attention mask (transformers)", texts.distilbert, tasks.masked_texts),
    "roberta": Architecture("RoBERTa: token ids, attention mask, places given (transformers)", texts.roberta, tasks.masked_texts),
    "deberta": Architecture("DeBERTa: relative positions (transformers)", texts.deberta, tasks.masked_texts),
    "modernbert": Architecture("ModernBERT: rotary, attention to near words (transformers)", texts.modernbert, tasks.masked_texts),
    "t5": Architecture("T5's encoder: relative biases, RMSNorm (transformers)", texts.t5, tasks.masked_texts),
    "minilm": Architecture("MiniLM-like: unit mean of states, classifier (transformers)", texts.minilm, tasks.masked_texts),
    "llama": Architecture("Llama: grouped queries, RMSNorm, SiLU, rotary, causal (transformers)", texts.llama, tasks.texts),
    "gpt2": Architecture("GPT-2: causal, learnt places (transformers)", texts.gpt2, tasks.texts),
    "tagger": Architecture("token tagger, one token's label (transformers)", texts.tagger, tasks.tags, 5),
}


def main():
    options = arguments()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    names = options.only.split(",") if options.only else list(ARCHITECTURES)
    print("| architecture | exporter | compiled | float is right | labels are onnxruntime's | bytes | rounds |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    short = 0
    for name in names:
        architecture, folder = ARCHITECTURES[name], options.out / name
        if not (options.reuse and (folder / "held_out.npz").exists()):
            folder.mkdir(parents=True, exist_ok=True)
            prepare(architecture, folder, options)
        outcomes = {exporter: judge(architecture, folder, exporter, options) for exporter in EXPORTERS}
        if len(set(outcomes.values())) == 1:
            outcomes = {"both": outcomes["default"]}
        for exporter, outcome in outcomes.items():
            print(line(architecture, exporter, outcome), flush=True)
            short += bool(outcome.refusal) or outcome.same < options.least * outcome.rows
    sys.exit(f"{short} exports were refused or have too few labels" if short else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fusionc", type=pathlib.Path, default=ROOT / "target/release/fusionc")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/architectures", help="where networks, samples and plans go")
    parser.add_argument("--only", metavar="NAME,..", help="of " + ", ".join(ARCHITECTURES))
    parser.add_argument("--reuse", action="store_true", help="take networks that lie in --out already")
    parser.add_argument("--open-batch", action="store_true", help="export with a batch axis of any extent instead of 1")
    parser.add_argument("--steps", type=int, default=500, help="of training")
    parser.add_argument("--least", type=float, default=0.98, metavar="PART", help="fail if fewer labels of an export are onnxruntime's")
    return parser.parse_args()


def prepare(architecture, folder, options):
    """Trains a network, exports it both ways, and writes samples for calibration and others to compare."""
    torch.manual_seed(1)
    network = architecture.build()
    train(network, *architecture.task(np.random.default_rng(2), TRAINED), options.steps)
    calibrate, _ = architecture.task(np.random.default_rng(3), CALIBRATED)
    np.save(folder / "calibrate.npy", joined(calibrate))
    held_out, labels = architecture.task(np.random.default_rng(4), HELD_OUT)
    np.save(folder / "held_out.npy", joined(held_out))
    for exporter, how in EXPORTERS.items():
        failed = folder / f"{exporter}.failed"
        failed.unlink(missing_ok=True)
        try:
            export(network, held_out, folder / f"{exporter}.onnx", how, options.open_batch)
        except Exception as why:
            while why.__cause__:
                why = why.__cause__
            failed.write_text(f"{type(why).__name__}: {' '.join(str(why).split())[:200]}")
    np.savez(folder / "held_out.npz", *held_out, labels=labels)


def train(network, inputs, labels, steps):
    rng = np.random.default_rng(5)
    optimizer = torch.optim.Adam(network.parameters(), 4e-3)
    network.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 20, 2 * (1 - step / steps))
        rows = rng.integers(len(labels), size=64)
        scores = network(*(torch.from_numpy(part[rows]) for part in inputs))
        loss = nn.functional.cross_entropy(scores.flatten(0, -2), torch.from_numpy(labels[rows].reshape(-1)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.eval()


def joined(inputs):
    """Samples as fusionc takes them: several inputs are one, one after the other."""
    if len(inputs) == 1:
        return inputs[0]
    return np.concatenate([part.reshape(len(part), -1) for part in inputs], 1)


def export(network, inputs, path, how, open_batch):
    names = [f"input{place}" for place in range(len(inputs))]
    # An example of two samples, since torch takes an extent of 1 for fixed.
    example = tuple(torch.from_numpy(part[: 1 + open_batch]) for part in inputs)
    batch = {}
    if open_batch and how["dynamo"]:
        batch["dynamic_shapes"] = tuple({0: "batch"} for _ in inputs)
    elif open_batch:
        batch["dynamic_axes"] = {name: {0: "batch"} for name in [*names, "scores"]}
    torch.onnx.export(network, example, str(path), input_names=names, output_names=["scores"], verbose=False, **how, **batch)


def judge(architecture, folder, exporter, options):
    """Compiles one export and holds the labels of samples that it was not calibrated on against onnxruntime's."""
    failed = folder / f"{exporter}.failed"
    if failed.exists():
        return Outcome(unwritten=failed.read_text())
    row = ["--row", architecture.row] if architecture.row is not None else []
    plan = folder / f"{exporter}.bin"
    compiled = fusionc(options, "compile", folder / f"{exporter}.onnx", "--calibrate", folder / "calibrate.npy", *row, "-o", plan)
    (folder / f"{exporter}.log").write_text(compiled.stdout + compiled.stderr)
    if compiled.returncode != 0:
        return Outcome(refusal=compiled.stderr.strip() or f"exit code {compiled.returncode}")
    evaluated = fusionc(options, "eval", plan, "--input", folder / "held_out.npy")
    if evaluated.returncode != 0:
        return Outcome(refusal=f"eval: {evaluated.stderr.strip()}")
    fixed = np.array([int(row["label"]) for row in csv.DictReader(evaluated.stdout.splitlines())])
    expected, right = float_labels(architecture, folder, exporter)
    traffic, rounds = re.search(r"^cost +(.*?) and (\d+) rounds per position", compiled.stdout, re.M).groups()
    return Outcome("", "", right, int((fixed == expected).sum()), len(expected), traffic, rounds)


def fusionc(options, *arguments):
    return subprocess.run([str(part) for part in (options.fusionc.resolve(), *arguments)], capture_output=True, text=True)


def float_labels(architecture, folder, exporter):
    """What onnxruntime answers, and how often that is right."""
    session = onnxruntime.InferenceSession(str(folder / f"{exporter}.onnx"))
    samples = np.load(folder / "held_out.npz")
    inputs = [samples[f"arr_{place}"] for place in range(len(samples.files) - 1)]
    names = [given.name for given in session.get_inputs()]
    answer = lambda at: session.run(None, dict(zip(names, (part[at : at + 1] for part in inputs), strict=True)))[0]
    scores = np.concatenate([answer(at) for at in range(len(inputs[0]))])
    rows = scores.reshape(len(scores), -1, scores.shape[-1])
    labels, true = rows[:, architecture.row or 0].argmax(1), samples["labels"].reshape(len(scores), -1)
    shares = np.bincount(labels) / len(labels)
    if shares.max() > 0.75:
        sys.exit(f"{folder.name}: one label has {shares.max():.0%} of the samples, which says little")
    return labels, (labels == true[:, architecture.row or 0]).mean()


def line(architecture, exporter, outcome):
    cells = [architecture.title, exporter]
    if outcome.unwritten:
        cells += [f"torch writes no file: {outcome.unwritten}", "", "", "", ""]
    elif outcome.refusal:
        cells += [f"refused: {' '.join(outcome.refusal.split())}", "", "", "", ""]
    else:
        cells += ["yes", f"{outcome.right:.0%}", f"{outcome.same} of {outcome.rows}", outcome.traffic, outcome.rounds]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
