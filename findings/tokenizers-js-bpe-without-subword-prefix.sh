#!/usr/bin/env bash
# @huggingface/tokenizers (npm): BPE ignores the prefix of subwords.
#
# Guess: the same tokenizer.json gives the same ids as in Python, or an error that names what is not
#        supported.
# Seen:  @huggingface/tokenizers 0.2.0 does not put continuing_subword_prefix before the characters
#        within a word: no merge applies, and characters have the ids of those at a word's
#        beginning. The suffix at a word's end is right.
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

vocabulary = {"[UNK]": 0, "l": 1, "o": 2, "w": 3, "##l": 4, "##o": 5, "##w": 6, "lo": 7, "low": 8}
merges = [("l", "##o"), ("lo", "##w")]
model = models.BPE(vocabulary, merges, continuing_subword_prefix="##", unk_token="[UNK]")
tokenizer = Tokenizer(model)
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
right, found = both(tokenizer, "low owl")
assert right[0][1] == [8, 2, 6, 4] and found[0][1] == [1, 2, 3, 2, 3, 1]

vocabulary = {"[UNK]": 0, "l": 1, "o": 2, "w": 3, "w</w>": 4, "l</w>": 5, "lo": 6, "low</w>": 7}
merges = [("l", "o"), ("lo", "w</w>")]
tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
right, found = both(tokenizer, "low owl")
assert right[0][1] == found[0][1] == [7, 2, 3, 5]
PY
