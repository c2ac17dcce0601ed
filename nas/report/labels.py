"""Where can a name stand beside its point without hiding others?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nas.report.charts import Chart

Array = NDArray[np.float64]

# Pixels from a point to the nearest edge of its name, and the directions that are tried (y is upwards), best first.
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
    """For each anchor, the offset in pixels of the middle of its name (`sizes`: width and height).

    One after the other, each takes the nearest place within `area` that covers the fewest points of `avoid` and no name
    before it. All positions are pixels from the lower left corner.
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
    """Points on the line through `corners`, a few pixels apart, so that a line is an obstacle too."""
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
    """What no name should cover: the trials, the line of steps and the budgets' lines.

    `pixels` gives the place of an x and a top-1.
    """
    found = [pixels(chart.x(trial.network), trial.network.top1) for trial in chart.result.completed]
    steps: list[tuple[float, float]] = []
    for trial in chart.steps:
        corner = pixels(chart.x(trial.network), trial.network.top1)
        if steps:
            last = steps[-1]
            steps.append((corner[0], last[1]) if chart.rises_late else (last[0], corner[1]))
        steps.append(corner)
    found += along(steps)
    for budget, _ in chart.budgets:
        across = pixels(budget, 0.0)[0]
        found += along([(across, 0.0), (across, height)])
    return found


def _cost(middle: Array, half: Array, points: Array, boxes: Sequence[Array], area: tuple[float, float]) -> float:
    covered = np.all(np.abs(points - middle) < half, axis=1).sum()
    names = sum(bool(np.all(np.abs(box[0] - middle) < half + box[1])) for box in boxes)
    outside = np.any(middle - half < 0) or np.any(middle + half > area)
    return float(covered) + 20 * names + 100 * bool(outside)
