"""Which charts does a search have, and what stands on them?

Each is of top-1 against one thing that is known before training: latency on the main device first, then every other
objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nas.search.costing import CostedNetwork
from nas.search.quantities import label_of, quantity_of, split_name
from nas.search.results.noise import Certainty
from nas.search.results.result import SearchResult, front_among
from nas.search.results.wording import bound, read_in, short
from nas.search.trial import Trial

MAIN = "latency_ms"


@dataclass(frozen=True)
class Chart:
    """Top-1 of the trained networks of `result` against the value called `name`."""

    result: SearchResult
    name: str

    def x(self, network: CostedNetwork) -> float:
        """Where a network stands along x, in the unit of the title."""
        return network.values[self.name] / read_in(self.name)[0]

    @property
    def title(self) -> str:
        """What x is, and in which unit: `latency on pixel_lut (ms)`."""
        main = quantity_of(self.name).of_device and not split_name(self.name)[1]
        device = f" on {self.result.setting.device}" if main else ""
        return f"{short(label_of(self.name) + device, 52)} ({read_in(self.name)[1]})"

    @property
    def is_whole(self) -> bool:
        """Whether there is no other objective: then the front is one line here."""
        return set(self.result.setting.objectives) == {self.result.setting.learned, self.name}

    @cached_property
    def dominated(self) -> tuple[Trial, ...]:
        """The trained networks that are not on the front."""
        on_front = {trial.number for trial in self.result.front}
        return tuple(trial for trial in self.result.completed if trial.number not in on_front)

    @property
    def stopped(self) -> tuple[Trial, ...]:
        """The networks whose training was stopped on the way; where they stand is not where they would end."""
        return self.result.stopped

    @property
    def repeated(self) -> tuple[tuple[Trial, Certainty], ...]:
        """The members of the front that were trained again, and what that said."""
        certainties = self.result.certainties
        return tuple((trial, certainties[trial.number]) for trial in self.result.front if trial.number in certainties)

    @cached_property
    def steps(self) -> tuple[Trial, ...]:
        """The networks that no other beats in what this chart shows, from left to right."""
        found = front_among(self.result.completed, (self.result.setting.learned, self.name))
        return tuple(sorted(found, key=lambda trial: self.x(trial.network)))

    @property
    def rises_late(self) -> bool:
        """Whether the line keeps its height until the next point: less is better, as with latency."""
        return not quantity_of(self.name).larger_is_better

    @property
    def references(self) -> tuple[CostedNetwork, ...]:
        """The reference networks that were trained."""
        return tuple(network for network in self.result.references if network.score)

    @property
    def budgets(self) -> tuple[tuple[float, str], ...]:
        """Where lines stand for the budgets, and their words."""
        values = self.result.setting.budgets.get(self.name, ())
        return tuple((value / read_in(self.name)[0], bound(self.name, value)) for value in values)


def charts_of(result: SearchResult) -> tuple[Chart, ...]:
    """The chart of latency on the main device, and one for every other objective that is known before training."""
    others = (name for name in result.setting.known_objectives if name != MAIN)
    return tuple(Chart(result, name) for name in (MAIN, *others))
