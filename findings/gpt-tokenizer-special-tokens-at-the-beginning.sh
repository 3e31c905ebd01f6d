#!/usr/bin/env bash
# gpt-tokenizer (npm): special tokens behind the beginning of a text are cut like any text.
#
# Guess: with allowedSpecial "all" every special token of the text is its id, as in tiktoken and
#        js-tiktoken.
# Seen:  gpt-tokenizer 4.0.0 finds a special token only where the text begins with it: of a prompt
#        with several the others become seven ordinary ids each, and of two in a row the second is
#        there twice, as text and as its id, so that decoding gives three. js-tiktoken 1.0.21 is
#        right.
#
# Exits with 0 while that is so, with another code once the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund gpt-tokenizer@4.0.0 js-tiktoken@1.0.21 >&2
cat > run.mjs <<'JS'
import assert from "node:assert";
import { decode, encode } from "gpt-tokenizer/encoding/cl100k_base";
import { Tiktoken } from "js-tiktoken/lite";
import ranks from "js-tiktoken/ranks/cl100k_base";

const other = new Tiktoken(ranks);
const both = (text) => {
  const found = [other.encode(text, "all"), encode(text, { allowedSpecial: "all" })];
  console.log(JSON.stringify(text), "js-tiktoken", found[0], "gpt-tokenizer", found[1]);
  return found;
};
const end = "<|endoftext|>";
const END = 100257;

let [right, gives] = both(`${end}b`);
assert.deepEqual(right, [END, 65]);
assert.deepEqual(gives, right);

[right, gives] = both(`a${end}b`);
assert.deepEqual(right, [64, END, 65]);
assert(!gives.includes(END) && gives.length === 9);

[right, gives] = both(`${end}a${end}b`);
assert.deepEqual(right, [END, 64, END, 65]);
assert.deepEqual(gives.slice(0, 2), [END, 64]);
assert(!gives.slice(2).includes(END) && gives.length === 10 && gives[9] === 65);

[right, gives] = both(end + end);
assert.deepEqual(right, [END, END]);
assert.equal(decode(gives), end + end + end);
JS
node run.mjs
