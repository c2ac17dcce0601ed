"""What of a network can a search aim at, or be limited in?

A name is one of QUANTITIES, such as `latency_ms`; what depends on the device is that of the main one, or of another:
`latency_ms@note10_lut`. Top-1, or another score that an evaluator gives, is learned; everything else is known before.
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
    """One thing that is known of a network: its name in words, its unit, and which way is better."""

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
    """The quantity and the device: `latency_ms@note10_lut`; the device is empty for the main one."""
    quantity, _, device = name.partition("@")
    return quantity, device


def on_device(quantity: str, device: str) -> str:
    """The inverse of `split_name`."""
    return f"{quantity}@{device}" if device else quantity


def quantity_of(name: str) -> Quantity:
    """What a name stands for. Raises KeyError for a name that `check_name` would refuse."""
    return QUANTITIES[split_name(name)[0]]


def learned_of(objectives: Iterable[str]) -> str:
    """The objective that is learned: the metric of the scores."""
    return next(name for name in objectives if name in LEARNED)


def label_of(name: str) -> str:
    """The name in words: `latency on note10_lut`."""
    device = split_name(name)[1]
    return quantity_of(name).label + (f" on {device}" if device else "")


def check_name(name: str, known: Iterable[str] = tuple(QUANTITIES)) -> str:
    """`name`, if it is one of `known`, on a device or not. Raises ValueError that lists those that exist."""
    known = tuple(known)
    quantity, device = split_name(name)
    if quantity not in known:
        problem = f"{quantity} is known only after training" if quantity in LEARNED else f"unknown name {name!r}"
        of_device = ", ".join(name for name in known if QUANTITIES[name].of_device)
        raise ValueError(
            f"{problem}. Known, nearest first: {', '.join(nearest_first(quantity, known))}; "
            f"for another device, with @TABLE: {of_device}"
        )
    if "@" in name and not QUANTITIES[quantity].of_device:
        raise ValueError(f"{quantity} is the same on every device: write {quantity} instead of {name!r}")
    if "@" in name and not re.fullmatch(NAME_PATTERN, device):
        raise ValueError(f"the part behind @ must be the name of a latency table, but is {device!r} in {name!r}")
    return name


def check_known_name(name: str) -> str:
    """As `check_name`, for what is known before training."""
    return check_name(name, [quantity for quantity in QUANTITIES if quantity not in LEARNED])


def loss_of(name: str, value: float) -> float:
    """A value as something to minimise that is at best 0: the error for top-1, milliseconds a frame for fps.

    The order stays, and so does the front; a hypervolume becomes a part of a box that ends at 0. A score, which has no
    best, is negated: it has no such box.
    """
    if name == TOP1:
        return 100 - value
    if name in LEARNED:
        return -value
    return 1000 / value if quantity_of(name).larger_is_better else value
