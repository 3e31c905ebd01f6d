#!/usr/bin/env bash
# tokenizers: BPE without an unknown token leaves out the characters that it does not know.
#
# Guess: a model with no token for the unknown raises an error for a character outside its
#        vocabulary, as WordLevel, WordPiece and Unigram do.
# Seen:  tokenizers 0.23.3 drops it without a word, so different texts have the same ids and a text
#        of unknown characters has none. Tokenizer(BPE()) trained with the defaults is such a model.
#        Offsets behind it count without it and point at other characters.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece
from tokenizers.trainers import BpeTrainer

print("tokenizers", version("tokenizers"))
tokenizer = Tokenizer(BPE())
tokenizer.train_from_iterator(["pay 100 to anna", "pay 10 to otto"] * 5, BpeTrainer(vocab_size=40, show_progress=False))
for text in ("pay 100", "pay 1007", "pay 8100", "7"):
    found = tokenizer.encode(text)
    print(repr(text), found.tokens, found.ids, found.offsets)
assert tokenizer.encode("pay 1007").ids == tokenizer.encode("pay 100").ids
assert tokenizer.encode("7").ids == [] and tokenizer.encode("pay 8100").offsets == tokenizer.encode("pay 100").offsets
for other in (WordLevel({"a": 0}), WordPiece({"a": 0}), Unigram([("a", -1.0)])):
    try:
        Tokenizer(other).encode("7")
    except Exception as error:
        print(type(other).__name__, "raises:", error)
    else:
        raise SystemExit(f"{type(other).__name__} raises no error")
PY
