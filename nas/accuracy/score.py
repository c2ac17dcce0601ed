"""Score: how good a network is, and how that was found out; a value without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from nas.errors import NasError

# The metric of every evaluator that trains: the share of validation images whose class comes first, in percent.
TOP1 = "top1"
# How a score is earned by training a network's proxy alone, from scratch, for a few epochs.
SHORT = "short"


@dataclass(frozen=True)
class Score:
    """How good a network is: `value`, the more the better, in the unit of `metric` (percent for top1).

    `rung` names how it was earned (short training, a supernet, …). `epochs` is what was trained, 0 where nothing was;
    `seconds` are those of training alone; `resolution` is that of the network that was scored, in pixels. `budget` is
    None for a whole score. For a partial one, earned on the way, it is the epochs that the learning rate's schedule was
    laid out for: its rate was still high, so it is no score of fewer epochs.

    Scores of different metrics, rungs or budgets are never compared (`comparable`).
    """

    value: float
    epochs: int
    seed: int
    seconds: float
    dataset: str
    resolution: int
    train_images: int
    val_images: int
    budget: int | None = None
    metric: str = TOP1
    rung: str = SHORT

    def __post_init__(self) -> None:
        if self.metric == TOP1 and not 0 <= self.value <= 100:
            raise NasError(f"top1 must be 0 to 100 percent, but is {self.value}")
        if not math.isfinite(self.value):
            raise NasError(f"a score must be a finite number, but its {self.metric} is {self.value}")
        least = 1 if self.rung == SHORT else 0
        if self.epochs < least:
            raise NasError(f"the epochs of a score must be at least {least}, but are {self.epochs}")
        if self.budget is not None and self.budget <= self.epochs:
            raise NasError(f"a partial score must have a budget above its {self.epochs} epochs, but has {self.budget}")

    @property
    def top1(self) -> float:
        """The value as top-1 in percent. Raises ValueError for a score of another metric."""
        if self.metric != TOP1:
            raise ValueError(f"a score of the metric {self.metric} is no top-1")
        return self.value

    @property
    def budget_share(self) -> float:
        """What part of its whole training was done: 1 for a score that is not partial."""
        return 1.0 if self.budget is None else self.epochs / self.budget

    def comparable(self, other: Score) -> bool:
        """Whether both were earned in the same way, with one budget, on the same images: else neither is better."""
        return self._conditions() == other._conditions()

    def _conditions(self) -> tuple[object, ...]:
        return self.metric, self.rung, self.dataset, self.epochs, self.budget, self.train_images, self.val_images

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold.

        A top-1 stands under that name, and the rung `short` is left out: so earlier versions wrote every score.
        """
        data = asdict(self)
        if self.metric == TOP1:
            del data["metric"]
            data = {TOP1: data.pop("value"), **data}
        if self.rung == SHORT:
            del data["rung"]
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Score:
        """The score that `to_json` wrote. Raises NasError for missing and unknown keys."""
        content = dict(data)
        if TOP1 in content and "value" not in content:
            content["value"] = content.pop(TOP1)
        required = {f.name for f in fields(Score) if f.default is MISSING}
        missing = sorted(required - set(content))
        unknown = sorted(set(content) - {f.name for f in fields(Score)})
        if missing or unknown:
            raise NasError(
                f"a score must have the keys {sorted(required)}, but lacks {missing} and has {unknown} besides"
            )
        return Score(**content)
