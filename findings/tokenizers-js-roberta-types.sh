#!/usr/bin/env bash
# @huggingface/tokenizers (npm): RobertaProcessing gives the second text of a pair the type 1.
#
# Guess: the same tokenizer.json gives the same ids as in Python, or an error that names what is not
#        supported.
# Seen:  @huggingface/tokenizers 0.2.0 numbers the types, when they are asked for
#        (return_token_type_ids), as BertProcessing does; RobertaProcessing has 0 everywhere, and
#        RoBERTa's own models have an embedding for type 0 alone.
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

from tokenizers import Tokenizer, models, pre_tokenizers, processors


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

vocabulary = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "<unk>": 4}
tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
right, found = both(tokenizer, ["a", "b"])
print("types", right[0][2], "JavaScript", found[0][2])
assert right[0][1] == found[0][1] == [0, 2, 1, 1, 3, 1]
assert right[0][2] == [0] * 6 and found[0][2] == [0, 0, 0, 1, 1, 1]
PY
