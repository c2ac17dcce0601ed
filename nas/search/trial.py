"""Trial: one draw of a search, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from nas.search.costing import CostedNetwork

# complete: trained and scored. stopped: trained in part and scored so far, where it was far from the front (rungs.py).
# infeasible: known to break a limit, never trained. duplicate: the same network as an earlier trial, never trained
# again. failed: training ended without a score.
Status = Literal["complete", "stopped", "infeasible", "duplicate", "failed"]


STATUSES: tuple[Status, ...] = get_args(Status)


# Those that training was spent on.
TRAINED: tuple[Status, ...] = ("complete", "stopped", "failed")


# Attributes of Optuna trials, for what the search and the sampler `front` tell each other and Optuna has no place for.
# PARTIAL, a user attribute of a trial that was stopped: {"value": its score so far, "budget": the share of the whole}.
# PREDICTED, a system attribute: {"mean": ..., "std": ...} of the score that the sampler expects, in the metric's unit.
PARTIAL = "partial"
PREDICTED = "front:predicted"


@dataclass(frozen=True)
class Trial:
    """One draw. `reason` says why a trial that is not complete is not; `seconds` is what it took in all.

    The score of a stopped trial's network is partial. `rungs` holds top-1, in percent, by the epochs at which training
    was looked at on the way: partial scores, for comparisons with others of as many epochs. `predicted` is what the
    sampler expected of top-1 before training, mean and standard deviation in percent, where it has a model.
    """

    number: int
    status: Status
    network: CostedNetwork
    reason: str = ""
    seconds: float = 0.0
    rungs: Mapping[int, float] = field(default_factory=dict)
    predicted: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "number": self.number,
            "status": self.status,
            "reason": self.reason,
            "seconds": self.seconds,
            "rungs": {str(epochs): top1 for epochs, top1 in self.rungs.items()},
            "predicted": list(self.predicted) if self.predicted else None,
            "network": self.network.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """The inverse of `to_json`."""
        network = CostedNetwork.from_json(data["network"])
        rungs = {int(epochs): top1 for epochs, top1 in data.get("rungs", {}).items()}
        mean_and_std = data.get("predicted")
        predicted = (mean_and_std[0], mean_and_std[1]) if mean_and_std else None
        return cls(data["number"], data["status"], network, data["reason"], data["seconds"], rungs, predicted)
