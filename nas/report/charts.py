"""Charts of a search: which there are, and which networks, lines and titles each shows.

Each has top-1 along y, and along x one objective that is known before training: first latency on the main device, then
every other objective.
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
    """The trained networks of `result`: top-1 along y, the value called `name` along x."""

    result: SearchResult
    name: str

    def x(self, network: CostedNetwork) -> float:
        """The network's x, in the unit of the title."""
        return network.values[self.name] / read_in(self.name)[0]

    @property
    def title(self) -> str:
        """The title of the x axis with its unit, such as `latency on pixel_lut (ms)`."""
        main = quantity_of(self.name).of_device and not split_name(self.name)[1]
        device = f" on {self.result.setting.device}" if main else ""
        return f"{short(label_of(self.name) + device, 52)} ({read_in(self.name)[1]})"

    @property
    def is_whole(self) -> bool:
        """Whether these two are the only objectives, so that the front is one line of this chart."""
        return set(self.result.setting.objectives) == {self.result.setting.learned, self.name}

    @cached_property
    def dominated(self) -> tuple[Trial, ...]:
        """The trained networks that are not on the front."""
        on_front = {trial.number for trial in self.result.front}
        return tuple(trial for trial in self.result.completed if trial.number not in on_front)

    @property
    def stopped(self) -> tuple[Trial, ...]:
        """The networks whose training was stopped early; their top-1 is not that of a whole training."""
        return self.result.stopped

    @property
    def repeated(self) -> tuple[tuple[Trial, Certainty], ...]:
        """The members of the front that were trained again, each with its mean, interval and probability."""
        certainties = self.result.certainties
        return tuple((trial, certainties[trial.number]) for trial in self.result.front if trial.number in certainties)

    @cached_property
    def steps(self) -> tuple[Trial, ...]:
        """The front of the two values that this chart shows, from left to right."""
        front = front_among(self.result.completed, (self.result.setting.learned, self.name))
        return tuple(sorted(front, key=lambda trial: self.x(trial.network)))

    @property
    def rises_late(self) -> bool:
        """Whether less of x is better, as with latency: the line then keeps its height until the next point."""
        return not quantity_of(self.name).larger_is_better

    @property
    def references(self) -> tuple[CostedNetwork, ...]:
        """The reference networks that were trained."""
        return tuple(network for network in self.result.references if network.score)

    @property
    def budgets(self) -> tuple[tuple[float, str], ...]:
        """The x of each budget's line, and the words beside it."""
        values = self.result.setting.budgets.get(self.name, ())
        return tuple((value / read_in(self.name)[0], bound(self.name, value)) for value in values)


def charts_of(result: SearchResult) -> tuple[Chart, ...]:
    """The chart of latency on the main device, and one for every other objective that is known before training."""
    others = (name for name in result.setting.known_objectives if name != MAIN)
    return tuple(Chart(result, name) for name in (MAIN, *others))
