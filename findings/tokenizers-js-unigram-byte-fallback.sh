#!/usr/bin/env bash
# @huggingface/tokenizers (npm): Unigram does not fall back to bytes.
#
# Guess: the same tokenizer.json gives the same ids as in Python, or an error that names what is not
#        supported.
# Seen:  @huggingface/tokenizers 0.2.0 ignores byte_fallback of a Unigram model: characters that the
#        vocabulary lacks are one unknown token instead of their bytes, and different texts have the
#        same ids. With BPE it is right.
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

from tokenizers import Tokenizer, models


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

pieces = [("<unk>", 0.0), ("a", -1.0)] + [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
right, found = both(tokenizer, "aé", "aß")
assert [ids for _, ids, _ in right] == [[1, 2 + 0xC3, 2 + 0xA9], [1, 2 + 0xC3, 2 + 0x9F]]
assert [ids for _, ids, _ in found] == [[1, 0], [1, 0]]
vocabulary = {piece: at for at, (piece, _) in enumerate(pieces)}
tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
right, found = both(tokenizer, "aé")
assert right[0][1] == found[0][1] == [1, 2 + 0xC3, 2 + 0xA9]
PY
