#!/usr/bin/env python3
"""Re-wraps line comments of the workspace's Rust files to 100 columns. It changes nothing else, and
checks that: the code and the sequence of the comments' words stay the same.

Paragraphs without a line that is too long, code blocks, tables and aligned text are left alone; what
stays too long is printed.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

WIDTH = 100
# A code span that is longer may be broken.
SPAN = 70
COMMENT = re.compile(r"^(\s*)(///|//!|//)( ?)(.*)$")
ITEM = re.compile(r"^(\s*)([-*+]|\d+[.)])(\s+)")
# What Markdown takes for something else at the beginning of a line.
MARKUP = re.compile(r"^([-*+]|\d+[.)]|#+|>+|\|.*|```.*|=+|//.*)$")
LITERAL = [
    re.compile(r'[bc]?r(#*)".*?"\1', re.S),
    re.compile(r'"(\\.|[^"\\])*"', re.S),
    re.compile(r"'(\\x[0-9a-fA-F]{2}|\\u\{[^}]*\}|\\.|[^\\'\n])'"),
]


def comment_lines(text):
    """Numbers of the lines that hold a line comment and nothing else."""
    found, at, line, blank = set(), 0, 0, True
    while at < len(text):
        end = at + 1
        if text.startswith("//", at):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            if blank:
                found.add(line)
        elif text.startswith("/*", at):
            depth, end = 1, at + 2
            while depth:
                pair = text[end : end + 2]
                depth += (pair == "/*") - (pair == "*/")
                end += 2 if pair in ("/*", "*/") else 1
        else:
            inside_word = at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_")
            literals = LITERAL[1:] if inside_word else LITERAL
            match = next((match for literal in literals if (match := literal.match(text, at))), None)
            end = match.end() if match else end
        if "\n" in text[at:end]:
            line += text.count("\n", at, end)
            blank = text[end - 1] == "\n"
        elif not text[at:end].isspace():
            blank = False
        at = end
    return found


def fill(words, first, rest):
    """Lines of these words, each as long as possible."""
    spans = []
    for word in words:
        if spans and spans[-1].count("`") % 2 and len(spans[-1]) + len(word) < SPAN:
            spans[-1] += " " + word
        else:
            spans.append(word)
    units = []
    for span in spans:
        if units and MARKUP.match(span):
            units[-1] += " " + span
        else:
            units.append(span)
    lines = [first + units[0]]
    for unit in units[1:]:
        if len(lines[-1]) + 1 + len(unit) <= WIDTH:
            lines[-1] += " " + unit
        else:
            lines.append(rest + unit)
    return lines


def begins_something(body, item):
    """Whether a line cannot be part of the paragraph before it."""
    stripped = body.strip()
    if not stripped or ITEM.match(body) or stripped.startswith(("```", "|")):
        return True
    if item and body.startswith(" " * len(item.group(0))):
        return False
    return body.startswith("    ") or stripped.startswith(("#", ">")) or bool(re.match(r"\[[^\]]+\]:", stripped))


def rewrap(prefix, bodies):
    """The lines of one comment."""
    raw = lambda body: f"{prefix} {body}".rstrip()
    lines, at = [], 0
    while at < len(bodies):
        body = bodies[at]
        item = ITEM.match(body)
        at += 1
        if body.strip().startswith("```"):
            lines.append(raw(body))
            while at < len(bodies):
                lines.append(raw(bodies[at]))
                at += 1
                if bodies[at - 1].strip().startswith("```"):
                    break
            continue
        if not item and begins_something(body, None):
            lines.append(raw(body))
            continue
        paragraph = [body]
        while at < len(bodies) and not begins_something(bodies[at], item):
            paragraph.append(bodies[at])
            at += 1
        aligned = any(re.search(r"\S {2,}\S", body.strip()) for body in paragraph if not ITEM.match(body))
        if aligned or all(len(raw(body)) <= WIDTH for body in paragraph):
            lines += map(raw, paragraph)
            continue
        head = item.group(0) if item else re.match(r"\s*", body).group(0)
        words = " ".join([body[len(head) :], *paragraph[1:]]).split()
        lines += fill(words, f"{prefix} {head}", f"{prefix} {' ' * len(head)}")
    return lines


def wrapped(text):
    """The text with its comments wrapped."""
    comments, lines = comment_lines(text), text.split("\n")
    out, at = [], 0
    while at < len(lines):
        if at not in comments:
            out.append(lines[at])
            at += 1
            continue
        start, kind = at, COMMENT.match(lines[at]).group(1, 2)
        while at in comments and COMMENT.match(lines[at]).group(1, 2) == kind:
            at += 1
        block = lines[start:at]
        if any(len(line) > WIDTH for line in block):
            block = rewrap("".join(kind), [COMMENT.match(line).group(4) for line in block])
        out += block
    return "\n".join(out)


def parts(text):
    """The lines of code, and the words of the comments."""
    comments, lines = comment_lines(text), text.split("\n")
    code = [line for at, line in enumerate(lines) if at not in comments]
    return code, [word for at in sorted(comments) for word in COMMENT.match(lines[at]).group(4).split()]


def main():
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=form).parse_args()
    root, too_long = Path(__file__).resolve().parent.parent, 0
    for name in subprocess.check_output(["git", "ls-files", "*.rs"], cwd=root, text=True).split():
        text = (root / name).read_text()
        new = wrapped(text)
        assert parts(text) == parts(new), f"{name}: more than the wrapping would change"
        if new != text:
            (root / name).write_text(new)
        lines = new.split("\n")
        for at in sorted(comment_lines(new)):
            if len(lines[at]) > WIDTH:
                too_long += 1
                print(f"{name}:{at + 1}: cannot be wrapped: {lines[at].strip()}")
    sys.exit(1 if too_long else 0)


if __name__ == "__main__":
    main()
