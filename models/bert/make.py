#!/usr/bin/env python3
"""Writes a BERT classifier with seeded random weights as an ONNX file, and token ids beside it: for
measuring compilation, memory, traffic and time, which depend on shapes only. Needs torch and
transformers. BERT-base with a vocabulary of 1000 is 0.35 GB.
"""
import argparse
import pathlib

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

TOKENS = 128
CALIBRATION, QUERIES = 4, 12


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.m = model

    def forward(self, input_ids):
        return self.m(input_ids=input_ids).logits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, metavar="MODEL.onnx",
                        help="token ids go to MODEL.cal.npy and MODEL.in.npy")
    parser.add_argument("--layers", type=int, default=12, help="encoder layers (default: 12, BERT-base)")
    parser.add_argument("--vocabulary", type=int, default=1000, help="tokens that there are (default: 1000)")
    arguments = parser.parse_args()

    torch.manual_seed(17)
    config = BertConfig(num_hidden_layers=arguments.layers, vocab_size=arguments.vocabulary, num_labels=2,
                        attn_implementation="eager")
    model = Logits(BertForSequenceClassification(config).eval())
    ids = torch.randint(0, arguments.vocabulary, (1, TOKENS))
    torch.onnx.export(model, (ids,), arguments.out, dynamo=False, input_names=["input_ids"], output_names=["logits"],
                      opset_version=17)

    shape = (CALIBRATION + QUERIES, TOKENS)
    rows = np.random.default_rng(3).integers(0, arguments.vocabulary, shape).astype(np.int64)
    np.save(arguments.out.with_suffix(".cal.npy"), rows[:CALIBRATION])
    np.save(arguments.out.with_suffix(".in.npy"), rows[CALIBRATION:])


if __name__ == "__main__":
    main()
