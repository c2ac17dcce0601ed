"""Recommend networks that meet the limits of a use on a device, and say why.

Those of a run are its front and the references that were trained beside it, chosen by their accuracy there. Without a
run they are published networks, whose accuracy is not known here; they are chosen by their multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from nas.deploy.scaling.family import estimate_extended
from nas.latency.table import LatencyTable
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import estimate_costs
from nas.search.costing import CostedNetwork
from nas.search.results.result import SearchResult

_FLOAT_BYTES = 4
# In percentage points of top-1: smaller differences after short training are taken for none.
_AS_GOOD = 1.0


@dataclass(frozen=True)
class Use:
    """A purpose, as limits on a network; None is no limit.

    `weight_bytes` and `activation_bytes` (the highest total at one time) count `bytes_each` for each number: 4 for
    float32, 1 for int8. `why` says where the limits come from.
    """

    name: str
    latency_ms: float | None
    weight_bytes: int | None
    activation_bytes: int | None
    bytes_each: int
    why: str


USES: Mapping[str, Use] = {
    use.name: use
    for use in (
        Use("real-time", 1000 / 30, None, None, 4, "30 frames a second"),
        Use("general", 100.0, None, None, 4, "an answer within 0.1 s feels immediate (Nielsen, 1993)"),
        Use("edge", 1000 / 15, 20_000_000, None, 4, "15 frames a second, and 20 MB of weights (assumption)"),
        Use(
            "embedded",
            None,
            1_000_000,
            320_000,
            1,
            "int8 in 1 MB of flash and 320 kB of memory, the microcontroller of MCUNet (arXiv:2007.10319)",
        ),
    )
}


@dataclass(frozen=True)
class Candidate:
    """A network with its costs on the device; `top1` (percent) is None where it was not trained here."""

    name: str
    kind: str
    architecture: Architecture
    top1: float | None
    latency_ms: float
    params: int
    macs: int
    peak_activation_bytes: int

    def broken(self, use: Use) -> tuple[str, ...]:
        """The limits of `use` that it exceeds, in words."""
        weights = self.params * use.bytes_each
        activations = self.peak_activation_bytes * use.bytes_each // _FLOAT_BYTES
        checks = (
            ("latency", self.latency_ms, use.latency_ms, "{:.4g} ms"),
            ("weights", weights / 1e6, use.weight_bytes and use.weight_bytes / 1e6, "{:.4g} MB"),
            ("activations", activations / 1e3, use.activation_bytes and use.activation_bytes / 1e3, "{:.4g} kB"),
        )
        return tuple(
            f"{name} {unit.format(value)} > {unit.format(most)}"
            for name, value, most, unit in checks
            if most is not None and value > most
        )


@dataclass(frozen=True)
class Recommendation:
    """A candidate that meets the use, and why it is named."""

    candidate: Candidate
    why: str


def candidates_of_run(result: SearchResult, latency_ms: Callable[[Architecture], float]) -> list[Candidate]:
    """The front of a run, and the references that were trained by the same recipe."""
    front = [(f"trial_{trial.number}", "front", trial.network) for trial in result.front]
    references = [(network.name, "reference", network) for network in result.references if network.score]
    return [_candidate(name, kind, network, latency_ms) for name, kind, network in (*front, *references)]


def published_candidates(
    networks: Mapping[str, Architecture], latency_ms: Callable[[Architecture], float]
) -> list[Candidate]:
    """Published networks, whose accuracy is not known here."""
    return [_costed(name, "published", network, None, latency_ms) for name, network in networks.items()]


def recommend(candidates: Sequence[Candidate], use: Use) -> list[Recommendation]:
    """Up to three candidates that meet `use`: the best, and of those about as good the fastest and the smallest.

    Empty where none meets it. The best is the most accurate, or, where no accuracy is known, the one with the most
    multiply-accumulates. assumption: published networks with more multiply-accumulates are more accurate.
    """
    fitting = [candidate for candidate in candidates if not candidate.broken(use)]
    if not fitting:
        return []
    by_accuracy = all(candidate.top1 is not None for candidate in fitting)
    best = max(fitting, key=lambda one: (_merit(one, by_accuracy), -one.latency_ms))
    recommendations = [Recommendation(best, _why_best(best, use, by_accuracy))]
    near = [one for one in fitting if _merit(one, by_accuracy) >= _enough(best, by_accuracy)]
    for what, key in (("fastest", lambda one: one.latency_ms), ("smallest", lambda one: one.params)):
        chosen = min(near, key=key)
        if all(chosen != one.candidate for one in recommendations):
            recommendations.append(Recommendation(chosen, f"the {what} of those {_near_words(by_accuracy)}"))
    return recommendations


def nearest_misses(candidates: Sequence[Candidate], use: Use, count: int = 3) -> list[Candidate]:
    """The `count` candidates that exceed the fewest limits of `use`, the fastest first among equals."""
    return sorted(candidates, key=lambda one: (len(one.broken(use)), one.latency_ms))[:count]


def with_latency(use: Use, latency_ms: float | None) -> Use:
    """`use` with `latency_ms` as its limit on latency, where that is not None."""
    if latency_ms is None:
        return use
    rest = f"; else: {use.why}" if use.weight_bytes or use.activation_bytes else ""
    return replace(use, latency_ms=latency_ms, why=f"{latency_ms:g} ms, as asked{rest}")


def latency_on(table: LatencyTable) -> Callable[[Architecture], float]:
    """A function that gives a network's latency by `table`, with units that have no row modelled."""
    return lambda architecture: estimate_extended(table, architecture).latency_ms


def _candidate(name: str, kind: str, network: CostedNetwork, latency_ms: Callable[[Architecture], float]) -> Candidate:
    return _costed(name, kind, network.architecture, network.score.top1 if network.score else None, latency_ms)


def _costed(
    name: str, kind: str, architecture: Architecture, top1: float | None, latency_ms: Callable[[Architecture], float]
) -> Candidate:
    costs = estimate_costs(deployed(architecture))
    return Candidate(
        name, kind, architecture, top1, latency_ms(architecture), costs.params, costs.macs, costs.peak_activation_bytes
    )


def _merit(candidate: Candidate, by_accuracy: bool) -> float:
    return candidate.top1 if by_accuracy and candidate.top1 is not None else float(candidate.macs)


def _enough(best: Candidate, by_accuracy: bool) -> float:
    return _merit(best, by_accuracy) - _AS_GOOD if by_accuracy else _merit(best, by_accuracy) * 0.5


def _near_words(by_accuracy: bool) -> str:
    return f"within {_AS_GOOD:g} point of it" if by_accuracy else "with at least half of its multiply-accumulates"


def _why_best(best: Candidate, use: Use, by_accuracy: bool) -> str:
    what = "the most accurate" if by_accuracy else "the most multiply-accumulates"
    spare = f", {use.latency_ms - best.latency_ms:.3g} ms to spare" if use.latency_ms is not None else ""
    return f"{what} that meets the limits{spare}"
