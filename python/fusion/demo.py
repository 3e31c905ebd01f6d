"""``python -m fusion.demo``: a verified batch within this process."""

import argparse
import pathlib
import tempfile

from fusion import demo


def main():
    parser = argparse.ArgumentParser(prog="python -m fusion.demo", description="A verified batch within this process.")
    parser.add_argument("--html", metavar="FILE", help="where to write the report, a page for a browser [default: a new temporary folder]")
    file = parser.parse_args().html
    result = demo()
    print(result.summary())
    print("labels", result.labels)
    print(f"{result.bytes / 1e6:.1f} MB in {result.seconds:.1f} s")
    file = pathlib.Path(file) if file else pathlib.Path(tempfile.mkdtemp(prefix="fusion-")) / "report.html"
    result.to_html(file)
    print(f"report {file.resolve().as_uri()}")


if __name__ == "__main__":
    main()
