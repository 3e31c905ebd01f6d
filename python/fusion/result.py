"""What a verified batch came to."""

import html
import pathlib
import tempfile
import webbrowser

import numpy as np


class Result:
    """Answers and verdict of one session.

    Attributes
    ----------
    labels
        One label per query in input order, an int64 array; None if rejected or if values are
        revealed.
    values
        The values revealed of each query, float64 of shape (queries, values); None otherwise.
    accepted
        Whether the answers stand.
    verdict
        What was checked and what that excludes, by name: see the field ``verdict`` of a report.
    report
        The whole report as `fusion-run --report` writes it.
    """

    def __init__(self, report, page="", class_names=()):
        self.report, self.verdict, self._page = report, report["verdict"], page
        self.accepted = self.verdict["accepted"]
        labels, values = report.get("labels"), report.get("values")
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.values = None if values is None else np.asarray(values, dtype=np.float64)
        self.class_names = list(class_names)

    @property
    def bytes(self):
        """Bytes on the wire, both ways."""
        sent = self.report["bytes"]
        return sent["client_to_server"] + sent["server_to_client"]

    @property
    def seconds(self):
        """Wall time of the session."""
        return self.report["time_s"]["total"]

    def to_pandas(self):
        """A data frame with a row per query: ``label``, ``class`` if classes have names, or the
        values."""
        import pandas

        if self.values is not None:
            names = ["value"] if self.values.shape[1] == 1 else [f"value_{i}" for i in range(self.values.shape[1])]
            return pandas.DataFrame(self.values, columns=names)
        frame = pandas.DataFrame({"label": self.labels})
        if self.class_names and self.labels is not None:
            frame["class"] = [self.class_names[label] for label in self.labels]
        return frame

    def summary(self):
        """The verdict in words, and what it excludes."""
        v = self.verdict
        if not v["verified"]:
            return "NOT VERIFIED: the client trusted the server."
        lines = ["ACCEPTED" if self.accepted else "REJECTED: no answer is given."]
        lines.append(f"copies of each query {'agree' if v['consistent'] else 'DIFFER'}")
        lines.append(
            f"{v['public_correct']} of {v['public_total']} public samples right, {v['tolerated']} wrong ones tolerated"
        )
        if self.accepted:
            lines.append(f"if the honest model is right on {100 * v['accuracy_claimed']:g} % of inputs:")
            lines.append(f"  labels changed at chosen positions are accepted with at most {odds(v['lambda_achieved_bits'])}")
            if v["smallest_eps_99"] is not None:
                lines.append(f"  a server wrong on {100 * v['smallest_eps_99']:.3g} % of inputs is caught with 99 %")
        return "\n".join(lines)

    def to_html(self, path=None):
        """The report as a page of one file, without scripts; written to ``path`` if one is given."""
        if path is not None:
            pathlib.Path(path).write_text(self._page, encoding="utf-8")
        return self._page

    def show(self):
        """Opens the page in a browser; in a notebook the result shows it by itself."""
        file = pathlib.Path(tempfile.mkdtemp(prefix="fusion-")) / "report.html"
        self.to_html(file)
        webbrowser.open(file.as_uri())

    def __repr__(self):
        return f"<fusion.Result {self.summary().splitlines()[0]}>"

    def _repr_html_(self):
        page = html.escape(self._page, quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:40rem;border:0" title="report"></iframe>'


def odds(bits):
    """A probability of so many bits; None is zero."""
    return "probability 0" if bits is None else f"probability 2^-{bits:.1f}"
