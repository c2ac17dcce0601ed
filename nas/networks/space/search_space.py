"""`SearchSpace`: the networks that a search chooses from, read from YAML.

A sampler suggests its parameters: one for every decision with more than one choice. Every trial has all parameters,
even those of blocks that the chosen depth leaves out. `decode` turns them into an `Architecture`, which has no unused
decisions. The space's automaton (automaton.py) counts and draws its networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.config import Key, check, load_document
from nas.errors import ConfigError, NasError, unknown_name
from nas.files import find_file
from nas.networks.architecture import Architecture, Block
from nas.networks.deployed import deployed_unit
from nas.networks.operators import INPUT_CHANNELS, Unit
from nas.networks.space.automaton import Automaton, Decisions, State, Step, choices
from nas.networks.space.blocks import Choice
from nas.networks.space.format import SpaceFormat
from nas.networks.space.sizes import halved, row_units

if TYPE_CHECKING:
    from pandas import DataFrame

    from nas.networks.space.table import Members

Parameters = dict[str, Choice]
# Operators for which every combination of settings is valid, for any input.
_FIT_ALWAYS = frozenset({"mbconv", "ds_conv"})


@dataclass(frozen=True)
class Parameter:
    """One decision: its name, such as `stage2.block1.kernel` (counted from 1), and its choices."""

    name: str
    choices: tuple[Choice, ...]


class CostsMembers(Protocol):
    """What knows the latency of members of a space that were drawn together: a latency table."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def estimate_members(self, members: Members) -> NDArray[np.float64]:
        """The latency of each member, in milliseconds."""
        ...


