"""Draw the charts of a search as one PNG file, for documents and slides."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas import palette
from nas.accuracy.score import TOP1
from nas.files import write_bytes
from nas.report.charts import Chart, charts_of
from nas.report.labels import obstacles, place_labels
from nas.search.quantities import label_of, quantity_of
from nas.search.results.result import SearchResult
from nas.search.results.wording import short
from nas.search.trial import Trial

_SIZE_INCHES = (8.0, 5.0)
_ROW_INCHES = 3.2  # the height of a row of two further charts
_DOTS_PER_INCH = 150
_CHARACTER_PIXELS = 10.5


def save_picture(path: Path, result: SearchResult) -> None:
    """Draw the charts into a PNG file, whole or not at all.

    It is 1200 by 750 pixels, and 480 pixels higher for every two further charts.
    """
    main, *others = charts_of(result)
    rows = math.ceil(len(others) / 2)
    width, height = _SIZE_INCHES
    figure = Figure(figsize=(width, height + rows * _ROW_INCHES), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1 + rows, 2, height_ratios=[height, *[_ROW_INCHES] * rows])
    axes = figure.add_subplot(grid[0, :])
    axes.set_title(f"{_plain(result.setting.space)} on {_plain(_devices(result))}", loc="left", fontweight="bold")
    places = [(main, axes)]
    for index, chart in enumerate(others):
        row, column = divmod(index, 2)
        # The last of an odd number of charts has a row to itself.
        place = grid[1 + row, :] if index == len(others) - 1 and not column else grid[1 + row, column]
        places.append((chart, figure.add_subplot(place)))
    learned = result.setting.learned
    title = label_of(learned) + (f" ({quantity_of(learned).unit})" if quantity_of(learned).unit else "")
    words = title
    if learned == TOP1:
        words = f"top-1 of the short-trained proxy on {_plain(result.setting.dataset)} (%)"
    for chart, axes in places:
        _draw(chart, axes, words if chart is main else title)
    # Names come last: their places depend on the axes' final size, and that on the layout of all charts.
    figure.draw_without_rendering()
    for chart, axes in places:
        _draw_names(chart, axes)
    if places[0][1].get_legend_handles_labels()[0]:
        places[0][1].legend(loc="lower right", frameon=False, fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())


def _devices(result: SearchResult) -> str:
    return " and ".join(result.setting.tables)


def _draw(chart: Chart, axes: Any, y_label: str) -> None:
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(_plain(chart.title, 60))
    axes.set_ylabel(y_label)
    _draw_trials(chart, axes)
    _draw_stopped(chart, axes)
    _draw_budgets(chart, axes)
    if chart.references:
        places = [(chart.x(network), network.learned) for network in chart.references]
        axes.plot(*zip(*places, strict=True), "D", color=palette.REFERENCE, markersize=7, label="reference networks")
        axes.margins(0.07)


def _draw_trials(chart: Chart, axes: Any) -> None:
    if not chart.result.completed:
        axes.text(0.5, 0.5, "no trial was completed", transform=axes.transAxes, ha="center", color="#5a6069")
        return
    if chart.dominated:
        dominated = _places(chart, chart.dominated)
        axes.plot(*dominated, "o", color=palette.DOMINATED, markersize=4, alpha=0.6, label="dominated")
    steps = {"color": palette.FRONT, "drawstyle": "steps-post" if chart.rises_late else "steps-pre"}
    if chart.is_whole:
        axes.plot(*_places(chart, chart.steps), "o-", markersize=6, label="front", **steps)
    else:
        axes.plot(*_places(chart, chart.steps), ":", linewidth=1.2, label="best of these two", **steps)
        axes.plot(*_places(chart, chart.result.front), "o", color=palette.FRONT, markersize=6, label="front")
    if chart.repeated:
        xs = [chart.x(trial.network) for trial, _ in chart.repeated]
        certainties = [certainty for _, certainty in chart.repeated]
        means = [certainty.mean for certainty in certainties]
        below = [certainty.mean - certainty.low for certainty in certainties]
        above = [certainty.high - certainty.mean for certainty in certainties]
        style = {"fmt": "_", "color": palette.FRONT, "elinewidth": 1, "capsize": 2}
        axes.errorbar(xs, means, [below, above], label="trained again: mean, 95 %", **style)
    knee = _places(chart, [chart.result.knee])
    axes.plot(*knee, "*", color=palette.KNEE, markeredgecolor="#333", ms=16, label="knee")


def _draw_stopped(chart: Chart, axes: Any) -> None:
    """Drawn light and hollow, without extending the axes: most stand far below and would squeeze the front."""
    if not chart.stopped:
        return
    limits = axes.get_ylim() if chart.result.completed else None
    style = {"color": palette.DOMINATED, "markersize": 4, "alpha": 0.4, "markerfacecolor": "none", "zorder": 1}
    axes.plot(*_places(chart, chart.stopped), "o", label="stopped on the way", **style)
    if limits:
        axes.set_ylim(limits)


def _places(chart: Chart, trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [chart.x(trial.network) for trial in trials], [trial.network.learned for trial in trials]


def _draw_names(chart: Chart, axes: Any) -> None:
    """Write the reference networks' names beside them; all points must have been drawn, as they set the axes' range."""
    places = [(chart.x(network), network.learned) for network in chart.references]
    left, bottom = axes.transAxes.transform((0, 0))
    right, top = axes.transAxes.transform((1, 1))

    def pixels(x: float, top1: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, top1))
        return float(across - left), float(up - bottom)

    offsets = place_labels(
        [pixels(*place) for place in places],
        [(_CHARACTER_PIXELS * len(short(network.name)), 2 * _CHARACTER_PIXELS) for network in chart.references],
        obstacles(chart, pixels, top - bottom),
        (right - left, top - bottom),
    )
    for network, place, offset in zip(chart.references, places, offsets, strict=True):
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


def _draw_budgets(chart: Chart, axes: Any) -> None:
    for budget, words in chart.budgets:
        axes.axvline(budget, color=palette.BUDGET, linestyle="--", linewidth=1.2)
        axes.annotate(
            words,
            (budget, 0.01),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            color=palette.BUDGET,
            fontsize=8,
            rotation=90,
            va="bottom",
        )


def _plain(text: str, most: int = 36) -> str:
    """`text` shortened to `most` characters, with `$` escaped, which begins a formula in matplotlib."""
    return short(text, most).replace("$", r"\$")
