"""Choose the member that is evaluated next, from the trials so far."""

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

# Candidates: _BRED children of _PARENTS parents and _RANDOM random members; then _ROUNDS rounds, in each of which the
# best _REFINED are expanded to up to _NEIGHBOURS of their neighbours.
_BRED, _RANDOM, _PARENTS = 300, 60, 60
_ROUNDS, _REFINED, _NEIGHBOURS = 8, 3, 240
# After _MANY trials there are fewer candidates and rounds, down to the share _LEAST_EFFORT: the steps of a long search
# are small, and what one suggestion misses the next will find.
_MANY, _LEAST_EFFORT = 300, 0.25
# An expected improvement below this share of the front's own hypervolume is rounding: then the model's uncertainty is
# doubled, up to _DOUBTS − 1 times, until some candidate has more.
_LEAST_SHARE, _DOUBTS = 1e-7, 8
# Without a given reference, learned values beyond median + _WORTH_HAVING · (median − q10) are not worth having.
_WORTH_HAVING = 2.0
# A space of at most this many rows is listed to find what is left.
_LARGEST_LISTED = 300_000


class SpaceExhaustedError(NasError):
    """Every feasible member that could be found has been proposed."""

    exit_code = 1


@dataclass(frozen=True)
class Forecast:
    """The model's mean and standard deviation of a proposal's learned objective, in the study's unit."""

    mean: float
    std: float


@dataclass(frozen=True)
class Candidates:
    """Members that may be proposed: rows, known objectives, and the warped mean and std that the model predicts."""

    rows: Rows
    known: Floats
    mean: Floats
    std: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: Numbers) -> Candidates:
        """The candidates at these places."""
        return Candidates(self.rows[numbers], self.known[numbers], self.mean[numbers], self.std[numbers])


@dataclass(frozen=True)
class BroadSample:
    """Feasible members spread over the known objectives: their rows, and their known objectives, minimised."""

    rows: Rows
    known: Floats


class FrontProposer:
    """Proposes members for one study. It keeps only what the problem and the seed decide."""

    def __init__(self, view: Minimised, seed: int, startup: int) -> None:
        self._view = view
        self._seed = seed
        self._startup = startup
        self._learner = Learner(Encoder(view.problem.grid), self._features, seed)

    def propose(self, history: History, number: int) -> tuple[Rows, Forecast | None]:
        """The row of trial `number`, and the model's prediction for it once there is a model."""
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
    def _sample(self) -> BroadSample:
        rows = broad(self._view, np.random.default_rng([self._seed, 0]))
        return BroadSample(rows, self._view.known(rows))

    def _features(self, rows: Rows, known: Floats) -> Floats:
        if self._view.problem.features is not None:
            return np.asarray(self._view.problem.features(rows), dtype=np.float64).reshape(len(rows), -1)
        positive = (self._sample.known > 0).all(axis=0)
        return np.where(positive, np.log(np.maximum(known, 1e-300)), known)

    @cached_property
    def _planned(self) -> Rows:
        """The rows to try before there is a model: start points, members at even steps, then the rest of the sample."""
        problem, sample = self._view.problem, self._sample
        start = problem.spelt(problem.start_rows) if len(problem.start) else sample.rows[:0]
        start = start[problem.excess(start) <= 0]
        even = np.random.default_rng([self._seed, 2])
        steps = stratified(sample.known, max(2, self._startup - len(start)), even)
        rest = np.setdiff1d(np.arange(len(sample.rows)), steps)
        return np.concatenate([start, sample.rows[steps], sample.rows[rest]])


