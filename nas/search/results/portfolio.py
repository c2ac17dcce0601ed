"""Pick the networks of a search that answer an architect's questions.

These are the knee, the best within each budget, the best within several budgets together, and the one that stands best
on its worst device. All are members of the front. Where a reference network answers better, the pick names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.costing import CostedNetwork
from nas.search.pareto import dominates, no_worse, standings
from nas.search.quantities import loss_of, on_device, quantity_of, split_name
from nas.search.results.result import SearchResult
from nas.search.trial import Trial


@dataclass(frozen=True)
class Pick:
    """A member of the front, the reason why it is picked ("best within 30 ms"), and a name for its files.

    `better` names the references that dominate it, or that have a higher top-1 within the budgets it was picked for.
    """

    reason: str
    slug: str
    trial: Trial
    better: tuple[str, ...] = ()


def picks_of(result: SearchResult) -> tuple[Pick, ...]:
    """The knee of a search, and a pick for each question that its objectives and budgets ask."""
    if not result.completed:
        return ()
    picks = [_pick(result, "knee of the front", "knee", result.knee)]
    if len(latency_objectives(result)) > 1:
        picks.append(_pick(result, "best on its worst device", "worst_device", best_on_worst_device(result)))
    for name, values in result.setting.budgets.items():
        for budget in values:
            best = result.best_within(name, budget)
            if best is not None:
                picks.append(_pick(result, f"best {_within(name, budget)}", _slug(name, budget), best, {name: budget}))
    for number, budgets in enumerate(joint_budgets(result.setting.budgets), start=1):
        best = result.best_within_all(budgets)
        if best is not None:
            picks.append(_pick(result, f"best {within(budgets)}", f"within_all_{number}", best, budgets))
    return tuple(picks)


def unmet_budgets(result: SearchResult) -> tuple[Mapping[str, float], ...]:
    """The budgets that no completed trial meets: single ones, and joint ones whose single budgets are all met."""
    if not result.completed:
        return ()
    single = [{name: budget} for name, values in result.setting.budgets.items() for budget in values]
    unmet = [budgets for budgets in single if result.best_within_all(budgets) is None]
    for budgets in joint_budgets(result.setting.budgets):
        alone = any({name: budget} in unmet for name, budget in budgets.items())
        if not alone and result.best_within_all(budgets) is None:
            unmet.append(budgets)
    return tuple(unmet)


def references_beyond(result: SearchResult) -> tuple[CostedNetwork, ...]:
    """The references within the limits that no member of the front equals or dominates."""
    rivals = _rivals(result, result.front)
    front = _losses(result, [trial.network for trial in result.front])
    reached_by = no_worse(front, _losses(result, rivals)).T
    return tuple(network for network, members in zip(rivals, reached_by, strict=True) if not members.any())


def references_within(result: SearchResult, budgets: Mapping[str, float]) -> tuple[CostedNetwork, ...]:
    """The references within the limits that meet these budgets."""
    return tuple(network for network in _rivals(result, result.completed) if _meets(network, budgets))


def _pick(
    result: SearchResult, reason: str, slug: str, trial: Trial, budgets: Mapping[str, float] | None = None
) -> Pick:
    rivals = _rivals(result, [trial])
    dominating = dominates(_losses(result, rivals), _losses(result, [trial.network]))[:, 0]
    better = tuple(
        network.name
        for network, is_dominating in zip(rivals, dominating, strict=True)
        if is_dominating or (budgets and _meets(network, budgets) and network.learned > trial.network.learned)
    )
    return Pick(reason, slug, trial, better)


def _rivals(result: SearchResult, trials: Sequence[Trial]) -> list[CostedNetwork]:
    """The trained references within the limits whose scores are comparable with those of `trials`."""
    scores = [trial.network.score for trial in trials]
    return [
        network
        for network in result.references
        if network.score is not None
        and _meets(network, result.setting.limits)
        and all(score is not None and network.score.comparable(score) for score in scores)
    ]


def _meets(network: CostedNetwork, bounds: Mapping[str, float]) -> bool:
    """Whether a network is within limits or budgets by quantity (fps: at or above them)."""
    return all(loss_of(name, network.value(name)) <= loss_of(name, most) for name, most in bounds.items())


def _losses(result: SearchResult, networks: Sequence[CostedNetwork]) -> NDArray[np.float64]:
    """(n, objectives): the search's objectives of these networks, minimised."""
    objectives = result.setting.objectives
    losses = [network.losses(objectives) for network in networks]
    return np.array(losses, dtype=np.float64).reshape(len(networks), len(objectives))


def latency_objectives(result: SearchResult) -> tuple[str, ...]:
    """The latency objective of each device whose latency or frame rate is an objective of the search."""
    by_device: dict[str, str] = {}
    for name in result.setting.known_objectives:
        quantity, device = split_name(name)
        if quantity in ("latency_ms", "fps"):
            by_device.setdefault(device, on_device("latency_ms", device))
    return tuple(by_device.values())


def best_on_worst_device(result: SearchResult) -> Trial:
    """The front's member whose standing on its worst device is best (max-min: Wald, 1945).

    The standing on a device is computed from top-1 and the latency there: how far a network lies beyond the line
    between the ends of that device's front (`pareto.standings`). With one device this is the knee. Regret, the latency
    in excess of the fastest network of the same accuracy, would not do: the most accurate network never has any.
    """
    by_device = [
        standings([trial.network.losses((result.setting.learned, name)) for trial in result.front])
        for name in latency_objectives(result)
    ]
    return result.front[int(np.argmax(np.min(by_device, axis=0)))]


def joint_budgets(budgets: Mapping[str, tuple[float, ...]]) -> list[dict[str, float]]:
    """Budgets of several objectives that belong together: the first of each, the second of each, and so on.

    Empty where only one objective has budgets, and where some have more than others, since nothing says which belong
    together.
    """
    if len(budgets) < 2 or len({len(values) for values in budgets.values()}) > 1:
        return []
    return [dict(zip(budgets, tier, strict=True)) for tier in zip(*budgets.values(), strict=True)]


def within(budgets: Mapping[str, float]) -> str:
    """The budgets in words: `within 30 ms and within 40 ms on board`."""
    return " and ".join(_within(name, budget) for name, budget in budgets.items())


def _within(name: str, budget: float) -> str:
    quantity, device = quantity_of(name), split_name(name)[1]
    words = f"{'at' if quantity.larger_is_better else 'within'} {budget:.10g} {quantity.unit}"
    return f"{words} on {device}" if device else words


def _slug(name: str, budget: float) -> str:
    quantity, device = quantity_of(name), split_name(name)[1]
    words = f"{'at' if quantity.larger_is_better else 'within'}_{budget:.10g}{quantity.unit}"
    return f"{words}_on_{device}" if device else words
