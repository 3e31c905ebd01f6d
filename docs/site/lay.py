"""Lays out what the site is made of: the repository's pages where they lie, notebooks as pages, and
the Python package's documentation."""

import argparse
import pathlib
import re
import shutil
import subprocess

import nbformat
from nbconvert import MarkdownExporter

ROOT = pathlib.Path(__file__).resolve().parents[2]
API = """# Python

What `import fusion` has. Arrays have their samples along the first axis.

{members}
"""


def pages():
    """Pages and pictures of the repository, as git knows them."""
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for path in sorted(ROOT / name for name in listed.split("\0") if name and not name.startswith(".")):
        if path.is_file() and (path.suffix in (".md", ".svg", ".png") or path.name == "extra.css"):
            yield path


def notebook(path, to):
    """A notebook with its outputs as a page, its pictures beside it."""
    body, resources = MarkdownExporter().from_notebook_node(nbformat.read(path, as_version=4))
    for name, data in resources["outputs"].items():
        own = f"{path.stem}-{name}"
        body = body.replace(f"({name})", f"({own})")
        (to.parent / own).write_bytes(data)
    # Data frames look like the site's other tables.
    body = body.replace('<table border="1" class="dataframe">', "<table>")
    # HTML that is indented would be code to Markdown.
    to.write_text(re.sub(r"(?m)^ +(?=<)", "", body), encoding="utf-8")


def lay(out):
    shutil.rmtree(out, ignore_errors=True)
    for path in pages():
        to = out / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    for path in sorted((ROOT / "python/notebooks").glob("*.ipynb")):
        to = (out / path.relative_to(ROOT)).with_suffix(".md")
        to.parent.mkdir(parents=True, exist_ok=True)
        notebook(path, to)
    names = re.findall(r'^    "(\w+)",$', (ROOT / "python/fusion/__init__.py").read_text(encoding="utf-8"), re.M)
    api(out / "docs/api.md", names)
    sources(out.with_name("python") / "fusion")


def api(page, names):
    """One section for each name of `__all__`; exceptions are of the native half, and said at once."""
    elsewhere = {
        "PrivateClassifier": "fusion.classifier.PrivateClassifier",
        "Soundness": "fusion.soundness.Soundness",
        "demo": "fusion._demo.demo",
        "soundness": "fusion.soundness.soundness",
    }
    native = {"FusionError", "ModelError", "PeerError", "StateError", "UsageError", "keygen"}
    members = [f"::: {elsewhere.get(name, f'fusion.{name}')}" for name in names if name not in native]
    # Not of `__all__`: it needs Ray.
    members += [f"::: fusion.ray.{name}" for name in ("predict", "serve", "Replicas")] + ["::: fusion.scale.plan_scale", "::: fusion.scale.Scale"]
    page.write_text(API.format(members="\n\n".join([*members, NATIVE])), encoding="utf-8")


def sources(folder):
    """The package's sources, whose docstrings are read: with a paragraph for each of several parameters
    that are described together, and names without Sphinx's roles."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted((ROOT / "python/fusion").glob("*.py*")):
        text = re.sub(r":(?:class|func|meth|attr|mod):`~?([^`]+)`", r"`\1`", path.read_text(encoding="utf-8"))
        together = re.compile(r"^( +)(\w+(?:, \w+)+)\n((?:\1    .*\n)+)", re.M)
        apart = lambda found: "".join(f"{found[1]}{name}\n{found[3]}" for name in found[2].split(", "))
        (folder / path.name).write_text(together.sub(apart, text), encoding="utf-8")


NATIVE = """## Exceptions

| | whose fault |
|---|---|
| `FusionError` | all of the following are one |
| `UsageError` | an argument makes no sense, or none here; nothing was sent |
| `ModelError` | the model is not supported, or is not what its file promises |
| `PeerError` | the peer or the connection; a session that began counts |
| `StateError` | a ledger, a budget or a file cannot be kept |
| `Rejected` | the batch was not verified; its `result` has the verdict and no labels |

## `keygen(path)`

Makes a certificate with its key, writes both to a file that must not exist, for nobody else to read, and returns the
fingerprint that peers know it by.
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path, help="the folder to lay it out in; what is there is removed")
    lay(parser.parse_args().out)
