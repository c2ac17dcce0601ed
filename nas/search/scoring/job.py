"""Job: one piece of scoring as plain data, for a worker in this process or in another; and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.accuracy.evaluators.evaluator import Evaluation
from nas.networks.architecture import Architecture


@dataclass(frozen=True)
class Job:
    """Score `architecture` by the evaluator called `evaluator`, until `until` of `budget` epochs.

    `trial` is the number of the trial that it belongs to; None for a reference or a repeat. `checkpoint` is the path of
    the file that an interrupted training goes on from; empty for an evaluation that is done at once.
    """

    evaluator: str
    architecture: Architecture
    budget: int
    until: int
    seed: int
    trial: int | None = None
    checkpoint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "evaluator": self.evaluator,
            "architecture": self.architecture.to_json(),
            "budget": self.budget,
            "until": self.until,
            "seed": self.seed,
            "trial": self.trial,
            "checkpoint": self.checkpoint,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """The inverse of `to_json`."""
        return cls(**{**data, "architecture": Architecture.from_json(data["architecture"])})


@dataclass(frozen=True, eq=False)
class Done:
    """What came of a job: an evaluation, or the reason why there is none."""

    job: Job
    evaluation: Evaluation | None
    failure: str = ""
