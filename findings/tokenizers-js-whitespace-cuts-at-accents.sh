#!/usr/bin/env bash
# @huggingface/tokenizers (npm): the pre-tokenizer Whitespace cuts words at letters beyond ASCII.
#
# Guess: the same tokenizer.json gives the same ids as in Python, or an error that names what is not
#        supported.
# Seen:  @huggingface/tokenizers 0.2.0 takes \w for ASCII letters there: of one word with an accent
#        it makes three pieces, none of which the vocabulary has. WhitespaceSplit is right.
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

vocabulary = {"[UNK]": 0, "naïve": 1, "café": 2, "été": 3, "plain": 4, "ve": 5}
tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
right, found = both(tokenizer, "naïve café", "plain été")
assert [ids for _, ids, _ in right] == [[1, 2], [4, 3]]
assert found[0][1] == [0, 0, 5, 0, 0] and found[1][1] == [4, 0, 0, 0]
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
right, found = both(tokenizer, "naïve café", "plain été")
assert [ids for _, ids, _ in right] == [ids for _, ids, _ in found]
PY
