"""Sentences about where a reference network beats a search's result, and which budgets nothing meets.

Reference networks are trained and costed as the candidates are, so that one of them may be better than any candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas.search.costing import CostedNetwork
from nas.search.quantities import loss_of, split_name
from nas.search.results.portfolio import Pick, references_beyond, references_within, unmet_budgets, within
from nas.search.results.result import SearchResult
from nas.search.results.wording import count, with_device, written


def better_line(result: SearchResult, pick: Pick) -> str:
    """`the reference mobilenet_v3_small is better: 89.8 % at 16.4 ms`; empty where no reference is better."""
    if not pick.better:
        return ""
    better = [network for network in result.references if network.name in pick.better]
    one, *others = better
    if not others:
        return f"the reference {one.name} is better: {_figures(result, one)}"
    return f"{count(len(better), 'reference')} are better: {_named(result, better)}"


def beyond_line(result: SearchResult) -> str:
    """A sentence that names the references beyond the front; empty where there are none."""
    beyond = references_beyond(result)
    if not beyond:
        return ""
    them = "it" if len(beyond) == 1 else "any of them"
    return f"beyond the front: {_named(result, beyond)}; no network of the search reaches {them} in all objectives"


def unmet_lines(result: SearchResult) -> tuple[str, ...]:
    """`nothing within 0.5 ms; the fastest is trial 3 at 12.9 ms`, one for each budget that no trained network meets."""
    lines = []
    for budgets in unmet_budgets(result):
        line = f"nothing {within(budgets)}"
        if len(budgets) == 1:
            (name,) = budgets
            nearest = min(result.completed, key=lambda trial: loss_of(name, trial.network.value(name))).network
            word = "fastest" if split_name(name)[0] in ("latency_ms", "fps") else "nearest"
            line += f"; the {word} is {nearest.name} at {with_device(name, written(name, nearest.value(name)))}"
        references = references_within(result, budgets)
        if references:
            line += f"; of the references: {_named(result, references)}"
        lines.append(line)
    return tuple(lines)


def _named(result: SearchResult, networks: Sequence[CostedNetwork]) -> str:
    """Networks with their figures, separated by commas."""
    return ", ".join(f"{network.name} ({_figures(result, network)})" for network in networks)


def _figures(result: SearchResult, network: CostedNetwork) -> str:
    """The learned objective and the others of the search: `89.8 % at 16.4 ms`."""
    names, learned = result.setting.known_objectives, result.setting.learned
    costs = ", ".join(with_device(name, written(name, network.values[name])) for name in names)
    return f"{written(learned, network.learned)} at {costs}"
