"""The notebooks run from top to bottom, and have kept what came out of them."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

import fusion

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_outputs_are_kept(path, monkeypatch):
    # Its kernel is another process, which is to find the same package.
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(fusion.__file__).parents[1]))
    kept = nbformat.read(path, as_version=4)
    run = nbformat.from_dict(kept)
    for cell in run.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(run, timeout=300, coalesce_streams=True, resources={"metadata": {"path": str(FOLDER)}}).execute()
    for old, new in zip(kept.cells, run.cells, strict=True):
        if old.cell_type != "code":
            continue
        place = f"{path.name}: {old.source.splitlines()[-1]}"
        assert kinds(old) == kinds(new), f"{place}: run it again and keep what comes out"
        if "exact" in old.metadata.get("tags", []):
            assert printed(old) == printed(new), place


def kinds(cell):
    """Of what kinds a cell's outputs are."""
    return [sorted(output["data"]) if "data" in output else output["name"] for output in cell.outputs]


def printed(cell):
    return "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream")
