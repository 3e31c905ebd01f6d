#!/usr/bin/env bash
# tokenizers: enable_padding(pad_token=...) pads with the id 0, whatever that token's id is.
#
# Guess: the name of the padding token is enough: its id is in the vocabulary.
# Seen:  tokenizers 0.23.3 writes the given name into the list of tokens and pad_id, 0 by default,
#        into the ids, which the model gets: with <s> at 0 and <pad> at 1 the tokens read <pad> and
#        the ids mean <s>. No name has to be in the vocabulary. With pad_id=1 it is right.
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
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

print("tokenizers", version("tokenizers"))
vocabulary = {"<s>": 0, "<pad>": 1, "<unk>": 2, "private": 3, "inference": 4}
tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
tokenizer.pre_tokenizer = Whitespace()
for chosen in ({"pad_token": "<pad>"}, {"pad_token": "nothing"}, {"pad_token": "<pad>", "pad_id": 1}):
    tokenizer.enable_padding(**chosen)
    short = tokenizer.encode_batch(["private", "private inference"])[0]
    print(chosen, "tokens", short.tokens, "ids", short.ids, "which are", [tokenizer.id_to_token(i) for i in short.ids])
    assert short.tokens == ["private", chosen["pad_token"]]
    assert short.ids == [3, chosen.get("pad_id", 0)]
PY