@dataclass(frozen=True)
class SearchSpace:
    """A set of architectures, far too many to list. Made by `load_space`.

    `path` is the file that it was read from.
    """

    format: SpaceFormat
    path: Path | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The name in the file."""
        return self.format.name

    @property
    def largest_resolution(self) -> int:
        """The largest resolution of any member, in pixels."""
        return max(self.format.resolution)

    @cached_property
    def automaton(self) -> Automaton:
        """The automaton that reads and counts the space's networks."""
        return Automaton(self.format)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every decision with more than one choice, in a fixed order."""
        automaton = self.automaton
        decisions = [Parameter(group.name, tuple(group.rows)) for group in self.format.tied]
        if not automaton.is_tied("resolution"):
            decisions.append(Parameter("resolution", self.format.resolution))
        if not automaton.is_tied("width"):
            decisions.append(Parameter("width", self.format.width))
        for index, stage in enumerate(self.format.stages):
            prefix = f"stage{index + 1}"
            if not automaton.is_tied(f"{prefix}.depth"):
                decisions.append(Parameter(f"{prefix}.depth", stage.depth))
            decisions += [Parameter(f"{prefix}.{key}", choices(stage, key)) for key in automaton.shared_keys(index)]
            for block in range(max(stage.depth)):
                decisions += [
                    Parameter(f"{prefix}.block{block + 1}.{key}", choices(stage, key))
                    for key in automaton.block_keys(index)
                ]
        return tuple(parameter for parameter in decisions if len(parameter.choices) > 1)

    @cached_property
    def size(self) -> int:
        """The exact number of different architectures."""
        return sum(self.automaton.counts[start.node] for start in self.automaton.starts)

    def decode(self, parameters: Mapping[str, Choice]) -> Architecture:
        """The architecture that `parameters` describe. Raises NasError for a missing, unknown or impossible one."""
        self._check(parameters)
        automaton = self.automaton
        number = self._whole(parameters)
        whole = automaton.wholes[number]
        state = automaton.first_state(number)
        blocks = list(automaton.stem(whole))
        in_channels = state.in_channels
        for index in range(len(self.format.stages)):
            prefix = f"stage{index + 1}"
            shared = _picked(parameters, prefix, automaton.shared_keys(index))
            depths = automaton.depths(state, index)
            for position in range(int(parameters[f"{prefix}.depth"]) if len(depths) > 1 else depths[0]):
                own = _picked(parameters, f"{prefix}.block{position + 1}", automaton.block_keys(index))
                blocks.append(automaton.block(number, index, in_channels, position, shared + own))
                in_channels = blocks[-1].out_channels
        resolution = int(parameters["resolution"]) if len(whole.resolutions) > 1 else whole.resolutions[0]
        return Architecture(resolution, self.format.classes, (*blocks, *automaton.head(whole)))

    def encode(self, architecture: Architecture) -> Parameters:
        """Parameters that decode to `architecture`; unused decisions have their first choice.

        Raises NasError when the space does not contain it.
        """
        decisions = self._used(architecture)
        return {parameter.name: decisions.get(parameter.name, parameter.choices[0]) for parameter in self.parameters}

    def contains(self, architecture: Architecture) -> bool:
        """Whether some choice of parameters gives `architecture`."""
        return self._find(architecture) is not None

    def member(self, index: int) -> Architecture:
        """Member number `index`, from 0 to `size` - 1, in a fixed order."""
        if not 0 <= index < self.size:
            raise NasError(f"the space {self.name} has members 0 to {self.size - 1}, but got {index}")
        counts = self.automaton.counts
        for start in self.automaton.starts:
            if index < counts[start.node]:
                break
            index -= counts[start.node]
        blocks, node, heads = list(start.stem), start.node, self.automaton.ends(start.node)
        while index >= len(heads):
            index -= len(heads)
            for block, follower in self.automaton.followers(node).items():
                if index < counts[follower]:
                    blocks.append(block)
                    break
                index -= counts[follower]
            node, heads = follower, self.automaton.ends(follower)
        return Architecture(start.resolution, self.format.classes, (*blocks, *heads[index]))

    def sample_member(self, rng: np.random.Generator) -> Architecture:
        """A member, each with the same probability."""
        return self.member(_below(self.size, rng))

    def sample(self, count: int, *tables: CostsMembers, seed: int = 0) -> DataFrame:
        """`count` members, each with the same probability: a pandas frame with a row for each.

        Columns: params, macs, peak_activation_bytes, resolution, latency_ms where a latency table is given (of further
        tables latency_ms@NAME), and network, the `Architecture`. All are costs of the deployed form. Raises NasError
        for a table that misses a unit of the space.
        """
        # Imported here: whoever draws no frame needs neither.
        from pandas import DataFrame

        from nas.networks.space.table import SpaceTable

        members = SpaceTable(self).sample(count, np.random.default_rng(seed))
        names = ["latency_ms", *(f"latency_ms@{table.name}" for table in tables[1:])]
        columns: dict[str, object] = {
            name: table.estimate_members(members) for name, table in zip(names, tables, strict=False)
        }
        columns |= {"params": members.params, "macs": members.macs}
        columns |= {"peak_activation_bytes": members.peak_activation_bytes, "resolution": members.resolutions}
        return DataFrame({**columns, "network": list(members)})

    def sample_parameters(self, rng: np.random.Generator) -> Parameters:
        """Each decision drawn uniformly and independently."""
        return {p.name: p.choices[int(rng.integers(len(p.choices)))] for p in self.parameters}

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """The members that differ from `architecture` in one decision, each once."""
        parameters = self.encode(architecture)
        members = {architecture}
        for parameter in self.parameters:
            for choice in parameter.choices:
                neighbour = self.decode({**parameters, parameter.name: choice})
                if neighbour not in members:
                    members.add(neighbour)
                    yield neighbour

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """A member that takes each decision from `first` or `second`, with probability 1/2 each.

        A decision that only one of the two uses (for a block that the other does not have) is taken from that one.
        """
        one, other = self._used(first), self._used(second)
        child: Parameters = {}
        for parameter, tails in zip(self.parameters, rng.random(len(self.parameters)) < 0.5, strict=True):
            mother, father = (other, one) if tails else (one, other)
            child[parameter.name] = {**father, **mother}.get(parameter.name, parameter.choices[0])
        return self.decode(child)

    def smallest_parameters(self) -> Parameters:
        """The decisions of the member with the fewest MACs (ties: network parameters) in its deployed form.

        Unused decisions have their smallest choice.
        """
        return {p.name: _least(p) for p in self.parameters} | self._extreme("smallest")

    def largest_parameters(self) -> Parameters:
        """The decisions of the member with the most MACs (ties: network parameters) in its deployed form.

        Unused decisions have their largest choice.
        """
        return {p.name: _most(p) for p in self.parameters} | self._extreme("largest")

    def units(self) -> tuple[Unit, ...]:
        """Every unit of any member in its deployed form, each once.

        They are ordered by resolution (largest first), then width, then as they run.
        """
        automaton = self.automaton
        unique: dict[Unit, None] = {}
        for resolution in sorted(self.format.resolution, reverse=True):
            for number, whole in enumerate(automaton.wholes):
                if resolution in whole.resolutions:
                    unique |= dict.fromkeys(map(deployed_unit, self._units_of(resolution, number)))
        return tuple(unique)

    def misfits(self) -> list[tuple[Key, str]]:
        """The problems of settings that make an invalid block, or one that its input does not fit, with their keys."""
        if {op for stage in self.format.stages for op in stage.operators} <= _FIT_ALWAYS and not any(
            layer.groups > 1 for layer in (*self.format.stem, *self.format.head)
        ):
            return []
        problems: dict[tuple[Key, str], None] = {}

        def note(index: int, error: NasError) -> None:
            problems.setdefault((("stages", index), str(error)))

        automaton = Automaton(self.format, note)
        for whole in automaton.wholes:
            for name, layers in (("stem", automaton.stem), ("head", automaton.head)):
                try:
                    layers(whole)
                except NasError as error:
                    problems.setdefault(((name,), str(error)))
        if problems:
            return list(problems)
        for state in automaton.states:
            side = halved(min(automaton.wholes[state.whole].resolutions), automaton.halvings(state))
            for step in automaton.steps(state):
                try:
                    Unit(step.block, state.in_channels, side, side)
                except NasError as error:
                    note(step.state.stage, error)
            if automaton.may_end(state):
                for problem in _row_problems(automaton.head(automaton.wholes[state.whole]), state.in_channels, side):
                    problems.setdefault((("head",), problem))
        for whole in automaton.wholes:
            for problem in _row_problems(automaton.stem(whole), INPUT_CHANNELS, min(whole.resolutions)):
                problems.setdefault((("stem",), problem))
        return list(problems)

    def _units_of(self, resolution: int, number: int) -> Iterator[Unit]:
        automaton = self.automaton
        whole = automaton.wholes[number]
        yield from row_units(automaton.stem(whole), INPUT_CHANNELS, resolution)
        frontier = [automaton.first_state(number)]
        seen: set[State] = set()
        while frontier:
            following: dict[State, None] = {}
            for state in frontier:
                side = halved(resolution, automaton.halvings(state))
                for step in automaton.steps(state):
                    yield Unit(step.block, state.in_channels, side, side)
                    following[step.state] = None
                if automaton.may_end(state):
                    yield from row_units(automaton.head(whole), state.in_channels, side)
            # A state that was reached before brings no new units.
            frontier = [state for state in following if state not in seen]
            seen |= following.keys()

    def _check(self, parameters: Mapping[str, Choice]) -> None:
        choices_of = self._choices
        problems = [unknown_name("parameter", name, choices_of) for name in parameters if name not in choices_of]
        problems += [f"the parameter {name} is missing" for name in choices_of if name not in parameters]
        problems += [
            f"{name} must be one of {', '.join(map(str, choices_of[name]))}, but got {value!r}"
            for name, value in parameters.items()
            if name in choices_of and value not in choices_of[name]
        ]
        if problems:
            raise NasError("\n".join(problems))

    @cached_property
    def _choices(self) -> dict[str, tuple[Choice, ...]]:
        return {parameter.name: parameter.choices for parameter in self.parameters}

    def _whole(self, parameters: Mapping[str, Choice]) -> int:
        """The number, among the automaton's `wholes`, of the decisions for the whole network."""
        for number, whole in enumerate(self.automaton.wholes):
            if all(parameters.get(name, value) == value for name, value in whole.decisions):
                return number
        raise AssertionError("checked parameters decide everything")

    def _used(self, architecture: Architecture) -> Parameters:
        """The decisions that give `architecture`, without unused ones. Raises NasError if it is not in the space."""
        decisions = self._find(architecture)
        if decisions is None:
            raise NasError(f"the search space {self.name} does not contain architecture {architecture.fingerprint}")
        return decisions

    def _find(self, architecture: Architecture) -> Parameters | None:
        """The decisions that give `architecture`, or None if the automaton does not accept it."""
        automaton, blocks = self.automaton, architecture.blocks
        if architecture.classes != self.format.classes:
            return None
        before, after = len(self.format.stem), len(blocks) - len(self.format.head)
        frontier: dict[State, Decisions] = {}
        for number, whole in enumerate(automaton.wholes):
            if architecture.resolution in whole.resolutions and automaton.stem(whole) == blocks[:before]:
                decisions = (("resolution", architecture.resolution), *whole.decisions)
                frontier[automaton.first_state(number)] = decisions
        for block in blocks[before:after]:
            following: dict[State, Decisions] = {}
            for state, decisions in frontier.items():
                for step in automaton.steps(state):
                    if step.block == block:
                        following.setdefault(step.state, decisions + step.decisions)
            frontier = following
        for state, decisions in frontier.items():
            if automaton.may_end(state) and automaton.head(automaton.wholes[state.whole]) == blocks[after:]:
                return {k: v for k, v in (*decisions, *automaton.closing(state)) if k in self._choices}
        return None

    def _extreme(self, which: _End) -> Parameters:
        """The used decisions of the smallest or largest member, by dynamic programming over the states.

        The remaining ties go to the first choice for the smallest, and to the last for the largest.
        """
        best: tuple[_Cost, Parameters] | None = None
        for number, whole in enumerate(self.automaton.wholes):
            # MACs never fall with the resolution.
            resolution = min(whole.resolutions) if which == "smallest" else max(whole.resolutions)
            cost, decisions = self._extreme_of(number, resolution, which)
            if best is None or _better(cost, best[0], which):
                named = dict((("resolution", resolution), *whole.decisions, *decisions))
                best = cost, {name: value for name, value in named.items() if name in self._choices}
        assert best is not None
        return best[1]

    def _extreme_of(self, number: int, resolution: int, which: _End) -> tuple[_Cost, Decisions]:
        automaton = self.automaton
        whole = automaton.wholes[number]
        best_of: dict[State, tuple[_Cost, Step | None]] = {}
        for state in reversed([state for state in automaton.states if state.whole == number]):
            side = halved(resolution, automaton.halvings(state))
            best: tuple[_Cost, Step | None] | None = None
            if automaton.may_end(state):
                best = _total(row_units(automaton.head(whole), state.in_channels, side)), None
            for step in automaton.steps(state):
                unit = deployed_unit(Unit(step.block, state.in_channels, side, side))
                macs, params = best_of[step.state][0]
                cost = (macs + unit.macs, params + unit.params)
                if best is None or _better(cost, best[0], which):
                    best = cost, step
            assert best is not None
            best_of[state] = best
        state = automaton.first_state(number)
        macs, params = _total(row_units(automaton.stem(whole), INPUT_CHANNELS, resolution))
        cost = (macs + best_of[state][0][0], params + best_of[state][0][1])
        decisions: list[tuple[str, Choice]] = []
        best_step = best_of[state][1]
        while best_step is not None:
            decisions += best_step.decisions
            state = best_step.state
            best_step = best_of[state][1]
        return cost, (*decisions, *automaton.closing(state))


