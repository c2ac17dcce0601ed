"""The finite automaton of a search space: which networks the space contains, and exactly how many.

A network is a word whose letters are its resolution and stem, then each block, then its head. A state of the
`Automaton` holds every decision that later letters depend on. It is not deterministic, because different decisions can
give the same network. Its determinised form (`Node`s, sets of states) has exactly one path for each network, so that
counting paths counts networks.
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

# Pairs of a parameter's name and the choice.
Decisions = tuple[tuple[str, Choice], ...]


class Whole(NamedTuple):
    """One combination of the decisions for the whole network; `tied` are settings by stage (from 0) and key."""

    width: float
    resolutions: tuple[int, ...]
    tied: Mapping[tuple[int, str], Choice]
    decisions: Decisions


class State(NamedTuple):
    """A partly read network: `position` blocks of stage `stage`, whose decisions for all of its blocks are `shared`."""

    whole: int
    stage: int
    position: int
    shared: tuple[tuple[str, Choice], ...]
    in_channels: int


class Step(NamedTuple):
    """A block that may come next, the state after it, and the decisions that lead to it."""

    block: Block
    state: State
    decisions: Decisions


Node = frozenset[State]


class Start(NamedTuple):
    """A first letter, resolution and stem, and the node after it."""

    resolution: int
    stem: tuple[Block, ...]
    node: Node


def choices(stage: StageFormat, key: str) -> tuple[Any, ...]:
    """The choices for a key of a stage; None for a key that is left out."""
    if key == "variant":
        return tuple(stage.variants) if stage.variants else (None,)
    values = getattr(stage, key)
    return (None,) if values is None else tuple(values)


class Automaton:
    """The automaton of a space. Steps and blocks are computed at the first request, and cached."""

    def __init__(self, space: SpaceFormat, on_misfit: Callable[[int, NasError], None] | None = None) -> None:
        """Invalid settings of stage i are passed to `on_misfit(i, error)` and left out; without it they raise."""
        self.format = space
        self._on_misfit = on_misfit
        self._steps: dict[State, tuple[Step, ...]] = {}
        self._blocks: dict[tuple[int, int, int, bool, Decisions], Block] = {}
        self._settings: dict[tuple[int, int], dict[str, Any]] = {}
        self._followers: dict[Node, dict[Block, Node]] = {}
        self._tied_keys = {key for group in space.tied for key in group.keys}

    @cached_property
    def wholes(self) -> tuple[Whole, ...]:
        """Every combination of tied settings and width."""
        combinations = []
        groups = [[(group, label) for label in group.rows] for group in self.format.tied]
        for rows in itertools.product(*groups):
            tied: dict[str, Any] = {}
            for group, label in rows:
                tied |= dict(zip(group.keys, group.rows[label], strict=True))
            widths = (tied["width"],) if "width" in tied else self.format.width
            resolutions = (tied["resolution"],) if "resolution" in tied else self.format.resolution
            labels: Decisions = tuple((group.name, label) for group, label in rows)
            settings = {(int(k.split(".")[0][5:]) - 1, k.split(".")[1]): v for k, v in tied.items() if "." in k}
            for width in widths:
                decisions = labels if "width" in tied else (*labels, ("width", width))
                combinations.append(Whole(width, resolutions, settings, decisions))
        return tuple(combinations)

    def is_tied(self, key: str) -> bool:
        """Whether a tied decision sets `key`, such as `stage2.out`."""
        return key in self._tied_keys

    def block_keys(self, index: int) -> tuple[str, ...]:
        """The keys that are chosen for each block of stage number `index` (from 0)."""
        return self._keys[index][1]

    def shared_keys(self, index: int) -> tuple[str, ...]:
        """The keys that are chosen once for stage number `index`, except its depth."""
        return self._keys[index][0]

    @cached_property
    def _keys(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """For each stage the keys with several choices: those chosen once for the stage, and those for each block."""
        keys_of_stages = []
        for index, stage in enumerate(self.format.stages):
            open_keys = [
                key
                for key in ("out", *BLOCK_KEYS)
                if len(choices(stage, key)) > 1 and not self.is_tied(f"stage{index + 1}.{key}")
            ]
            per_block = self.format.per_block if stage.per_block is None else stage.per_block
            shared = tuple(key for key in open_keys if key not in per_block)
            keys_of_stages.append((shared, tuple(key for key in open_keys if key in per_block)))
        return tuple(keys_of_stages)

    def stem(self, whole: Whole) -> tuple[Block, ...]:
        """The blocks of the stem."""
        return self._layers(self.format.stem, whole.width)

    def head(self, whole: Whole) -> tuple[Block, ...]:
        """The blocks of the head."""
        return self._layers(self.format.head, whole.width)

    def first_state(self, index: int) -> State:
        """The state after the stem, for combination number `index` of `wholes`."""
        stem = self.stem(self.wholes[index])
        return State(index, -1, 0, (), next(block.out_channels for block in reversed(stem) if block.op == "conv"))

    @cached_property
    def starts(self) -> tuple[Start, ...]:
        """Every first letter: a resolution and a stem."""
        states_after: dict[tuple[int, tuple[Block, ...]], set[State]] = {}
        for index, whole in enumerate(self.wholes):
            for resolution in whole.resolutions:
                states_after.setdefault((resolution, self.stem(whole)), set()).add(self.first_state(index))
        return tuple(Start(*letter, frozenset(states)) for letter, states in states_after.items())

    def steps(self, state: State) -> tuple[Step, ...]:
        """Every block that may come next: those of the same stage first, each in the order of the choices."""
        if state not in self._steps:
            self._steps[state] = tuple(self._make_steps(state))
        return self._steps[state]

    def may_end(self, state: State) -> bool:
        """Whether the head may come next."""
        if state.stage >= 0 and not self.may_leave(state):
            return False
        return all(0 in self.depths(state, i) for i in range(state.stage + 1, len(self.format.stages)))

    def closing(self, state: State) -> Decisions:
        """The decisions made by ending in `state`: the depth of its stage, and depth 0 of the stages after it."""
        decisions: list[tuple[str, Choice]] = (
            [(f"stage{state.stage + 1}.depth", state.position)] if state.stage >= 0 else []
        )
        decisions += [(f"stage{index + 1}.depth", 0) for index in range(state.stage + 1, len(self.format.stages))]
        return tuple(decisions)

    def may_leave(self, state: State) -> bool:
        """Whether the stage of `state` may end here."""
        return state.stage < 0 or state.position in self.depths(state, state.stage)

    def depths(self, state: State, index: int) -> tuple[int, ...]:
        """The depths that stage number `index` can have."""
        tied = self.wholes[state.whole].tied
        return (int(tied[index, "depth"]),) if (index, "depth") in tied else self.format.stages[index].depth

    def halvings(self, state: State) -> int:
        """How often height and width have been halved (rounding up) at `state`."""
        entered = self.format.stages[: state.stage + 1]  # including the stage of `state`
        strides = [layer.stride for layer in self.format.stem] + [stage.stride for stage in entered]
        return strides.count(2)

    def block(self, whole: int, index: int, in_channels: int, position: int, settings: Decisions) -> Block:
        """A block of stage number `index`; `settings` are the decisions for the stage and for the block.

        Raises NasError for settings that do not fit together.
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
        """All settings of a stage: those that are tied, and the first choice of all others."""
        if (whole, index) not in self._settings:
            stage, tied = self.format.stages[index], self.wholes[whole].tied
            keys = ("out", *BLOCK_KEYS)
            self._settings[whole, index] = {key: tied.get((index, key), choices(stage, key)[0]) for key in keys}
        return self._settings[whole, index]

    def followers(self, node: Node) -> dict[Block, Node]:
        """The node after each block that may come next."""
        if node not in self._followers:
            states_after: dict[Block, set[State]] = {}
            for state in sorted(node):
                for step in self.steps(state):
                    states_after.setdefault(step.block, set()).add(step.state)
            self._followers[node] = {block: frozenset(states) for block, states in states_after.items()}
        return self._followers[node]

    def ends(self, node: Node) -> tuple[tuple[Block, ...], ...]:
        """Every head that may come next, each once."""
        heads = (self.head(self.wholes[state.whole]) for state in sorted(node) if self.may_end(state))
        return tuple(dict.fromkeys(heads))

    @cached_property
    def states(self) -> tuple[State, ...]:
        """Every reachable state, each before those that follow it."""
        reached = {state for start in self.starts for state in start.node}
        unexpanded = list(reached)
        while unexpanded:
            for step in self.steps(unexpanded.pop()):
                if step.state not in reached:
                    reached.add(step.state)
                    unexpanded.append(step.state)
        return tuple(sorted(reached, key=lambda state: (state.stage, state.position, state)))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every reachable node, each before those that follow it."""
        reached = {start.node for start in self.starts}
        unexpanded = list(reached)
        while unexpanded:
            for follower in self.followers(unexpanded.pop()).values():
                if follower not in reached:
                    reached.add(follower)
                    unexpanded.append(follower)
        # A block takes every state to a later stage or position, so the minimum over a node rises along every path.
        return tuple(sorted(reached, key=lambda node: (min((s.stage, s.position) for s in node), sorted(node))))

    @cached_property
    def counts(self) -> dict[Node, int]:
        """The number of different ways to finish a network from each node."""
        counts: dict[Node, int] = {}
        for node in reversed(self.nodes):
            counts[node] = len(self.ends(node)) + sum(counts[next_node] for next_node in self.followers(node).values())
        return counts

    def _layers(self, layers: tuple[Any, ...], width: float) -> tuple[Block, ...]:
        return tuple(build_layer(layer, width, self.format.divisor, self.format.classes) for layer in layers)

    def _make_steps(self, state: State) -> Iterator[Step]:
        stages = self.format.stages
        if state.stage >= 0 and state.position < max(self.depths(state, state.stage)):
            yield from self._blocks_after(state, ())
        if not self.may_leave(state):
            return
        depths_passed: list[tuple[str, Choice]] = []
        if state.stage >= 0:
            depths_passed.append((f"stage{state.stage + 1}.depth", state.position))
        for index in range(state.stage + 1, len(stages)):
            depths = self.depths(state, index)
            if max(depths) > 0:
                for shared in self._assignments(index, self.shared_keys(index)):
                    entered = State(state.whole, index, 0, shared, state.in_channels)
                    named = tuple((f"stage{index + 1}.{key}", value) for key, value in shared)
                    yield from self._blocks_after(entered, (*depths_passed, *named))
            if 0 not in depths:
                return
            depths_passed.append((f"stage{index + 1}.depth", 0))

    def _blocks_after(self, state: State, decisions: Decisions) -> Iterator[Step]:
        """The steps to the next block within the stage of `state`."""
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
        """Every combination of choices for `keys` of stage number `index`."""
        columns = (choices(self.format.stages[index], key) for key in keys)
        return [tuple(zip(keys, values, strict=True)) for values in itertools.product(*columns)]
