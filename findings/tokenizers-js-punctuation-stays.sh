#!/usr/bin/env bash
# @huggingface/tokenizers (npm): the pre-tokenizer Punctuation ignores its behaviour.
#
# Guess: the same tokenizer.json gives the same ids as in Python, or an error that names what is not
#        supported.
# Seen:  @huggingface/tokenizers 0.2.0 keeps punctuation, a run of it as one piece, whatever the
#        behaviour is: with removed it stays, with an id of its own or as the unknown token, and
#        with isolated a run is one piece, not one for each character.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    tokenizers==0.23.3
cd "$folder"
npm install --silent --no-audit --no-fund @huggingface/tokenizers@0.2.0 >&2
cat > run.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";

const { tokenizer, texts } = JSON.parse(readFileSync("case.json"));
const read = new Tokenizer(tokenizer, {});
const encode = ([text, text_pair = null]) =>
  read.encode(text, { text_pair, return_token_type_ids: true });
const parts = ({ tokens, ids, token_type_ids }) => [tokens, ids, token_type_ids ?? null];
console.log(JSON.stringify(texts.map(encode).map(parts)));
JS
"$folder/venv/bin/python" -W ignore - <<'PY'
import json
import subprocess
from importlib.metadata import version

from tokenizers import Tokenizer, models, pre_tokenizers


def both(tokenizer, *texts):
    """Tokens, ids and types of each text or pair: tokenizers', and the JavaScript package's."""
    texts = [[text] if isinstance(text, str) else text for text in texts]
    with open("case.json", "w") as file:
        json.dump({"tokenizer": json.loads(tokenizer.to_str()), "texts": texts}, file)
    found = json.loads(subprocess.check_output(["node", "run.mjs"]))
    right = [tokenizer.encode(*text) for text in texts]
    right = [[e.tokens, e.ids, e.type_ids] for e in right]
    for text, a, b in zip(texts, right, found):
        print(text, "tokenizers", a[:2], "JavaScript", b[:2])
    return right, found


print("tokenizers", version("tokenizers"), "and @huggingface/tokenizers 0.2.0")

vocabulary = {"[UNK]": 0, "stop": 1, "go": 2, "!": 3, "!!": 4}
cases = {
    "removed": (([1, 2], [1, 3, 2]), ([1, 2], [1, 4, 2])),
    "isolated": (([1, 3, 2], [1, 3, 2]), ([1, 3, 3, 2], [1, 4, 2])),
}
for behaviour, expected in cases.items():
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Punctuation(behaviour)
    print(behaviour)
    right, found = both(tokenizer, "stop!go", "stop!!go")
    assert [(a[1], b[1]) for a, b in zip(right, found)] == list(expected)
PY
