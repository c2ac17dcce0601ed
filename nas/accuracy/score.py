"""Score: how good a network is, and how that was found out; a value without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from nas.errors import NasError


@dataclass(frozen=True)
class Score:
    """Top-1 on the validation images, in percent, and how it was earned.

    `epochs` is what was trained; `resolution` is that of the network that was trained, in pixels; `seconds` are those
    of training alone. `budget` is None for a whole training. For a partial score, earned on the way, it is the epochs
    that the learning rate's schedule was laid out for: its rate was still high, so it is no score of fewer epochs.
    """

    top1: float
    epochs: int
    seed: int
    seconds: float
    dataset: str
    resolution: int
    train_images: int
    val_images: int
    budget: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.top1 <= 100:
            raise NasError(f"top1 must be 0 to 100 percent, but is {self.top1}")
        if self.epochs < 1:
            raise NasError(f"the epochs of a score must be at least 1, but are {self.epochs}")
        if self.budget is not None and self.budget <= self.epochs:
            raise NasError(f"a partial score must have a budget above its {self.epochs} epochs, but has {self.budget}")

    @property
    def budget_share(self) -> float:
        """What part of its whole training was done: 1 for a score that is not partial."""
        return 1.0 if self.budget is None else self.epochs / self.budget

    def comparable(self, other: Score) -> bool:
        """Whether both were earned with the same budget, on the same images: else neither is better."""
        return self._conditions() == other._conditions()

    def _conditions(self) -> tuple[str, int, int | None, int, int]:
        return self.dataset, self.epochs, self.budget, self.train_images, self.val_images

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Score:
        """The score that `to_json` wrote. Raises NasError for missing and unknown keys."""
        needed = {f.name for f in fields(Score) if f.default is MISSING}
        missing, unknown = sorted(needed - set(data)), sorted(set(data) - {f.name for f in fields(Score)})
        if missing or unknown:
            raise NasError(
                f"a score must have the keys {sorted(needed)}, but lacks {missing} and has {unknown} besides"
            )
        return Score(**data)
