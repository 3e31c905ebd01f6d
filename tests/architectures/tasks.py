"""Synthetic tasks that small networks learn in seconds: each gives inputs, one array for each input of the network, and labels."""

import numpy as np

WORDS, TOKENS, PAD = 40, 12, 0


def stripes(rng, n, classes=4, size=16):
    """Images of stripes whose direction is the class, in any colour, place and width."""
    labels = rng.integers(classes, size=n)
    angle = np.pi * labels / classes + rng.normal(0, 0.2, n)
    y, x = np.mgrid[:size, :size]
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    waves = np.sin(rng.uniform(0.9, 1.5, n)[:, None, None] * along + rng.uniform(0, 2 * np.pi, n)[:, None, None])
    images = rng.uniform(0.3, 1, (n, 3, 1, 1)) * waves[:, None] + rng.normal(0, 0.8, (n, 3, size, size))
    return [images.astype(np.float32)], labels


def stripes_and_metadata(rng, n):
    """The class is the stripes' direction, turned by what the metadata says."""
    (images,), turns = stripes(rng, n)
    metadata = rng.normal(0, 1, (n, 5)).astype(np.float32)
    return [images, metadata], np.where(metadata[:, 0] + metadata[:, 1] > 0, turns, (turns + 1) % 4)


def blobs(rng, n, size=16):
    """Images with one disc and one square; the class of each pixel is what covers it, if anything."""
    y, x = np.mgrid[:size, :size]
    centre = lambda: rng.uniform(3, size - 3, (2, n, 1, 1))
    (cy, cx), (sy, sx) = centre(), centre()
    disc = (y - cy) ** 2 + (x - cx) ** 2 < 16
    square = np.maximum(abs(y - sy), abs(x - sx)) < 3.5
    labels = np.where(square, 2, np.where(disc, 1, 0))
    shade = np.stack([labels == 1, labels == 2, labels > 0], 1) * rng.uniform(0.6, 1.2, (n, 3, 1, 1))
    return [(shade + rng.normal(0, 0.5, (n, 3, size, size))).astype(np.float32)], labels.reshape(n, -1)


def volumes(rng, n, size=8):
    """Volumes of layers that lie across one of the three axes."""
    labels = rng.integers(3, size=n)
    along = np.mgrid[:size, :size, :size][labels]
    waves = np.sin(rng.uniform(0.9, 1.5, n)[:, None, None, None] * along + rng.uniform(0, 6.3, (n, 1, 1, 1)))
    return [(waves + rng.normal(0, 4.0, (n, size, size, size)))[:, None].astype(np.float32)], labels


def series(rng, n, steps=12, features=4, classes=3):
    """Series whose frequency is the class."""
    labels = rng.integers(classes, size=n)
    speed = 0.5 + 0.5 * labels + rng.normal(0, 0.12, n)
    phase = rng.uniform(0, 2 * np.pi, (n, 1, features))
    waves = np.sin(speed[:, None, None] * np.arange(steps)[None, :, None] + phase)
    return [(waves + rng.normal(0, 0.4, waves.shape)).astype(np.float32)], labels


def texts(rng, n, classes=3):
    """Texts of whole length: word 3k+c speaks for class c, and the class with most words is the label."""
    labels = rng.integers(classes, size=n)
    words = rng.integers(1, WORDS, (n, TOKENS))
    own = 3 * rng.integers(1, WORDS // 3, (n, TOKENS)) + labels[:, None]
    return [np.where(rng.random((n, TOKENS)) < 0.3, own, words).astype(np.int64)], labels


def masked_texts(rng, n):
    """Texts of several lengths, with their masks."""
    (words,), labels = texts(rng, n)
    mask = np.arange(TOKENS) < rng.integers(6, TOKENS + 1, (n, 1))
    return [np.where(mask, words, PAD), mask.astype(np.int64)], labels


def pairs_of_texts(rng, n):
    """Two texts in one, told apart by token types: the label is the first's, whatever the second says."""
    (words,), labels = texts(rng, n)
    (others,), _ = texts(rng, n)
    first = np.arange(TOKENS) < rng.integers(5, 9, (n, 1))
    mask = np.arange(TOKENS) < rng.integers(9, TOKENS + 1, (n, 1))
    words = np.where(first, words, others)
    return [np.where(mask, words, PAD), mask.astype(np.int64), (mask & ~first).astype(np.int64)], labels


def tags(rng, n):
    """Texts of which each word has a tag of its own, 1 more after some words; a tenth of the tags are noise."""
    words = rng.integers(1, WORDS, (n, TOKENS))
    before = np.concatenate([np.zeros((n, 1), np.int64), words[:, :-1]], 1)
    tags = (words + (before > WORDS // 2)) % 3
    return [words.astype(np.int64)], np.where(rng.random(words.shape) < 0.1, rng.integers(3, size=words.shape), tags)
