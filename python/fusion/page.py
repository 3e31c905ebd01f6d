"""What people look at: pages of one file each, without scripts."""

import html
import pathlib
import tempfile
import webbrowser


class Page:
    """Something that has a page for a browser."""

    def _html(self):
        raise NotImplementedError

    def to_html(self, path=None):
        """The page, one file without scripts; written to ``path`` if one is given."""
        page = self._html()
        if path is not None:
            pathlib.Path(path).write_text(page, encoding="utf-8")
        return page

    def show(self):
        """Opens the page in a browser; in a notebook this object shows it by itself."""
        file = pathlib.Path(tempfile.mkdtemp(prefix="fusion-")) / "page.html"
        self.to_html(file)
        webbrowser.open(file.as_uri())

    def _repr_html_(self):
        page = html.escape(self._html(), quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:40rem;border:0" title="page"></iframe>'
