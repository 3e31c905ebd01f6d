"""Links of the repository's pages, as the site needs them.

Pages link to each other by their places in the repository, and so they lie in the site. What is no
page, a source file or a folder, is linked to in the repository; a link to what does not exist is
left as it is, for mkdocs to refuse.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
PAGES = {".md", ".svg", ".png"}


def on_page_markdown(markdown, page, config, files):
    folder = (ROOT / page.file.src_uri).parent

    def rewritten(match):
        target, anchor = match[1], match[2] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        place = (folder / target).resolve()
        if place.suffix == ".ipynb":
            return f"]({target.removesuffix('.ipynb')}.md{anchor})"
        if place.is_dir() and (place / "README.md").exists():
            return f"]({target.rstrip('/')}/README.md{anchor})"
        if not place.exists() or place.suffix in PAGES or not place.is_relative_to(ROOT):
            return match[0]
        kind = "tree" if place.is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{place.relative_to(ROOT).as_posix()}{anchor})"

    return LINK.sub(rewritten, markdown)
