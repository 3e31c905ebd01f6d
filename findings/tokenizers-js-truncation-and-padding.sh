#!/usr/bin/env bash
# @huggingface/tokenizers (npm): truncation and padding that the file asks for do not happen.
#
# Guess: the same tokenizer.json gives the same ids as in Python, or an error that names what is not
#        supported.
# Seen:  @huggingface/tokenizers 0.2.0 ignores both: where Python gives at most so many ids, or
#        always as many, it gives those of the whole text, which a model with fixed positions cannot
#        take.
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

tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "b": 2, "[PAD]": 3}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer.enable_truncation(3)
tokenizer.enable_padding(length=3, pad_id=3, pad_token="[PAD]")
right, found = both(tokenizer, "a b a b a", "b")
assert [ids for _, ids, _ in right] == [[1, 2, 1], [2, 3, 3]]
assert [ids for _, ids, _ in found] == [[1, 2, 1, 2, 1], [2]]
PY
