"""What does the front look like on paper?"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas.report import palette
from nas.report.labels import obstacles, place_labels
from nas.report.wording import short
from nas.search.result import SearchResult

_SIZE_INCHES = (8.0, 5.0)
_DOTS_PER_INCH = 150
_CHARACTER_PIXELS = 10.5


def save_picture(path: Path, result: SearchResult) -> None:
    """Draw the front as a PNG file of 1200 by 750 pixels, whole or not at all."""
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"latency on {_plain(result.setting.device)} (ms)")
    axes.set_ylabel(f"top-1 of the short-trained proxy on {_plain(result.setting.dataset)} (%)")
    axes.set_title(f"{_plain(result.setting.space)} on {_plain(result.setting.device)}", loc="left", fontweight="bold")
    _draw_trials(axes, result)
    _draw_budgets(axes, result)
    _draw_references(axes, result)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", frameon=False, fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    part = path.with_name(path.name + ".part")
    part.write_bytes(content.getvalue())
    part.replace(path)


def _draw_trials(axes: Any, result: SearchResult) -> None:
    if not result.completed:
        axes.text(0.5, 0.5, "no trial was completed", transform=axes.transAxes, ha="center", color="#5a6069")
        return
    on_front = {trial.number for trial in result.front}
    beaten = [trial.network for trial in result.completed if trial.number not in on_front]
    if beaten:
        xs, ys = [network.latency.latency_ms for network in beaten], [network.top1 for network in beaten]
        axes.plot(xs, ys, "o", color=palette.DOMINATED, markersize=4, alpha=0.6, label="dominated")
    xs = [trial.network.latency.latency_ms for trial in result.front]
    ys = [trial.network.top1 for trial in result.front]
    axes.plot(xs, ys, "o-", color=palette.FRONT, drawstyle="steps-post", markersize=6, label="front")
    knee = result.knee.network
    axes.plot(knee.latency.latency_ms, knee.top1, "*", color=palette.KNEE, markeredgecolor="#333", ms=16, label="knee")


def _draw_references(axes: Any, result: SearchResult) -> None:
    """The reference networks and, once all points have set the axes' range, their names beside them."""
    scored = [network for network in result.references if network.score]
    if not scored:
        return
    places = [(network.latency.latency_ms, network.top1) for network in scored]
    axes.plot(*zip(*places, strict=True), "D", color=palette.REFERENCE, markersize=7, label="reference networks")
    axes.margins(0.07)
    axes.figure.draw_without_rendering()
    left, bottom = axes.transAxes.transform((0, 0))
    right, top = axes.transAxes.transform((1, 1))

    def pixels(latency_ms: float, top1: float) -> tuple[float, float]:
        across, up = axes.transData.transform((latency_ms, top1))
        return float(across - left), float(up - bottom)

    offsets = place_labels(
        [pixels(*place) for place in places],
        [(_CHARACTER_PIXELS * len(short(network.name)), 2 * _CHARACTER_PIXELS) for network in scored],
        obstacles(result, pixels, top - bottom),
        (right - left, top - bottom),
    )
    for network, place, offset in zip(scored, places, offsets, strict=True):
        axes.annotate(
            _plain(network.name),
            place,
            # Offsets are in pixels of the figure's own resolution here, and text is set in points.
            xytext=[pixels * 72 / axes.figure.dpi for pixels in offset],
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": palette.REFERENCE, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 5},
        )


def _draw_budgets(axes: Any, result: SearchResult) -> None:
    for budget_ms in result.setting.budgets_ms:
        axes.axvline(budget_ms, color=palette.BUDGET, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{budget_ms:g} ms",
            (budget_ms, 0.01),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            color=palette.BUDGET,
            fontsize=8,
            rotation=90,
            va="bottom",
        )


def _plain(text: str) -> str:
    """`text` at a length that fits, with matplotlib's sign for formulas taken literally."""
    return short(text).replace("$", r"\$")
