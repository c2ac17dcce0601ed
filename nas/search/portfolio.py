"""Which networks of a search answer an architect's questions?

The knee; the best within each budget, on each device; one that keeps within the budgets of all; one that stands well on
every device. All are members of the front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.search.pareto import standings
from nas.search.quantities import LEARNED, on_device, quantity_of, split_name
from nas.search.result import SearchResult, Trial


@dataclass(frozen=True)
class Pick:
    """A member of the front that stands out, why ("knee", "best within 30 ms"), and a name for its files."""

    reason: str
    slug: str
    trial: Trial


def picks_of(result: SearchResult) -> tuple[Pick, ...]:
    """What stands out of a search: the knee, and an answer to each question that its objectives and budgets ask."""
    if not result.completed:
        return ()
    picks = [Pick("knee of the front", "knee", result.knee)]
    if len(latency_objectives(result)) > 1:
        picks.append(Pick("best on its worst device", "worst_device", best_on_worst_device(result)))
    for name, values in result.setting.budgets.items():
        for budget in values:
            best = result.best_within(name, budget)
            if best is not None:
                picks.append(Pick(f"best {_within(name, budget)}", _slug(name, budget), best))
    for number, budgets in enumerate(joint_budgets(result.setting.budgets), start=1):
        best = result.best_within_all(budgets)
        if best is not None:
            words = " and ".join(_within(name, budget) for name, budget in budgets.items())
            picks.append(Pick(f"best {words}", f"within_all_{number}", best))
    return tuple(picks)


def latency_objectives(result: SearchResult) -> tuple[str, ...]:
    """Of each device whose latency or frame rate is an objective, one such objective."""
    by_device: dict[str, str] = {}
    for name in result.setting.known_objectives:
        quantity, device = split_name(name)
        if quantity in ("latency_ms", "fps"):
            by_device.setdefault(device, on_device("latency_ms", device))
    return tuple(by_device.values())


def best_on_worst_device(result: SearchResult) -> Trial:
    """The front's member whose standing on its worst device is best (a maximin, after Wald, 1945).

    Standing is judged on each device by itself, from top-1 and the latency there: how far a network lies beyond the
    line between the ends of that device's front (`pareto.standings`). On one device it is the knee. Regret of latency
    against the fastest network of the same accuracy would not do: the most accurate one never has any.
    """
    by_device = [
        standings([trial.network.losses((LEARNED, name)) for trial in result.front])
        for name in latency_objectives(result)
    ]
    return result.front[int(np.argmax(np.min(by_device, axis=0)))]


def joint_budgets(budgets: Mapping[str, tuple[float, ...]]) -> list[dict[str, float]]:
    """Budgets of several objectives that hold together: the first of each, the second of each, and so on.

    None where only one objective has budgets, or some have more than others: it is not known which belong together.
    """
    if len(budgets) < 2 or len({len(values) for values in budgets.values()}) > 1:
        return []
    return [dict(zip(budgets, tier, strict=True)) for tier in zip(*budgets.values(), strict=True)]


def _within(name: str, budget: float) -> str:
    quantity, device = quantity_of(name), split_name(name)[1]
    words = f"{'at' if quantity.larger_is_better else 'within'} {budget:.10g} {quantity.unit}"
    return f"{words} on {device}" if device else words


def _slug(name: str, budget: float) -> str:
    quantity, device = quantity_of(name), split_name(name)[1]
    words = f"{'at' if quantity.larger_is_better else 'within'}_{budget:.10g}{quantity.unit}"
    return f"{words}_on_{device}" if device else words
