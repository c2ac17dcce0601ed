"""From trials to the member that is evaluated next."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.search.pareto import front_of
from nas.search.sampling.front_sampler.acquisition import covered, decompose, expected_improvement
from nas.search.sampling.front_sampler.candidates import bred, broad, stratified
from nas.search.sampling.front_sampler.encoding import Encoder
from nas.search.sampling.front_sampler.grid import Floats, Rows
from nas.search.sampling.front_sampler.history import History
from nas.search.sampling.front_sampler.learner import Learned, Learner
from nas.search.sampling.front_sampler.problem import Minimised, keys_of

Numbers = NDArray[np.int64]

# Candidates: children of so many parents, random members; then so many rounds in which the best few are refined.
_BRED, _RANDOM, _PARENTS = 300, 60, 60
_ROUNDS, _REFINED, _NEIGHBOURS = 8, 3, 240
# After so many trials there are fewer candidates and rounds, down to this share of them: the steps of a long search are
# small, and what one suggestion misses the next will find.
_MANY, _LEAST_EFFORT = 300, 0.25
# An improvement below this share of the front's own hypervolume is no reason: the model is doubted until one is found.
_LEAST_SHARE, _DOUBTS = 1e-7, 8
# Where no reference is given, what is further beyond the median than so many times the best tenth lies before it is not
# worth having.
_WORTH_HAVING = 2.0
_LARGEST_LISTED = 300_000


class SpaceExhaustedError(NasError):
    """Every feasible member that could be found was proposed before."""

    exit_code = 1


@dataclass(frozen=True)
class Foretold:
    """What the model expects of a proposal's learned objective, in the study's unit."""

    mean: float
    std: float


@dataclass(frozen=True)
class Candidates:
    """Members that may be proposed: their rows, known objectives and the model's word, the warped mean and std."""

    rows: Rows
    known: Floats
    mean: Floats
    std: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: Numbers) -> Candidates:
        """Some of them."""
        return Candidates(self.rows[numbers], self.known[numbers], self.mean[numbers], self.std[numbers])


@dataclass(frozen=True)
class Sample:
    """Feasible members from one end of the known objectives to the other: rows, and known objectives, minimised."""

    rows: Rows
    known: Floats


