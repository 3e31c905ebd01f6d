#!/usr/bin/env bash
# Builds the documentation site into target/site/html, out of the repository's pages, the notebooks
# as they are and the Python package's docstrings. A link that leads nowhere is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/site/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r docs/site/requirements.txt
"$venv/bin/python" docs/site/lay.py target/site/pages
export NO_MKDOCS_2_WARNING=1 # of what comes after this version
exec "$venv/bin/mkdocs" build --strict --config-file docs/site/mkdocs.yml
