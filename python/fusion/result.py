"""What a verified batch came to."""

import numpy as np

from .page import Page


class Result(Page):
    """Answers and verdict of one session.

    Attributes
    ----------
    labels
        One label per query in input order, an int64 array of positions among the classes, whose
        names are :attr:`classes`; None if rejected or if values are revealed.
    top_labels
        All labels revealed of each query, best first, of shape (queries, k); None otherwise.
    scores
        The logits revealed of each query, of shape (queries, classes); None otherwise. Only which
        is the largest was verified.
    values
        The values revealed of each query, float64 of shape (queries, values); None otherwise.
    accepted
        Whether the answers stand.
    verdict
        What was checked and what that excludes, by name: see the field ``verdict`` of a report.
    report
        The whole report as `fusion-run --report` writes it.
    """

    def __init__(self, report, page="", words=("", (), "", ()), scores=None, class_names=()):
        self.report, self.verdict, self._page = report, report["verdict"], page
        self._known, self._objections, self._rests_on, self._excludes = words
        self.scores = None if scores is None else np.asarray(scores, dtype=np.float64)
        top = report.get("top_labels")
        self.top_labels = None if top is None else np.asarray(top, dtype=np.int64)
        self.accepted = self.verdict["accepted"]
        labels, values = report.get("labels"), report.get("values")
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.values = None if values is None else np.asarray(values, dtype=np.float64)
        self.class_names = list(class_names)

    @property
    def classes(self):
        """What the label of each query is called; None without labels or names."""
        if self.labels is None or not self.class_names:
            return None
        return np.asarray([self.class_names[label] for label in self.labels])

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
        if self.classes is not None:
            frame["class"] = self.classes
        return frame

    def summary(self):
        """The verdict in words, and what it excludes."""
        v = self.verdict
        if not v["verified"]:
            return "NOT VERIFIED: the client trusted the server."
        lines = ["ACCEPTED" if self.accepted else f"REJECTED: {'; '.join(self._objections)}. No answer is given."]
        lines.append(f"copies of each query {'agree' if v['consistent'] else 'DIFFER'}")
        lines.append(self._known)
        if self.accepted:
            lines.append(self._rests_on)
            lines += [f"  {status + ':':<27}{what}" for status, what in self._excludes]
        return "\n".join(lines)

    def _html(self):
        return self._page

    def __repr__(self):
        return f"<fusion.Result {self.summary().splitlines()[0]}>"
