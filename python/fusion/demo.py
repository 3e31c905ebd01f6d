"""``python -m fusion.demo``: a verified batch within this process."""

import argparse

from fusion import demo


def main():
    parser = argparse.ArgumentParser(prog="python -m fusion.demo", description="A verified batch within this process.")
    parser.add_argument("--html", metavar="FILE", help="write the report as a page for a browser")
    file = parser.parse_args().html
    result = demo()
    print(result.summary())
    print("labels", result.labels)
    print(f"{result.bytes / 1e6:.1f} MB in {result.seconds:.1f} s")
    if file:
        result.to_html(file)


if __name__ == "__main__":
    main()
