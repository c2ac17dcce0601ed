"""What do the trials so far teach of members that were not tried?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.search.sampling.front_sampler.encoding import Encoder
from nas.search.sampling.front_sampler.grid import Floats, Rows
from nas.search.sampling.front_sampler.history import History
from nas.search.sampling.front_sampler.model import Inputs, Model, condition, fit
from nas.search.sampling.front_sampler.warp import Warp, fit_warp

Numbers = NDArray[np.int64]
# Of rows (n, parameters) and their known objectives, what the learned one may depend on: (n, features).
Features = Callable[[Rows, Floats], Floats]

# The hyperparameters are fitted to so many trials, and the model sees so many: those near the front, and a spread.
_FITTED, _SEEN, _NEAR = 120, 300, 0.7
# The hyperparameters are fitted after each of so many trials, then when a share more have told something: they move
# ever less, and fitting them is most of what a suggestion costs.
_EACH, _MORE = 40, 0.1


@dataclass(frozen=True)
class Lens:
    """How members are shown to a model: their choices, and features in units of what was seen of them.

    With `budgeted`, the share of the budget is one more feature: what was stopped early tells of its own budget, and by
    that of the whole.
    """

    encoder: Encoder
    features: Features
    centre: Floats
    width: Floats
    budgeted: bool

    def inputs(self, rows: Rows, known: Floats, budget: Floats | float = 1.0) -> Inputs:
        """The model's inputs of rows whose known objectives are (n, known)."""
        scaled = (self.features(rows, known) - self.centre) / self.width
        if self.budgeted:
            scaled = np.column_stack([scaled, np.full(len(rows), np.log2(budget))])
        return self.encoder.inputs(rows, scaled)


@dataclass(frozen=True)
class Learned:
    """A model of the learned objective, minimised and warped."""

    lens: Lens
    warp: Warp
    model: Model

    def predict(self, rows: Rows, known: Floats) -> tuple[Floats, Floats]:
        """Warped mean and standard deviation (n,) of the learned objective, for the whole budget."""
        if not len(rows):
            return np.zeros(0), np.zeros(0)
        return self.model.predict(self.lens.inputs(rows, known))

    def believing(self, rows: Rows, known: Floats) -> tuple[Learned, Floats]:
        """What would be known if these members gave what is expected of them, and that: (n,), minimised."""
        inputs = self.lens.inputs(rows, known)
        mean, _ = self.model.predict(inputs)
        return replace(self, model=self.model.believing(inputs)), self.warp.backward(mean)


class Learner:
    """Learns from the histories of one study. It keeps the last hyperparameters, which changes nothing but the time."""

    def __init__(self, encoder: Encoder, features: Features, seed: int) -> None:
        self._encoder, self._features, self._seed = encoder, features, seed
        self._last: tuple[tuple[bytes, ...], Floats] | None = None

    def learn(self, history: History) -> Learned:
        """What the trials of `history` teach, at least one of which learned something with the whole budget."""
        sees = _training_set(history, self._rng(history))
        warp = fit_warp(history.learned[history.complete])
        lens = self._lens(history, sees, budgeted=_budgeted(history))
        inputs = lens.inputs(history.rows[sees], history.known[sees], history.budget[sees])
        return Learned(
            lens, warp, condition(inputs, warp.forward(history.learned[sees]), self._hyperparameters(history))
        )

    def _hyperparameters(self, history: History) -> Floats:
        """Those of the beginning of `history` that they were last to be fitted to."""
        usable = np.flatnonzero(history.informative)
        first = history.take(usable[: fitted_at(len(usable))])
        budgeted = _budgeted(history)
        key = (first.rows.tobytes(), first.learned.tobytes(), first.budget.tobytes(), bytes([budgeted]))
        if self._last is None or self._last[0] != key:
            self._last = key, self._fitted(first, budgeted=budgeted)
        return self._last[1]

    def _fitted(self, history: History, *, budgeted: bool) -> Floats:
        sees = _training_set(history, self._rng(history))
        sees = sees[np.unique(np.linspace(0, len(sees) - 1, min(_FITTED, len(sees))).astype(int))]
        lens = self._lens(history, sees, budgeted=budgeted)
        known = history.complete if history.complete.any() else history.informative
        targets = fit_warp(history.learned[known]).forward(history.learned[sees])
        return fit(lens.inputs(history.rows[sees], history.known[sees], history.budget[sees]), targets)

    def _lens(self, history: History, sees: Numbers, *, budgeted: bool) -> Lens:
        features = self._features(history.rows[sees], history.known[sees])
        width = features.std(axis=0)
        return Lens(self._encoder, self._features, features.mean(axis=0), np.where(width > 1e-12, width, 1.0), budgeted)

    def _rng(self, history: History) -> np.random.Generator:
        return np.random.default_rng([self._seed, 3, len(history.rows)])


def fitted_at(count: int) -> int:
    """To how many of `count` trials hyperparameters are fitted: to all of few, then to the last step before."""
    at = min(count, _EACH)
    while (after := at + max(1, int(_MORE * at))) <= count:
        at = after
    return at


def _budgeted(history: History) -> bool:
    return bool((history.budget[history.informative] < 1).any())


def _training_set(history: History, rng: np.random.Generator) -> Numbers:
    """Which trials the model sees: all, or those near the front and a random draw of the others."""
    usable = np.flatnonzero(history.informative)
    if len(usable) <= _SEEN:
        return usable
    order = usable[np.argsort(history.gaps[usable], kind="stable")]
    near = int(_NEAR * _SEEN)
    others = rng.permutation(order[near:])[: _SEEN - near]
    return np.sort(np.concatenate([order[:near], others]))
