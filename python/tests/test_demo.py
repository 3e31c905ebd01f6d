import pathlib
import sys
import urllib.parse

from fusion.demo import main


def test_the_demonstration_ends_with_a_verdict_and_a_report(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for arguments in [[], ["--html", str(tmp_path / "own.html")]]:
        monkeypatch.setattr(sys, "argv", ["demo", *arguments])
        main()
        said = capsys.readouterr().out
        assert said.startswith("ACCEPTED")
        where = said.rsplit("report ", 1)[1].strip()
        page = pathlib.Path(urllib.parse.urlparse(where).path)
        assert page.is_relative_to(tmp_path) and "<h1>Accepted</h1>" in page.read_text()
    assert page.name == "own.html"