class _Search:
    """One search for the best candidate, with the model of one history."""

    def __init__(
        self,
        view: Minimised,
        learned: Learned,
        history: History,
        sample: BroadSample,
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

    def best(self) -> tuple[Rows, Forecast]:
        """The candidate with the greatest expected improvement, and the model's prediction for it."""
        candidates = self._candidates()
        if not len(candidates):
            candidates = self._anything()
        worth = self._worth(candidates)
        for doubt in 2.0 ** np.arange(1, _DOUBTS):
            if worth.max() > _LEAST_SHARE * self._covered:
                break
            worth = self._worth(candidates, doubt)
        chosen = candidates.take(np.array([int(np.argmax(worth))]))
        low, mean, high = self._learned.warp.backward(chosen.mean + chosen.std * np.array([-1.0, 0.0, 1.0]))
        return chosen.rows[0], Forecast(self._view.sign * float(mean), float(high - low) / 2)

    def _candidates(self) -> Candidates:
        """Children of the front, random members, and what the best of them reach by changing one choice at a time."""
        rng = self._rng
        bred_count, random_count = (round(self._effort * count) for count in (_BRED, _RANDOM))
        random = rng.choice(self._sample.rows, size=min(random_count, len(self._sample.rows)), replace=False)
        rows = [bred(self._view.problem, self._parents, bred_count, rng)]
        rows += [bred(self._view.problem, random, random_count // 2, rng), random]
        candidates = self._judged(np.concatenate(rows))
        worth = self._worth(candidates)
        expanded: set[bytes] = set()
        for _ in range(round(self._effort * _ROUNDS)):
            order = np.argsort(-worth, kind="stable")[: 4 * _REFINED]
            keys = keys_of(candidates.rows[order])
            fresh = [index for index, key in zip(order.tolist(), keys, strict=True) if key not in expanded][:_REFINED]
            if not fresh:
                break
            expanded.update(keys_of(candidates.rows[fresh]))
            around = self._view.problem.grid.neighbours(candidates.rows[fresh])
            if len(around) > _NEIGHBOURS:
                around = around[rng.permutation(len(around))[:_NEIGHBOURS]]
            new = self._judged(around, known_keys=set(keys_of(candidates.rows)))
            if not len(new):
                continue
            best = worth.max()
            candidates = _joined(candidates, new)
            worth = np.concatenate([worth, self._worth(new)])
            if worth.max() <= best and len(expanded) > _REFINED:
                break
        return candidates

    def _anything(self) -> Candidates:
        """Any members that are new and feasible: random ones or, in a small space, all that are left."""
        grid = self._view.problem.grid
        candidates = self._judged(grid.random(2000, self._rng))
        if not len(candidates) and grid.size <= _LARGEST_LISTED:
            left = grid.all_rows()
            left = left[[key not in self._taken for key in keys_of(self._view.problem.spelt(left))]]
            left = left[self._view.problem.excess(left) <= 0]
            candidates = self._judged(self._rng.permutation(left)[:2000])
        if not len(candidates):
            raise SpaceExhaustedError(
                f"the search space is exhausted: all of its feasible members that could be found ({len(self._taken)}) "
                "were proposed before. Ask for fewer trials, widen the space, or loosen the constraints"
            )
        return candidates

    def _judged(self, rows: Rows, known_keys: Set[bytes] = frozenset()) -> Candidates:
        """The rows that are new and feasible, each once, with the model's predictions."""
        problem = self._view.problem
        rows = problem.spelt(rows)
        unique = {key: index for index, key in enumerate(keys_of(rows)) if key not in self._taken}
        rows = rows[[index for key, index in unique.items() if key not in known_keys]]
        rows = rows[problem.excess(rows) <= 0]
        known = self._view.known(rows)
        return Candidates(rows, known, *self._learned.predict(rows, known))

    def _worth(self, candidates: Candidates, doubt: float = 1.0) -> Floats:
        """(n,): the expected hypervolume improvement of candidates, with the model's std multiplied by `doubt`."""
        warp, mean, std = self._learned.warp, candidates.mean, doubt * candidates.std
        return expected_improvement(
            self._boxes, candidates.known, lambda levels: warp.expected_below(levels, mean, std)
        )

    def _reference(self, history: History) -> tuple[Floats, float]:
        """The point that hypervolume is measured from: the problem's, or one just beyond all values worth having."""
        if self._view.reference is not None:
            return self._view.reference
        known = np.concatenate([self._sample.known, history.known])
        worst, best = known.max(axis=0, initial=-np.inf), known.min(axis=0, initial=np.inf)
        # Judged by the first trials, which are spread evenly: the model chose the later ones.
        first = history.learned[history.complete][: self._startup]
        good, median, bad = np.quantile(first[np.isfinite(first)], [0.1, 0.5, 1.0])
        return worst + 0.01 * (worst - best), float(min(bad, median + _WORTH_HAVING * (median - good)))

    def _breeders(self, history: History) -> Rows:
        """The rows nearest to the front, in the order of the first known objective."""
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
