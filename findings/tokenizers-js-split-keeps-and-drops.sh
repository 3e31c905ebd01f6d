#!/usr/bin/env bash
# @huggingface/tokenizers (npm): the pre-tokenizer Split keeps what it should remove and drops what
# it should keep.
#
# Guess: the same tokenizer.json gives the same ids as in Python, or an error that names what is not
#        supported.
# Seen:  @huggingface/tokenizers 0.2.0 isolates where a literal pattern's behaviour is removed, and
#        removes what an inverted pattern with the behaviour isolated does not match. A regular
#        expression to be removed is right.
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

from tokenizers import Regex, Tokenizer, models, pre_tokenizers


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

vocabulary = {"[UNK]": 0, "stop": 1, "go": 2, "-": 3}
splits = {
    "literal, removed": (pre_tokenizers.Split("-", "removed"), [1, 2], [1, 3, 2]),
    "inverted, isolated": (
        pre_tokenizers.Split(Regex("[a-z]+"), "isolated", invert=True),
        [1, 3, 2],
        [1, 2],
    ),
    "expression, removed": (pre_tokenizers.Split(Regex("-+"), "removed"), [1, 2], [1, 2]),
}
for name, (split, expected, seen) in splits.items():
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = split
    print(name)
    right, found = both(tokenizer, "stop-go")
    assert right[0][1] == expected and found[0][1] == seen
PY
