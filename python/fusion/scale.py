"""What a batch over many machines would take."""

import json

from . import _fusion
from .soundness import soundness

MACHINES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Scale:
    """A forecast for each number of machines.

    Attributes
    ----------
    rows
        Dicts: ``machines``, ``positions`` (of the largest part), ``session_s`` (its forecast),
        ``slowest_s`` (the mean of the slowest), ``uplink_s``, ``seconds`` (until the verdict),
        ``bytes``, ``memory_bytes`` (of a client's process), ``speedup`` over the first row and
        ``efficiency``, that for each machine.
    positions
        Of the batch.
    """

    def __init__(self, rows, positions):
        self.rows, self.positions = rows, positions
        for row in rows:
            row["speedup"] = rows[0]["seconds"] / row["seconds"]
            row["efficiency"] = row["speedup"] * rows[0]["machines"] / row["machines"]

    def to_pandas(self):
        """The rows as a data frame."""
        import pandas

        return pandas.DataFrame(self.rows)

    def plot(self, axes=None):
        """Draws hours over machines, with what an even division would give. Needs matplotlib."""
        import matplotlib.pyplot as pyplot

        axes = axes or pyplot.subplots(figsize=(7, 4.5), layout="constrained")[1]
        machines = [row["machines"] for row in self.rows]
        hours = lambda name: [row[name] / 3600 for row in self.rows]
        even = [hours("seconds")[0] * machines[0] / count for count in machines]
        axes.loglog(machines, even, ls=":", color="0.45", label="an even division")
        axes.loglog(machines, hours("slowest_s"), marker="s", ls="--", color="#1f6fb4", label="the slowest machine")
        if any(row["uplink_s"] for row in self.rows):
            axes.loglog(machines, hours("uplink_s"), ls="-.", color="#a8321d", label="the shared uplink")
        axes.loglog(machines, hours("seconds"), marker="o", color="0.1", label="until the verdict")
        axes.set_xlabel("machines (and as many servers)")
        axes.set_ylabel("hours")
        axes.set_title(f"One batch of {self.positions:,} positions")
        axes.grid(True, which="major", color="0.88")
        axes.legend(frameon=False)
        return axes

    def __repr__(self):
        lines = [f"{self.positions:,} positions", "machines  positions each      time  speedup  efficiency      bytes  memory"]
        for row in self.rows:
            lines.append(
                f"{row['machines']:>8,}  {row['positions']:>14,}  {_time(row['seconds']):>8}  {row['speedup']:>6,.1f}x"
                f"  {100 * row['efficiency']:>8.1f} %  {_bytes(row['bytes']):>9}  {_bytes(row['memory_bytes']):>6}"
                + ("  the uplink" if row["uplink_s"] > row["slowest_s"] else "")
            )
        return "\n".join(lines)


def plan_scale(plan, queries, *, machines=MACHINES, network="lan", uplink=None, spread=0.1, memory=None, **policy):
    """Foretells one verified batch on numbers of machines: a simulation from the cost model, no
    measurement.

    Every machine of the client's runs one part with a server of its own, both like the built-in or
    measured profile of this one. Times are lower bounds, since the uplink is taken to be busy all
    the time. What it takes to start workers is left out, and so are servers that stop: one of them
    costs the whole batch.

    Parameters
    ----------
    plan, queries
        The plan, and how many queries the batch has.
    machines
        Numbers of machines; those beyond the batch's positions are left out.
    network
        From each machine to its server, as of :meth:`fusion.Plan.cost`.
    uplink
        What all clients share, in Mbit/s each way; None: nothing.
    spread
        How unlike machines are: the standard deviation of the logarithm of a session's time.
    memory
        Of a client's process, in bytes.
    policy
        As of :func:`fusion.soundness`.

    Returns
    -------
    Scale
    """
    positions = soundness(queries, **{"classes": max(plan.classes, 2), **policy}).positions
    counts = [count for count in machines if count <= positions]
    if not counts:
        raise _fusion.UsageError(f"{positions} positions have no part for each of {min(machines)} machines")
    found = _fusion.scale(
        plan._native,
        positions,
        counts,
        network=network,
        uplink=uplink,
        spread=float(spread),
        memory=memory,
    )
    return Scale(json.loads(found), positions)


def _time(seconds):
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"


def _bytes(count):
    for size, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count / 1e3:.1f} kB"
