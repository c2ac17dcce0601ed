"""Draw NetAdapt's path from a network to a faster one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas.deploy.pruning.netadapt import Point
from nas.palette import FRONT, REFERENCE

_DOTS_PER_INCH = 150
_HEIGHT_OF_ROW = 0.28


def save_path_picture(path: Path, title: str, points: Sequence[Point]) -> None:
    """Draw top-1 (percent, validation images) over the table's latency (ms), and what each step changed, as a PNG."""
    rows = len(points) - 1
    figure = Figure(figsize=(9, 4.5 + _HEIGHT_OF_ROW * rows), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=(4, max(0.1, _HEIGHT_OF_ROW * rows)))
    latencies = [point.latency_ms for point in points]
    above.plot(latencies, [point.top1 for point in points], "-o", color=FRONT, markersize=5)
    above.plot(latencies[0], points[0].top1, "D", color=REFERENCE, markersize=8, label="start")
    for number, point in enumerate(points[1:], start=1):
        above.annotate(
            str(number), (point.latency_ms, point.top1), xytext=(0, 7), textcoords="offset points", ha="center"
        )
    above.invert_xaxis()
    above.set_title(title, loc="left", fontweight="bold")
    above.set_xlabel("latency by the table (ms)")
    above.set_ylabel("top-1, validation (%)")
    above.grid(color="#e3e5e8", linewidth=0.8)
    above.spines[["top", "right"]].set_visible(False)
    above.legend(frameon=False)
    below.axis("off")
    for number, point in enumerate(points[1:], start=1):
        saved = points[number - 1].latency_ms - point.latency_ms
        text = f"{number:>3}  −{saved:.2f} ms  {point.change}"
        below.text(0, 1 - (number - 0.5) / rows, text, fontsize=9, va="center")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    path.write_bytes(content.getvalue())
