#!/usr/bin/env bash
# tokenizers, from_spm: add_dummy_prefix, remove_extra_whitespaces and treat_whitespace_as_suffix
# are ignored.
#
# Guess: SentencePieceUnigramTokenizer.from_spm gives the ids of the model that it reads, or refuses
#        it.
# Seen:  tokenizers 0.23.3 reads models that were trained with other values and splits texts as with
#        the usual ones: a space before the first word, one for several, at the beginning of words.
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

right, gives = pieces(trained(add_dummy_prefix=False), "hello")
assert not right[0].startswith("▁") and gives[0].startswith("▁")
right, gives = pieces(trained(remove_extra_whitespaces=False), "a  b")
assert "".join(right) == "▁a▁▁b" and "".join(gives) == "▁a▁b"
right, gives = pieces(trained(treat_whitespace_as_suffix=True), "hello world")
assert right == ["hello▁", "world▁"] and "".join(gives) == "▁hello▁world"
PY