class Proposer:
    """Proposes for one study. Keeps nothing but what the problem and the seed alone decide."""

    def __init__(self, view: Minimised, seed: int, startup: int) -> None:
        self._view = view
        self._seed = seed
        self._startup = startup
        self._learner = Learner(Encoder(view.problem.grid), self._features, seed)

    def propose(self, history: History, number: int) -> tuple[Rows, Foretold | None]:
        """The row of the trial `number`, and what is expected of it once there is a model."""
        rng = np.random.default_rng([self._seed, 1, number])
        taken = set(keys_of(history.rows))
        if len(history.rows) < self._planned_count or history.complete.sum() < 2:
            for row in self._planned:
                if keys_of(row[None])[0] not in taken:
                    return row, None
        learned = self._learner.learn(history)
        return _Search(self._view, learned, history, self._sample, self._planned_count, taken, rng).best()

    @property
    def _planned_count(self) -> int:
        return max(self._startup, len(self._view.problem.start) + self._startup // 2)

    @cached_property
    def _sample(self) -> Sample:
        rows = broad(self._view, np.random.default_rng([self._seed, 0]))
        return Sample(rows, self._view.known(rows))

    def _features(self, rows: Rows, known: Floats) -> Floats:
        if self._view.problem.features is not None:
            return np.asarray(self._view.problem.features(rows), dtype=np.float64).reshape(len(rows), -1)
        positive = (self._sample.known > 0).all(axis=0)
        return np.where(positive, np.log(np.maximum(known, 1e-300)), known)

    @cached_property
    def _planned(self) -> Rows:
        """What comes before the model: the start points, members at even steps, and all others of the broad sample."""
        problem, sample = self._view.problem, self._sample
        start = problem.spelt(problem.start_rows) if len(problem.start) else sample.rows[:0]
        start = start[problem.excess(start) <= 0]
        even = np.random.default_rng([self._seed, 2])
        steps = stratified(sample.known, max(2, self._startup - len(start)), even)
        rest = np.setdiff1d(np.arange(len(sample.rows)), steps)
        return np.concatenate([start, sample.rows[steps], sample.rows[rest]])


class _Search:
    """One search for the best candidate, with what was learned from one history."""

    def __init__(
        self,
        view: Minimised,
        learned: Learned,
        history: History,
        sample: Sample,
        startup: int,
        taken: set[bytes],
        rng: np.random.Generator,
    ) -> None:
        self._view, self._learned, self._taken, self._rng, self._sample = view, learned, taken, rng, sample
        self._startup = startup
        self._effort = max(_LEAST_EFFORT, min(1.0, _MANY / len(history.rows)))
        front_known, front_learned = history.known[history.complete], history.learned[history.complete]
        running = history.running
        if running.any():
            self._learned, expected = learned.believing(history.rows[running], history.known[running])
            front_known = np.concatenate([front_known, history.known[running]])
            front_learned = np.concatenate([front_learned, expected])
        on_front = front_of(np.column_stack([front_known, front_learned]))
        reference = self._reference(history)
        self._boxes = decompose(front_known[on_front], front_learned[on_front], *reference)
        self._covered = covered(front_known[on_front], front_learned[on_front], *reference)
        self._parents = self._breeders(history)

    def best(self) -> tuple[Rows, Foretold]:
        """The candidate of the greatest expected improvement, and what is expected of it."""
        found = self._candidates()
        if not len(found):
            found = self._anything()
        worth = self._worth(found)
        for doubt in 2.0 ** np.arange(1, _DOUBTS):
            if worth.max() > _LEAST_SHARE * self._covered:
                break
            worth = self._worth(found, doubt)
        chosen = found.take(np.array([int(np.argmax(worth))]))
        low, mean, high = self._learned.warp.backward(chosen.mean + chosen.std * np.array([-1.0, 0.0, 1.0]))
        return chosen.rows[0], Foretold(self._view.sign * float(mean), float(high - low) / 2)

    def _candidates(self) -> Candidates:
        """Children of the front, and what is reached from the best of them by changing a choice at a time."""
        rng = self._rng
        bred_count, random_count = (round(self._effort * count) for count in (_BRED, _RANDOM))
        random = rng.choice(self._sample.rows, size=min(random_count, len(self._sample.rows)), replace=False)
        rows = [bred(self._view.problem, self._parents, bred_count, rng)]
        rows += [bred(self._view.problem, random, random_count // 2, rng), random]
        found = self._judged(np.concatenate(rows))
        worth = self._worth(found)
        expanded: set[bytes] = set()
        for _ in range(round(self._effort * _ROUNDS)):
            order = np.argsort(-worth, kind="stable")[: 4 * _REFINED]
            keys = keys_of(found.rows[order])
            fresh = [index for index, key in zip(order.tolist(), keys, strict=True) if key not in expanded][:_REFINED]
            if not fresh:
                break
            expanded.update(keys_of(found.rows[fresh]))
            around = self._view.problem.grid.neighbours(found.rows[fresh])
            if len(around) > _NEIGHBOURS:
                around = around[rng.permutation(len(around))[:_NEIGHBOURS]]
            new = self._judged(around, known_keys=set(keys_of(found.rows)))
            if not len(new):
                continue
            best = worth.max()
            found = _joined(found, new)
            worth = np.concatenate([worth, self._worth(new)])
            if worth.max() <= best and len(expanded) > _REFINED:
                break
        return found

    def _anything(self) -> Candidates:
        """Whatever is new and feasible: a random draw, or, of a small space, all that is left."""
        grid = self._view.problem.grid
        found = self._judged(grid.random(2000, self._rng))
        if not len(found) and grid.size <= _LARGEST_LISTED:
            left = grid.all_rows()
            left = left[[key not in self._taken for key in keys_of(self._view.problem.spelt(left))]]
            left = left[self._view.problem.excess(left) <= 0]
            found = self._judged(self._rng.permutation(left)[:2000])
        if not len(found):
            raise SpaceExhaustedError(
                f"the search space is exhausted: all of its feasible members that could be found ({len(self._taken)}) "
                "were proposed before. Ask for fewer trials, widen the space, or loosen the constraints"
            )
        return found

    def _judged(self, rows: Rows, known_keys: Set[bytes] = frozenset()) -> Candidates:
        """Those rows that are new and feasible, each once, with the model's word on them."""
        problem = self._view.problem
        rows = problem.spelt(rows)
        unique = {key: index for index, key in enumerate(keys_of(rows)) if key not in self._taken}
        rows = rows[[index for key, index in unique.items() if key not in known_keys]]
        rows = rows[problem.excess(rows) <= 0]
        known = self._view.known(rows)
        return Candidates(rows, known, *self._learned.predict(rows, known))

    def _worth(self, found: Candidates, doubt: float = 1.0) -> Floats:
        warp = self._learned.warp
        return expected_improvement(
            self._boxes, found.known, lambda levels: warp.expected_below(levels, found.mean, doubt * found.std)
        )

    def _reference(self, history: History) -> tuple[Floats, float]:
        """What hypervolume is measured from: as given, or just beyond all that is worth having."""
        if self._view.reference is not None:
            return self._view.reference
        known = np.concatenate([self._sample.known, history.known])
        worst, best = known.max(axis=0, initial=-np.inf), known.min(axis=0, initial=np.inf)
        # By the first trials, which were spread evenly: what came later stands where the model wanted it.
        first = history.learned[history.complete][: self._startup]
        good, median, bad = np.quantile(first[np.isfinite(first)], [0.1, 0.5, 1.0])
        return worst + 0.01 * (worst - best), float(min(bad, median + _WORTH_HAVING * (median - good)))

    def _breeders(self, history: History) -> Rows:
        """The rows nearest to the front, in the order of a known objective."""
        chosen = np.flatnonzero(history.complete)
        near = chosen[np.argsort(history.gaps[chosen], kind="stable")[:_PARENTS]]
        if history.known.shape[1]:
            near = near[np.argsort(history.known[near, 0], kind="stable")]
        return history.rows[near]


def _joined(first: Candidates, second: Candidates) -> Candidates:
    return Candidates(
        np.concatenate([first.rows, second.rows]),
        np.concatenate([first.known, second.known]),
        np.concatenate([first.mean, second.mean]),
        np.concatenate([first.std, second.std]),
    )
