"""Networks of series of numbers."""

import torch
from torch import nn

FEATURES, STEPS, CLASSES = 4, 12, 3


class Recurrent(nn.Module):
    """A recurrent layer, and a linear one of its last state or, of both directions, the mean of its states."""

    def __init__(self, kind, hidden=12, both=False, **options):
        super().__init__()
        self.layer = kind(FEATURES, hidden, batch_first=True, bidirectional=both, **options)
        self.head = nn.Linear(hidden * (1 + both), CLASSES)
        self.both = both

    def forward(self, x):
        states, _ = self.layer(x)
        return self.head(states.mean(1) if self.both else states[:, -1])


class ConvolutionAndGru(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(FEATURES, 12, 3, padding=1), nn.BatchNorm1d(12), nn.ReLU(), nn.MaxPool1d(2))
        self.gru = nn.GRU(12, 12, batch_first=True)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x):
        _, last = self.gru(self.conv(x.transpose(1, 2)).transpose(1, 2))
        return self.head(last[-1])


class FloatTransformer(nn.Module):
    """torch's own encoder on embeddings that the client computes."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(FEATURES, 24)
        self.places = nn.Parameter(0.2 * torch.randn(1, STEPS, 24))
        layer = nn.TransformerEncoderLayer(24, 2, 48, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x) + self.places).mean(1))


class EinsumAndCumSum(nn.Module):
    """Running means of features, products of pairs of them, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(0.5 * torch.randn(FEATURES, 12))
        self.head = nn.Sequential(nn.Linear(144, 24), nn.ReLU(), nn.Linear(24, CLASSES))

    def forward(self, x):
        mixed = torch.tanh(torch.einsum("btf,fh->bth", x, self.mix))
        running = torch.cumsum(mixed, 1) / 4
        pairs = torch.einsum("btg,bth->bgh", running, mixed) / 4
        return self.head(pairs.flatten(1))
