"""Draw the agreement of a table with whole networks: predicted against measured latencies, and their errors."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas.latency.measuring.agreement import network_latencies, timed_networks, unit_sums
from nas.latency.measuring.plan import Plan, Role
from nas.latency.measuring.samples import Results
from nas.latency.table import LatencyTable

_SIZE_INCHES = (8.0, 7.0)
_DOTS_PER_INCH = 150
# Okabe and Ito (2008): colours that people with any common colour blindness can tell apart.
_MARKS: dict[Role, tuple[str, str, str]] = {
    "fit": ("o", "#8a8f98", "fitted to"),
    "held out": ("o", "#0072b2", "held out"),
    "reference": ("D", "#d55e00", "published networks"),
}


def save_agreement_picture(path: Path, table: LatencyTable, plan: Plan, results: Results) -> None:
    """Draw predicted against measured latencies (ms), and the errors below, as a PNG of 1200 by 1050 pixels."""
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.set_title(f"{table.name}: sums of the table against whole networks", loc="left", fontweight="bold")
    above.set_ylabel("table (ms)")
    below.set_ylabel("error (%)")
    below.set_xlabel("measured (ms)")
    for axes in (above, below):
        axes.grid(color="#e3e5e8", linewidth=0.8)
        axes.set_axisbelow(True)
        for spine in ("top", "right"):
            axes.spines[spine].set_visible(False)
    _draw(above, below, table, plan, results)
    above.legend(loc="lower right", frameon=False, fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    path.write_bytes(content.getvalue())


def _draw(above: Any, below: Any, table: LatencyTable, plan: Plan, results: Results) -> None:
    latency_ms = {key: row.latency_ms for key, row in table.rows.items()}
    calibration = table.conditions.calibration
    longest = 0.0
    for role, (mark, colour, words) in _MARKS.items():
        networks = timed_networks(plan, results, latency_ms, role)
        if not networks:
            continue
        measured_ms = network_latencies(networks, results.timings)
        table_ms = calibration.offset_ms + calibration.scale * unit_sums(networks, latency_ms)
        error = table_ms / measured_ms - 1
        label = f"{words}: {len(networks)}, mean error {np.abs(error).mean():.1%}"
        above.plot(measured_ms, table_ms, mark, color=colour, markersize=5, alpha=0.8, label=label)
        below.plot(measured_ms, 100 * error, mark, color=colour, markersize=4, alpha=0.8)
        longest = max(longest, float(measured_ms.max()), float(table_ms.max()))
    above.plot([0, longest], [0, longest], color="#333333", linewidth=1, label="equal")
    below.axhline(0, color="#333333", linewidth=1)
    for bound in (-5, 5):
        below.axhline(bound, color="#333333", linewidth=0.8, linestyle=":")
