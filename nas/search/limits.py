"""Which candidates are known to break a limit, before anything is trained?"""

from __future__ import annotations

from nas.search.experiment import Limits
from nas.search.result import CostedNetwork


def violations(network: CostedNetwork, limits: Limits) -> dict[str, float]:
    """By limit, the relative excess: 0.1 is a tenth above; at most 0 is met."""
    return {name: value_of(network, name) / limit - 1 for name, limit in limits.given().items()}


def broken(network: CostedNetwork, limits: Limits) -> str:
    """The limits that a network breaks, in words; empty when it meets all."""
    return "; ".join(
        f"{name} {value_of(network, name):.6g} is above {limit:.6g}"
        for name, limit in limits.given().items()
        if value_of(network, name) > limit
    )


def excess(network: CostedNetwork, limits: Limits) -> float:
    """How far a network is beyond its limits: the sum of the relative excesses."""
    return sum(max(0.0, violation) for violation in violations(network, limits).values())


def value_of(network: CostedNetwork, name: str) -> float:
    """What a network has of the thing that the limit `name` is on."""
    if name == "latency_ms":
        return network.latency.latency_ms
    return float(getattr(network.costs, name))
