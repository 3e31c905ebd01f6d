#!/usr/bin/env bash
# tokenizers, from_spm: control symbols are found in texts.
#
# Guess: SentencePieceUnigramTokenizer.from_spm gives the ids of the model that it reads, or refuses
#        it.
# Seen:  sentencepiece never gives a control symbol for what a text says; tokenizers 0.23.3 does, so
#        that such a text has other ids than the model was trained on. Symbols of the user are found
#        by both.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import os
import sys
from importlib.metadata import version

import sentencepiece

# from_spm imports the model's protobuf module by its bare name.
sys.path.insert(0, os.path.dirname(sentencepiece.__file__))
from tokenizers.implementations import SentencePieceUnigramTokenizer

LINES = [
    "hello world two spaces 123 45 hello one three",
    "the world is fine and hello again",
    "spaces between words are words 7 8 9",
    "a b c d e f g h i j k l m n o p q r s t u v w x y",
]
with open("text.txt", "w") as file:
    file.write("\n".join(LINES * 30))


def trained(**options):
    """A model of sentencepiece, and what tokenizers reads of it."""
    usual = {"vocab_size": 60, "hard_vocab_limit": False, "minloglevel": 9, **options}
    sentencepiece.SentencePieceTrainer.train(input="text.txt", model_prefix="m", **usual)
    model = sentencepiece.SentencePieceProcessor(model_file="m.model")
    return model, SentencePieceUnigramTokenizer.from_spm("m.model")


def pieces(models, text):
    model, read = models
    found = model.encode(text, out_type=str), read.encode(text).tokens
    print(repr(text), "sentencepiece", found[0], "tokenizers", found[1])
    return found


print("tokenizers", version("tokenizers"), "sentencepiece", version("sentencepiece"))

models = trained(control_symbols=["<end>"])
text = "hello<end>"
right, gives = (ids for ids in (models[0].encode(text), models[1].encode(text).ids))
pieces(models, text)
end = models[0].piece_to_id("<end>")
assert models[0].is_control(end) and end not in right and end in gives
models = trained(user_defined_symbols=["<end>"])
right, gives = pieces(models, text)
assert right == gives and "<end>" in right
PY
