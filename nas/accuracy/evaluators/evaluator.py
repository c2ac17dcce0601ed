"""What an evaluator is: the one required ability, scoring, and two further ones, each a protocol of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from nas.accuracy.score import Score
from nas.listener import Listener
from nas.networks.architecture import Architecture

if TYPE_CHECKING:
    from torch import Tensor

    from nas.accuracy.training.training_identity import TrainingIdentity


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A score and, where a network was trained to its end, the weights of the network (its state_dict, on the CPU).

    `note` says what was out of the ordinary, such as a damaged checkpoint.
    """

    score: Score
    weights: Mapping[str, Tensor] | None = None
    note: str = ""


class Evaluator(Protocol):
    """Scores architectures, all in the same way.

    `rung` names that way, and `metric` what the values are of (`Score`). `chance` is the value of a network that knows
    nothing: 10 (percent) for top-1 with ten classes.
    """

    @property
    def rung(self) -> str:
        """How its scores are earned."""
        ...

    @property
    def metric(self) -> str:
        """What its values are of."""
        ...

    @property
    def chance(self) -> float:
        """The value of a network that knows nothing."""
        ...

    def begin(self, folder: Path, listener: Listener) -> None:
        """Make ready what all scores rest on, once, before the first one; `folder` is its own in the run's directory.

        Called again after a kill, it goes on from what it has left in `folder`. An evaluator whose scores need nothing
        in advance does nothing.
        """
        ...

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        """The score of `architecture` after `budget` epochs, the same for the same three arguments.

        Raises TrainingFailedError with the reason where this architecture cannot be scored; others still can.
        """
        ...

    def proxy_of(self, architecture: Architecture) -> Architecture:
        """The network that is scored in the place of `architecture`; two with one proxy have one score."""
        ...

    def describe(self, budget: int) -> str:
        """In words, for the report: which network is scored, on what, and after how much training."""
        ...


class Untrained:
    """The common parts of evaluators that score an architecture itself, at once, with nothing made in advance."""

    rung: ClassVar[str] = "untrained"
    metric: ClassVar[str] = "score"
    chance: ClassVar[float] = 0.0

    def begin(self, folder: Path, listener: Listener) -> None:
        """Nothing."""

    def proxy_of(self, architecture: Architecture) -> Architecture:
        """Each network stands for itself."""
        return architecture

    def describe(self, budget: int) -> str:  # noqa: ARG002
        """The candidate, as it is."""
        return f"the candidate itself, without training ({self.rung})"


@runtime_checkable
class Identified(Protocol):
    """The ability to say what scores depend on, so that they can be cached."""

    def identity(self, architecture: Architecture, budget: int, seed: int) -> TrainingIdentity:
        """All that the score of these three arguments depends on, for a cache that outlives the run."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """The ability to stop on the way and go on later, for early stopping and for searches that are killed."""

    def advance(
        self, architecture: Architecture, budget: int, seed: int, *, until: int, checkpoint: Path
    ) -> Evaluation:
        """The score after `until` of `budget` epochs, going on from `checkpoint` where there is such a file.

        Below `budget` the score is partial, and `checkpoint` then holds what is needed to go on; asked again for
        epochs that it was asked for before, it answers from there. At `budget` the score and the weights are those of
        `evaluate`, bit for bit, on however many steps it was reached; the checkpoint is left for the caller to delete.
        A checkpoint that is damaged or of another training is not used: training begins anew, and the note says so.
        """
        ...
