"""Place names beside their points so that they hide as few points, lines and other names as possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nas.report.charts import Chart

Array = NDArray[np.float64]

# Pixels from a point to the nearest edge of its name, and the directions to try (y points upwards), preferred first.
_DISTANCES = (10, 28, 50, 80)
_DIRECTIONS = (
    *((0, -1), (0, 1), (1, 0), (-1, 0)),
    *((0.6, -1), (-0.6, 1), (0.6, 1), (-0.6, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)),
)
_MARGIN = 4.0
_SPACING = 8.0


def place_labels(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    avoid: Sequence[tuple[float, float]],
    area: tuple[float, float],
) -> list[tuple[float, float]]:
    """For each anchor, the offset of the middle of its name, in pixels; `sizes` are the names' widths and heights.

    Names are placed one after the other. Each takes the best of some places around its anchor: within `area`, covering
    no earlier name, covering few points of `avoid`, and near. All positions are pixels from the lower left corner.
    """
    points = np.array([*avoid, *anchors], dtype=np.float64).reshape(-1, 2)
    boxes: list[Array] = []
    offsets = []
    for anchor, size in zip(anchors, sizes, strict=True):
        half = np.array(size) / 2
        candidates = [np.array(direction) * (half + distance) for distance in _DISTANCES for direction in _DIRECTIONS]
        costs = [
            _cost(np.array(anchor) + offset, half + _MARGIN, points, boxes, area) + index / 100
            for index, offset in enumerate(candidates)
        ]
        offset = candidates[int(np.argmin(costs))]
        boxes.append(np.array([np.array(anchor) + offset, half + _MARGIN]))
        offsets.append((float(offset[0]), float(offset[1])))
    return offsets


def along(corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points a few pixels apart on the line through `corners`, which make the line an obstacle."""
    points = []
    for start, end in pairwise(corners):
        steps = 1 + int(max(abs(end[0] - start[0]), abs(end[1] - start[1])) / _SPACING)
        points += [
            (start[0] + (end[0] - start[0]) * step / steps, start[1] + (end[1] - start[1]) * step / steps)
            for step in range(steps + 1)
        ]
    return points


def obstacles(
    chart: Chart, pixels: Callable[[float, float], tuple[float, float]], height: float
) -> list[tuple[float, float]]:
    """The points that no name should cover: the trials, the line of steps and the budgets' lines.

    `pixels` turns an x and a top-1 into a position; `height` is that of the plot, in pixels.
    """
    points = [pixels(chart.x(trial.network), trial.network.learned) for trial in chart.result.completed]
    steps: list[tuple[float, float]] = []
    for trial in chart.steps:
        corner = pixels(chart.x(trial.network), trial.network.learned)
        if steps:
            last = steps[-1]
            steps.append((corner[0], last[1]) if chart.rises_late else (last[0], corner[1]))
        steps.append(corner)
    points += along(steps)
    for budget, _ in chart.budgets:
        across = pixels(budget, 0.0)[0]
        points += along([(across, 0.0), (across, height)])
    return points


def _cost(middle: Array, half: Array, points: Array, boxes: Sequence[Array], area: tuple[float, float]) -> float:
    covered = np.all(np.abs(points - middle) < half, axis=1).sum()
    names = sum(bool(np.all(np.abs(box[0] - middle) < half + box[1])) for box in boxes)
    outside = np.any(middle - half < 0) or np.any(middle + half > area)
    return float(covered) + 20 * names + 100 * bool(outside)
