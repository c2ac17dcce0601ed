"""Which rows of blocks does a search space accept, and how many are there?

A network is a word: its resolution and stem, a block a letter, its head. `Automaton` reads words with states in which
everything that matters later is decided; several ways to decide can spell one word, so it is not deterministic. Its
determinised form (`Node`s, sets of states) has one path for each network: counting paths counts networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from nas.errors import NasError
from nas.networks.architecture import Block
from nas.networks.space.blocks import Choice, Draft, build_block, build_layer
from nas.networks.space.format import SpaceFormat, StageFormat
from nas.networks.space.keys import BLOCK_KEYS

# A parameter's name and what is chosen.
Decisions = tuple[tuple[str, Choice], ...]


class Whole(NamedTuple):
    """One way to decide what is decided for the whole network; `tied` are settings by stage (from 0) and key."""

    width: float
    resolutions: tuple[int, ...]
    tied: Mapping[tuple[int, str], Choice]
    decisions: Decisions


class State(NamedTuple):
    """How much of a network is decided: `position` blocks of stage `stage` stand; `shared` is decided for all of it."""

    whole: int
    stage: int
    position: int
    shared: tuple[tuple[str, Choice], ...]
    in_channels: int


class Step(NamedTuple):
    """A block that may come next, the state then, and the decisions that this takes."""

    block: Block
    state: State
    decisions: Decisions


Node = frozenset[State]


class Start(NamedTuple):
    """A first letter: every network begins with a resolution and a stem."""

    resolution: int
    stem: tuple[Block, ...]
    node: Node


def choices(stage: StageFormat, key: str) -> tuple[Any, ...]:
    """What can be chosen for a key of a stage; None stands for what is left out."""
    if key == "variant":
        return tuple(stage.variants) if stage.variants else (None,)
    found = getattr(stage, key)
    return (None,) if found is None else tuple(found)


class Automaton:
    """The words of a space. States and steps are made when they are asked for, and kept."""

    def __init__(self, space: SpaceFormat, on_misfit: Callable[[int, NasError], None] | None = None) -> None:
        """Settings of stage number i that do not go together are left out after `on_misfit(i, why)`, or raised."""
        self.format = space
        self._on_misfit = on_misfit
        self._steps: dict[State, tuple[Step, ...]] = {}
        self._blocks: dict[tuple[int, int, int, bool, Decisions], Block] = {}
        self._settings: dict[tuple[int, int], dict[str, Any]] = {}
        self._followers: dict[Node, dict[Block, Node]] = {}
        self._tied_keys = {key for group in space.tied for key in group.keys}

    @cached_property
    def wholes(self) -> tuple[Whole, ...]:
        """Every way to decide tied settings and width."""
        found = []
        groups = [[(group, label) for label in group.rows] for group in self.format.tied]
        for picked in itertools.product(*groups):
            tied: dict[str, Any] = {}
            for group, label in picked:
                tied |= dict(zip(group.keys, group.rows[label], strict=True))
            widths = (tied["width"],) if "width" in tied else self.format.width
            resolutions = (tied["resolution"],) if "resolution" in tied else self.format.resolution
            labels: Decisions = tuple((group.name, label) for group, label in picked)
            settings = {(int(k.split(".")[0][5:]) - 1, k.split(".")[1]): v for k, v in tied.items() if "." in k}
            for width in widths:
                decisions = labels if "width" in tied else (*labels, ("width", width))
                found.append(Whole(width, resolutions, settings, decisions))
        return tuple(found)

    def is_tied(self, key: str) -> bool:
        """Whether a tied decision sets `key`, such as `stage2.out`."""
        return key in self._tied_keys

    def block_keys(self, index: int) -> tuple[str, ...]:
        """What is chosen for each block of stage number `index` (from 0)."""
        return self._keys[index][1]

    def shared_keys(self, index: int) -> tuple[str, ...]:
        """What is chosen once for stage number `index`, depth aside."""
        return self._keys[index][0]

    @cached_property
    def _keys(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """For each stage the keys with more than one choice: once for the stage, and for each block."""
        found = []
        for index, stage in enumerate(self.format.stages):
            open_keys = [
                key
                for key in ("out", *BLOCK_KEYS)
                if len(choices(stage, key)) > 1 and not self.is_tied(f"stage{index + 1}.{key}")
            ]
            per_block = self.format.per_block if stage.per_block is None else stage.per_block
            shared = tuple(key for key in open_keys if key not in per_block)
            found.append((shared, tuple(key for key in open_keys if key in per_block)))
        return tuple(found)

    def stem(self, whole: Whole) -> tuple[Block, ...]:
        """The first layers."""
        return self._layers(self.format.stem, whole.width)

    def head(self, whole: Whole) -> tuple[Block, ...]:
        """The last layers."""
        return self._layers(self.format.head, whole.width)

    def first_state(self, index: int) -> State:
        """The state in which only the stem of way number `index` stands."""
        stem = self.stem(self.wholes[index])
        return State(index, -1, 0, (), next(block.out_channels for block in reversed(stem) if block.op == "conv"))

    @cached_property
    def starts(self) -> tuple[Start, ...]:
        """Every first letter."""
        found: dict[tuple[int, tuple[Block, ...]], set[State]] = {}
        for index, whole in enumerate(self.wholes):
            for resolution in whole.resolutions:
                found.setdefault((resolution, self.stem(whole)), set()).add(self.first_state(index))
        return tuple(Start(*letter, frozenset(states)) for letter, states in found.items())

    def steps(self, state: State) -> tuple[Step, ...]:
        """Every block that may come next, in the order of the choices: the same stage first."""
        if state not in self._steps:
            self._steps[state] = tuple(self._make_steps(state))
        return self._steps[state]

    def may_end(self, state: State) -> bool:
        """Whether the head may follow."""
        if state.stage >= 0 and not self.may_leave(state):
            return False
        return all(0 in self.depths(state, i) for i in range(state.stage + 1, len(self.format.stages)))

    def closing(self, state: State) -> Decisions:
        """What ending in `state` decides: the depth of its stage, and of those left out."""
        found: list[tuple[str, Choice]] = (
            [(f"stage{state.stage + 1}.depth", state.position)] if state.stage >= 0 else []
        )
        found += [(f"stage{index + 1}.depth", 0) for index in range(state.stage + 1, len(self.format.stages))]
        return tuple(found)

    def may_leave(self, state: State) -> bool:
        """Whether the stage of `state` may end here."""
        return state.stage < 0 or state.position in self.depths(state, state.stage)

    def depths(self, state: State, index: int) -> tuple[int, ...]:
        """The depths that stage number `index` can have."""
        tied = self.wholes[state.whole].tied
        return (int(tied[index, "depth"]),) if (index, "depth") in tied else self.format.stages[index].depth

    def halvings(self, state: State) -> int:
        """How often the side has been halved (upwards) where `state` stands."""
        begun = self.format.stages[: state.stage + 1]  # `state` has blocks of the last of these
        strides = [layer.stride for layer in self.format.stem] + [stage.stride for stage in begun]
        return strides.count(2)

    def block(self, whole: int, index: int, in_channels: int, position: int, settings: Decisions) -> Block:
        """A block of stage number `index`, resolved; `settings` are its shared and its own decisions.

        Raises NasError where the settings do not go together.
        """
        key = (whole, index, in_channels, position == 0, settings)
        if key not in self._blocks:
            stage = self.format.stages[index]
            resolved = self._fixed(whole, index) | dict(settings)
            variant = resolved.pop("variant")
            if variant is not None:
                assert stage.variants is not None
                resolved |= stage.variants[variant].settings
            width = self.wholes[whole].width
            draft = Draft(stage, resolved, width, self.format.divisor, in_channels, position == 0)
            self._blocks[key] = build_block(draft)
        return self._blocks[key]

    def _fixed(self, whole: int, index: int) -> dict[str, Any]:
        """The settings of a stage that are not open any more, or stand at their first choice."""
        if (whole, index) not in self._settings:
            stage, tied = self.format.stages[index], self.wholes[whole].tied
            keys = ("out", *BLOCK_KEYS)
            self._settings[whole, index] = {key: tied.get((index, key), choices(stage, key)[0]) for key in keys}
        return self._settings[whole, index]

    def followers(self, node: Node) -> dict[Block, Node]:
        """The node after each block that may come next."""
        if node not in self._followers:
            found: dict[Block, set[State]] = {}
            for state in sorted(node):
                for step in self.steps(state):
                    found.setdefault(step.block, set()).add(step.state)
            self._followers[node] = {block: frozenset(states) for block, states in found.items()}
        return self._followers[node]

    def ends(self, node: Node) -> tuple[tuple[Block, ...], ...]:
        """Every head that may come next."""
        heads = (self.head(self.wholes[state.whole]) for state in sorted(node) if self.may_end(state))
        return tuple(dict.fromkeys(heads))

    @cached_property
    def states(self) -> tuple[State, ...]:
        """Every state, each before those that follow it."""
        found = {state for start in self.starts for state in start.node}
        waiting = list(found)
        while waiting:
            for step in self.steps(waiting.pop()):
                if step.state not in found:
                    found.add(step.state)
                    waiting.append(step.state)
        return tuple(sorted(found, key=lambda state: (state.stage, state.position, state)))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, each before those that follow it."""
        found = {start.node for start in self.starts}
        waiting = list(found)
        while waiting:
            for follower in self.followers(waiting.pop()).values():
                if follower not in found:
                    found.add(follower)
                    waiting.append(follower)
        # A block takes every state to a later stage or position, so the least of these rises along every path.
        return tuple(sorted(found, key=lambda node: (min((s.stage, s.position) for s in node), sorted(node))))

    @cached_property
    def counts(self) -> dict[Node, int]:
        """How many rows of blocks, head included, can follow each node."""
        found: dict[Node, int] = {}
        for node in reversed(self.nodes):
            found[node] = len(self.ends(node)) + sum(found[next_node] for next_node in self.followers(node).values())
        return found

    def _layers(self, layers: tuple[Any, ...], width: float) -> tuple[Block, ...]:
        return tuple(build_layer(layer, width, self.format.divisor, self.format.classes) for layer in layers)

    def _make_steps(self, state: State) -> Iterator[Step]:
        stages = self.format.stages
        if state.stage >= 0 and state.position < max(self.depths(state, state.stage)):
            yield from self._blocks_after(state, ())
        if not self.may_leave(state):
            return
        left: list[tuple[str, Choice]] = []
        if state.stage >= 0:
            left.append((f"stage{state.stage + 1}.depth", state.position))
        for index in range(state.stage + 1, len(stages)):
            depths = self.depths(state, index)
            if max(depths) > 0:
                for shared in self._assignments(index, self.shared_keys(index)):
                    entered = State(state.whole, index, 0, shared, state.in_channels)
                    named = tuple((f"stage{index + 1}.{key}", value) for key, value in shared)
                    yield from self._blocks_after(entered, (*left, *named))
            if 0 not in depths:
                return
            left.append((f"stage{index + 1}.depth", 0))

    def _blocks_after(self, state: State, decisions: Decisions) -> Iterator[Step]:
        """The blocks that may follow within the stage of `state`."""
        keys, position = self.block_keys(state.stage), state.position + 1
        names = [f"stage{state.stage + 1}.block{position}.{key}" for key in keys]
        for own in self._assignments(state.stage, keys):
            try:
                block = self.block(state.whole, state.stage, state.in_channels, state.position, state.shared + own)
            except NasError as error:
                if self._on_misfit is None:
                    raise
                self._on_misfit(state.stage, error)
                continue
            after = State(state.whole, state.stage, position, state.shared, block.out_channels)
            named = zip(names, (value for _, value in own), strict=True)
            yield Step(block, after, (*decisions, *named))

    def _assignments(self, index: int, keys: tuple[str, ...]) -> list[Decisions]:
        """Every way to decide `keys` of stage number `index` together."""
        columns = (choices(self.format.stages[index], key) for key in keys)
        return [tuple(zip(keys, values, strict=True)) for values in itertools.product(*columns)]