def load_space(name: str | Path) -> SearchSpace:
    """The search space called `name`, or in the file `name` (ending in .yaml).

    Raises ConfigError with every problem of the file, and NasError for a name that is not known.
    """
    return read_space(find_file("search_spaces", name))


def read_space(path: Path) -> SearchSpace:
    """The search space in the file at `path`. Raises ConfigError with every problem of the file."""
    document = load_document(path)
    space = SearchSpace(check(SpaceFormat, document), path)
    problems = [document.problem(key, text) for key, text in space.misfits()]
    if problems:
        raise ConfigError(problems)
    return space


_Cost = tuple[int, int]  # MACs and parameters
_End = Literal["smallest", "largest"]


def _better(cost: _Cost, than: _Cost, which: _End) -> bool:
    return cost < than if which == "smallest" else cost >= than


def _total(units: Iterator[Unit]) -> _Cost:
    rows = tuple(units)
    return sum(unit.macs for unit in rows), sum(unit.params for unit in rows)


def _row_problems(blocks: tuple[Block, ...], in_channels: int, side: int) -> list[str]:
    try:
        tuple(row_units(blocks, in_channels, side))
    except NasError as error:
        return [str(error)]
    return []


def _picked(parameters: Mapping[str, Choice], prefix: str, keys: tuple[str, ...]) -> Decisions:
    return tuple((key, parameters[f"{prefix}.{key}"]) for key in keys)


def _least(parameter: Parameter) -> Choice:
    return parameter.choices[0] if isinstance(parameter.choices[0], str) else min(parameter.choices)


def _most(parameter: Parameter) -> Choice:
    return parameter.choices[-1] if isinstance(parameter.choices[0], str) else max(parameter.choices)


def _below(limit: int, rng: np.random.Generator) -> int:
    """A whole number from 0 to `limit` - 1, uniformly, of any size."""
    bits = limit.bit_length()
    while True:
        drawn = int.from_bytes(rng.bytes(-(-bits // 8))) >> (-bits % 8)
        if drawn < limit:
            return drawn
