"""The quantities of a network that can be objectives or limits of a search, and their names.

A name is one of QUANTITIES, such as `latency_ms`. A quantity that depends on the device is that of the main device, or
of another one: `latency_ms@note10_lut`. Top-1, or another score that an evaluator gives, is learned; all other
quantities are known before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nas.accuracy.score import TOP1
from nas.errors import nearest_first
from nas.files import NAME_PATTERN


@dataclass(frozen=True)
class Quantity:
    """A quantity of a network: its name in words, its unit, whether larger is better, and whether it is a device's."""

    label: str
    unit: str
    larger_is_better: bool = False
    of_device: bool = False
    learned: bool = False


QUANTITIES = {
    "top1": Quantity("top-1", "%", larger_is_better=True, learned=True),
    "score": Quantity("score", "", larger_is_better=True, learned=True),
    "latency_ms": Quantity("latency", "ms", of_device=True),
    "fps": Quantity("frames a second", "fps", larger_is_better=True, of_device=True),
    "energy_mj": Quantity("energy", "mJ", of_device=True),
    "params": Quantity("parameters", "params"),
    "macs": Quantity("MACs", "MACs"),
    "peak_activation_bytes": Quantity("peak memory", "bytes"),
}
# What evaluators give, by the names of their metrics (`Score.metric`). A search has one of them as an objective.
LEARNED = tuple(name for name, quantity in QUANTITIES.items() if quantity.learned)
DEFAULT_OBJECTIVES = (TOP1, "latency_ms")


def split_name(name: str) -> tuple[str, str]:
    """Split `latency_ms@note10_lut` into quantity and device; the device is empty for the main one."""
    quantity, _, device = name.partition("@")
    return quantity, device


def on_device(quantity: str, device: str) -> str:
    """The name of a quantity on a device: the inverse of `split_name`."""
    return f"{quantity}@{device}" if device else quantity


def quantity_of(name: str) -> Quantity:
    """The quantity of a name. Raises KeyError for a name that `check_name` would refuse."""
    return QUANTITIES[split_name(name)[0]]


def learned_of(objectives: Iterable[str]) -> str:
    """The objective that is learned: the metric of the scores."""
    return next(name for name in objectives if name in LEARNED)


def label_of(name: str) -> str:
    """The name in words: `latency on note10_lut`."""
    device = split_name(name)[1]
    return quantity_of(name).label + (f" on {device}" if device else "")


def check_name(name: str, allowed: Iterable[str] = tuple(QUANTITIES)) -> str:
    """`name`, if its quantity is one of `allowed`. Raises a ValueError that lists the quantities otherwise."""
    allowed = tuple(allowed)
    quantity, device = split_name(name)
    if quantity not in allowed:
        problem = f"{quantity} is known only after training" if quantity in LEARNED else f"unknown name {name!r}"
        of_device = ", ".join(name for name in allowed if QUANTITIES[name].of_device)
        raise ValueError(
            f"{problem}. Known, nearest first: {', '.join(nearest_first(quantity, allowed))}; "
            f"for another device, with @TABLE: {of_device}"
        )
    if "@" in name and not QUANTITIES[quantity].of_device:
        raise ValueError(f"{quantity} is the same on every device: write {quantity} instead of {name!r}")
    if "@" in name and not re.fullmatch(NAME_PATTERN, device):
        raise ValueError(f"the part behind @ must be the name of a latency table, but is {device!r} in {name!r}")
    return name


def check_known_name(name: str) -> str:
    """As `check_name`, for the quantities that are known before training."""
    return check_name(name, [quantity for quantity in QUANTITIES if quantity not in LEARNED])


def loss_of(name: str, value: float) -> float:
    """A value as a loss to be minimised, at best 0: the error for top-1, milliseconds a frame for fps.

    Losses have the same order and the same front; their hypervolume is part of a box that ends at 0. A score, which has
    no best value, is negated: it has no such box.
    """
    if name == TOP1:
        return 100 - value
    if name in LEARNED:
        return -value
    return 1000 / value if quantity_of(name).larger_is_better else value
