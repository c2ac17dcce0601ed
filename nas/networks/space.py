"""Which networks may a search choose from?

A `SearchSpace` is read from YAML. Its parameters are what a sampler suggests: every decision with more than one choice,
always all of them, whether or not the depth chosen leaves a block unused (so that every trial has the same parameters).
`decode` turns them into an `Architecture`, in which unused decisions do not exist.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nas.config import check, load_document
from nas.errors import NasError, unknown_name
from nas.files import find_file
from nas.networks.architecture import Architecture, Block
from nas.networks.operators import INPUT_CHANNELS, Unit
from nas.networks.scaling import make_divisible
from nas.networks.space_format import BLOCK_KEYS, LayerFormat, SpaceFormat, StageFormat

Choice = int | float | str
Parameters = dict[str, Choice]


@dataclass(frozen=True)
class Parameter:
    """One decision: its name, such as `stage2.block1.kernel` (counted from 1), and what may be chosen."""

    name: str
    choices: tuple[Choice, ...]


class _State(NamedTuple):
    """How much of a network is decided: `position` blocks of stage `stage` stand; `shared` is decided for all of it."""

    width: float
    stage: int
    position: int
    shared: tuple[tuple[str, Choice], ...]
    in_channels: int


@dataclass(frozen=True)
class SearchSpace:
    """A set of architectures, far too many to list. Made by `load_space`."""

    format: SpaceFormat

    @property
    def name(self) -> str:
        """The name in the file."""
        return self.format.name

    @property
    def largest_resolution(self) -> int:
        """The largest resolution of any member, in pixels."""
        return max(self.format.resolution)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every decision with more than one choice, in a fixed order."""
        found = [Parameter("resolution", self.format.resolution), Parameter("width", self.format.width)]
        for index, stage in enumerate(self.format.stages):
            prefix = f"stage{index + 1}"
            found.append(Parameter(f"{prefix}.depth", stage.depth))
            found += [Parameter(f"{prefix}.{key}", _choices(stage, key)) for key in self._shared_keys(stage)]
            for block in range(max(stage.depth)):
                found += [
                    Parameter(f"{prefix}.block{block + 1}.{key}", _choices(stage, key))
                    for key in self._block_keys(stage)
                ]
        return tuple(parameter for parameter in found if len(parameter.choices) > 1)

    @cached_property
    def size(self) -> int:
        """The exact number of different architectures.

        The networks are the words that a finite automaton accepts, a block a letter; counting them is counting paths
        of its determinised form, so that two ways to spell one network are counted once.
        """
        by_stem: dict[Block, set[_State]] = {}
        for width in self.format.width:
            start = self._start(width)
            by_stem.setdefault(self._layer(self.format.stem, width), set()).add(start)
        # How many different rows of blocks lead to each set of states.
        frontier = Counter(frozenset(states) for states in by_stem.values())
        total = 0
        while frontier:
            following: Counter[frozenset[_State]] = Counter()
            for states, rows in frontier.items():
                total += rows * len({self._head(state.width) for state in states if self._may_end(state)})
                followers: dict[Block, set[_State]] = {}
                for state in states:
                    for block, follower in self._successors(state):
                        followers.setdefault(block, set()).add(follower)
                for group in followers.values():
                    following[frozenset(group)] += rows
            frontier = following
        return len(self.format.resolution) * total

    def decode(self, parameters: Mapping[str, Choice]) -> Architecture:
        """The architecture that `parameters` describe. Raises NasError for a missing, unknown or impossible one."""
        self._check(parameters)
        width = float(self._value(parameters, "width", self.format.width))
        blocks = [self._layer(self.format.stem, width)]
        for index, stage in enumerate(self.format.stages):
            prefix = f"stage{index + 1}"
            shared = {
                key: self._value(parameters, f"{prefix}.{key}", _choices(stage, key))
                for key in self._shared_keys(stage)
            }
            for position in range(int(self._value(parameters, f"{prefix}.depth", stage.depth))):
                own = {
                    key: self._value(parameters, f"{prefix}.block{position + 1}.{key}", _choices(stage, key))
                    for key in self._block_keys(stage)
                }
                blocks.append(self._block(stage, width, blocks[-1].out_channels, position, {**shared, **own}))
        blocks += self._head(width)
        resolution = int(self._value(parameters, "resolution", self.format.resolution))
        return Architecture(resolution, self.format.classes, tuple(blocks))

    def encode(self, architecture: Architecture) -> Parameters:
        """Parameters that decode to `architecture`; unused decisions stand at their first choice.

        Raises NasError when the space does not contain it.
        """
        found = self._find(architecture)
        if found is None:
            raise NasError(f"the search space {self.name} does not contain architecture {architecture.fingerprint}")
        return {parameter.name: found.get(parameter.name, parameter.choices[0]) for parameter in self.parameters}

    def contains(self, architecture: Architecture) -> bool:
        """Whether some choice of parameters gives `architecture`."""
        return self._find(architecture) is not None

    def sample_parameters(self, rng: np.random.Generator) -> Parameters:
        """Each decision drawn uniformly and independently."""
        return {p.name: p.choices[int(rng.integers(len(p.choices)))] for p in self.parameters}

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A member, each decision drawn uniformly and independently."""
        return self.decode(self.sample_parameters(rng))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """The members that differ from `architecture` in one decision, each once."""
        parameters = self.encode(architecture)
        seen = {architecture}
        for parameter in self.parameters:
            for choice in parameter.choices:
                neighbour = self.decode({**parameters, parameter.name: choice})
                if neighbour not in seen:
                    seen.add(neighbour)
                    yield neighbour

    def smallest_parameters(self) -> Parameters:
        """Every decision at its least: numbers at their minimum, names at their first choice."""
        return {p.name: p.choices[0] if isinstance(p.choices[0], str) else min(p.choices) for p in self.parameters}

    def largest_parameters(self) -> Parameters:
        """Every decision at its most: numbers at their maximum, names at their last choice."""
        return {p.name: p.choices[-1] if isinstance(p.choices[0], str) else max(p.choices) for p in self.parameters}

    def units(self) -> tuple[Unit, ...]:
        """Every unit that any member contains, once each: largest resolution first, then by width, then as they run."""
        found = (
            unit
            for resolution in sorted(self.format.resolution, reverse=True)
            for width in self.format.width
            for unit in self._units_of(resolution, width)
        )
        return tuple(dict.fromkeys(found))

    def _units_of(self, resolution: int, width: float) -> Iterator[Unit]:
        stem = Unit(self._layer(self.format.stem, width), INPUT_CHANNELS, resolution, resolution)
        yield stem
        frontier = {self._start(width): stem.out_height}
        while frontier:
            following: dict[_State, int] = {}
            for state, side in frontier.items():
                for block, follower in self._successors(state):
                    unit = Unit(block, state.in_channels, side, side)
                    yield unit
                    following[follower] = unit.out_height
                if self._may_end(state):
                    yield from _row(self._head(width), state.in_channels, side)
            frontier = following

    def _check(self, parameters: Mapping[str, Choice]) -> None:
        known = {parameter.name: parameter.choices for parameter in self.parameters}
        problems = [unknown_name("parameter", name, known) for name in parameters if name not in known]
        problems += [f"the parameter {name} is missing" for name in known if name not in parameters]
        problems += [
            f"{name} must be one of {', '.join(map(str, known[name]))}, but got {value!r}"
            for name, value in parameters.items()
            if name in known and value not in known[name]
        ]
        if problems:
            raise NasError("\n".join(problems))

    @staticmethod
    def _value(parameters: Mapping[str, Choice], name: str, choices: tuple[Choice, ...]) -> Choice:
        return parameters[name] if len(choices) > 1 else choices[0]

    def _block_keys(self, stage: StageFormat) -> tuple[str, ...]:
        per_block = self.format.per_block if stage.per_block is None else stage.per_block
        return tuple(key for key in BLOCK_KEYS if key in per_block)

    def _shared_keys(self, stage: StageFormat) -> tuple[str, ...]:
        return ("out", *(key for key in BLOCK_KEYS if key not in self._block_keys(stage)))

    def _start(self, width: float) -> _State:
        """The state in which only the stem stands."""
        return _State(width, -1, 0, (), self._layer(self.format.stem, width).out_channels)

    def _successors(self, state: _State) -> Iterator[tuple[Block, _State]]:
        """Every block that may come next, with what is decided then."""
        if state.stage >= 0 and state.position < max(self.format.stages[state.stage].depth):
            yield from self._blocks_after(state)
        next_stage = state.stage + 1
        if next_stage < len(self.format.stages) and self._may_leave_stage(state):
            stage = self.format.stages[next_stage]
            for shared in _assignments(stage, self._shared_keys(stage)):
                yield from self._blocks_after(_State(state.width, next_stage, 0, shared, state.in_channels))

    def _blocks_after(self, state: _State) -> tuple[tuple[Block, _State], ...]:
        """The blocks that may follow within the stage of `state`; kept, because many paths lead to one state."""
        if state not in self._kept_blocks:
            stage = self.format.stages[state.stage]
            found = []
            for own in _assignments(stage, self._block_keys(stage)):
                settings = dict(state.shared) | dict(own)
                block = self._block(stage, state.width, state.in_channels, state.position, settings)
                found.append((block, state._replace(position=state.position + 1, in_channels=block.out_channels)))
            self._kept_blocks[state] = tuple(found)
        return self._kept_blocks[state]

    @cached_property
    def _kept_blocks(self) -> dict[_State, tuple[tuple[Block, _State], ...]]:
        return {}

    def _may_leave_stage(self, state: _State) -> bool:
        return state.stage < 0 or state.position in self.format.stages[state.stage].depth

    def _may_end(self, state: _State) -> bool:
        return state.stage == len(self.format.stages) - 1 and self._may_leave_stage(state)

    def _layer(self, layer: LayerFormat, width: float) -> Block:
        if layer.op == "pool":
            return Block("pool")
        if layer.out == "classes":
            return Block("linear", self.format.classes, activation=layer.act)
        assert isinstance(layer.out, int)
        out_channels = make_divisible(layer.out * width, self.format.divisor) if layer.scale else layer.out
        if layer.op == "linear":
            return Block("linear", out_channels, activation=layer.act)
        return Block("conv", out_channels, layer.kernel, layer.stride, activation=layer.act)

    def _head(self, width: float) -> tuple[Block, ...]:
        return tuple(self._layer(layer, width) for layer in self.format.head)

    def _block(
        self, stage: StageFormat, width: float, in_channels: int, position: int, settings: Mapping[str, Choice]
    ) -> Block:
        """One block of a stage, resolved. SE widths round as in MobileNetV3 (a quarter of the hidden channels)."""
        out, expand, se = int(settings["out"]), float(settings["expand"]), float(settings["se"])
        divisor = self.format.divisor
        hidden = in_channels if expand == 1 else make_divisible(in_channels * expand, divisor)
        return Block(
            op=str(settings["op"]),
            out_channels=make_divisible(out * width, divisor) if stage.scale else out,
            kernel_size=int(settings["kernel"]),
            stride=stage.stride if position == 0 else 1,
            hidden_channels=hidden,
            se_channels=make_divisible(hidden * se, divisor) if se else 0,
            se_gate=stage.gate if se else "",
            activation=str(settings["act"]),
        )

    def _find(self, architecture: Architecture) -> Parameters | None:
        """The decisions that lead to `architecture`, or None."""
        if architecture.resolution not in self.format.resolution or architecture.classes != self.format.classes:
            return None
        for width in self.format.width:
            stem = self._layer(self.format.stem, width)
            if architecture.blocks[0] != stem:
                continue
            found = self._match(architecture.blocks, 1, 0, width, stem.out_channels)
            if found is not None:
                return {"resolution": architecture.resolution, "width": width, **found}
        return None

    def _match(
        self, blocks: tuple[Block, ...], start: int, stage_index: int, width: float, in_channels: int
    ) -> Parameters | None:
        """The decisions of the stages from `stage_index` on that give `blocks[start:]`, or None."""
        if stage_index == len(self.format.stages):
            return {} if blocks[start:] == self._head(width) else None
        stage = self.format.stages[stage_index]
        prefix = f"stage{stage_index + 1}"
        for shared in _assignments(stage, self._shared_keys(stage)):
            found: Parameters = {f"{prefix}.{key}": value for key, value in shared}
            channels = in_channels
            for position, block in enumerate(blocks[start : start + max(stage.depth)]):
                own = self._match_block(stage, width, channels, position, dict(shared), block)
                if own is None:
                    break
                found |= {f"{prefix}.block{position + 1}.{key}": value for key, value in own}
                channels = block.out_channels
                if position + 1 in stage.depth:
                    rest = self._match(blocks, start + position + 1, stage_index + 1, width, channels)
                    if rest is not None:
                        return {**found, f"{prefix}.depth": position + 1, **rest}
        return None

    def _match_block(
        self,
        stage: StageFormat,
        width: float,
        in_channels: int,
        position: int,
        shared: Parameters,
        block: Block,
    ) -> tuple[tuple[str, Choice], ...] | None:
        for own in _assignments(stage, self._block_keys(stage)):
            if self._block(stage, width, in_channels, position, shared | dict(own)) == block:
                return own
        return None


def load_space(name: str) -> SearchSpace:
    """The search space called `name`, or in the file `name` (ending in .yaml).

    Raises ConfigError with every problem of the file, and NasError for a name that is not known.
    """
    return read_space(find_file("search_spaces", name))


def read_space(path: Path) -> SearchSpace:
    """The search space in the file at `path`."""
    return SearchSpace(check(SpaceFormat, load_document(path)))


def _choices(stage: StageFormat, key: str) -> tuple[Choice, ...]:
    return tuple(getattr(stage, key))


def _assignments(stage: StageFormat, keys: tuple[str, ...]) -> list[tuple[tuple[str, Choice], ...]]:
    """Every way to decide `keys` together."""
    return [tuple(zip(keys, values, strict=True)) for values in itertools.product(*(_choices(stage, k) for k in keys))]


def _row(blocks: tuple[Block, ...], in_channels: int, side: int) -> Iterator[Unit]:
    for block in blocks:
        unit = Unit(block, in_channels, side, side)
        yield unit
        in_channels, side = unit.out_channels, unit.out_height
