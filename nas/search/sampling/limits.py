"""Tell which limits a network breaks, and by how much, before it is trained."""

from __future__ import annotations

from nas.search.costing import CostedNetwork
from nas.search.experiment import Limits
from nas.search.quantities import loss_of, quantity_of


def violations(network: CostedNetwork, limits: Limits) -> dict[str, float]:
    """By limit, the relative excess: 0.1 is 10 % beyond the limit; 0 or less meets it."""
    return {
        name: loss_of(name, network.values[name]) / loss_of(name, limit) - 1 for name, limit in limits.given().items()
    }


def broken(network: CostedNetwork, limits: Limits) -> str:
    """The limits that a network breaks, in words; empty where it meets all."""
    return "; ".join(
        f"{name} {network.values[name]:.6g} is {'below' if quantity_of(name).larger_is_better else 'above'} {limit:.6g}"
        for name, limit in limits.given().items()
        if loss_of(name, network.values[name]) > loss_of(name, limit)
    )


def excess(network: CostedNetwork, limits: Limits) -> float:
    """The sum of a network's relative excesses over all limits; 0 where it meets them all."""
    return sum(max(0.0, violation) for violation in violations(network, limits).values())
