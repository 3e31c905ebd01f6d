#!/usr/bin/env bash
# onnxruntime-extensions, Tokenizer: digits that should stand alone are merged.
#
# Guess: pp_api.Tokenizer gives the ids of tokenizers for the same folder, or refuses it.
# Seen:  onnxruntime-extensions 0.15.2 ignores Digits before ByteLevel: numbers are merged where the
#        file has merges for them.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    onnxruntime-extensions==0.15.2 tokenizers==0.23.3
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import json
from importlib.metadata import version

from onnxruntime_extensions.pp_api import Tokenizer as Extensions
from tokenizers import Tokenizer, models, pre_tokenizers

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level(merges, words=(), **options):
    """A tokenizer as GPT-2's, with few merges. The first 256 ids are the bytes' characters."""
    vocabulary = {character: at for at, character in enumerate(ALPHABET)}
    for pair in merges:
        vocabulary.setdefault("".join(pair), len(vocabulary))
    for word in words:
        vocabulary[word] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, **options))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def both(tokenizer, text, **config):
    """Tokens by tokenizers, and by onnxruntime-extensions from the folder's files."""
    tokenizer.save("tokenizer.json")
    with open("tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": "GPT2Tokenizer", **config}, file)
    found = [tokenizer.encode(text).ids, [int(i) for i in Extensions(".").tokenize(text)]]
    right, gives = ([tokenizer.id_to_token(i) for i in ids] for ids in found)
    print(repr(text), "tokenizers", right, "onnxruntime-extensions", gives)
    return right, gives


print(*(f"{name} {version(name)}" for name in ("onnxruntime-extensions", "tokenizers")))

tokenizer = byte_level([("1", "2"), ("12", "3")])
digits = pre_tokenizers.Digits(individual_digits=True)
space = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, space])
right, gives = both(tokenizer, "a1234")
assert right == ["a", "1", "2", "3", "4"] and gives == ["a", "123", "4"]
PY
