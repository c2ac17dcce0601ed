"""Learn a model of the trained objective from the trials so far, for members that were not tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.search.sampling.front_sampler.encoding import Encoder
from nas.search.sampling.front_sampler.grid import Floats, Rows
from nas.search.sampling.front_sampler.history import History
from nas.search.sampling.front_sampler.model import GaussianProcess, Inputs, condition, fit
from nas.search.sampling.front_sampler.warp import Warp, fit_warp

Numbers = NDArray[np.int64]
# From rows (n, parameters) and their known objectives to what the learned objective may depend on, (n, features).
Features = Callable[[Rows, Floats], Floats]

# The hyperparameters are fitted to at most _FITTED trials, and the model sees at most _SEEN: a share _NEAR of them are
# those nearest to the front, the others a random draw.
_FITTED, _SEEN, _NEAR = 120, 300, 0.7
# The hyperparameters are fitted after each of the first _EACH trials, then whenever there are a share _MORE more: they
# move ever less, and fitting them is most of the cost of a suggestion.
_EACH, _MORE = 40, 0.1


@dataclass(frozen=True)
class Lens:
    """How members are shown to a model: their choices, and their features, standardised over the trials it sees.

    With `budgeted`, the share of the budget is one more feature, so that the model can learn from trials that were
    stopped early.
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
    model: GaussianProcess

    def predict(self, rows: Rows, known: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (n,) of the warped learned objective after the whole budget."""
        if not len(rows):
            return np.zeros(0), np.zeros(0)
        return self.model.predict(self.lens.inputs(rows, known))

    def believing(self, rows: Rows, known: Floats) -> tuple[Learned, Floats]:
        """The model as if these members had told what it predicts, and those predictions (n,), minimised."""
        inputs = self.lens.inputs(rows, known)
        mean, _ = self.model.predict(inputs)
        return replace(self, model=self.model.believing(inputs)), self.warp.backward(mean)


class Learner:
    """Learns from the histories of one study. It keeps the last hyperparameters, which only saves time."""

    def __init__(self, encoder: Encoder, features: Features, seed: int) -> None:
        self._encoder, self._features, self._seed = encoder, features, seed
        self._last: tuple[tuple[bytes, ...], Floats] | None = None

    def learn(self, history: History) -> Learned:
        """The model of `history`, in which at least one trial was trained on the whole budget."""
        seen = _training_set(history, self._rng(history))
        warp = fit_warp(history.learned[history.complete])
        lens = self._lens(history, seen, budgeted=_budgeted(history))
        inputs = lens.inputs(history.rows[seen], history.known[seen], history.budget[seen])
        return Learned(
            lens, warp, condition(inputs, warp.forward(history.learned[seen]), self._hyperparameters(history))
        )

    def _hyperparameters(self, history: History) -> Floats:
        """The hyperparameters fitted to the first `fitted_at` trials of `history`."""
        usable = np.flatnonzero(history.informative)
        first = history.take(usable[: fitted_at(len(usable))])
        budgeted = _budgeted(history)
        key = (first.rows.tobytes(), first.learned.tobytes(), first.budget.tobytes(), bytes([budgeted]))
        if self._last is None or self._last[0] != key:
            self._last = key, self._fitted(first, budgeted=budgeted)
        return self._last[1]

    def _fitted(self, history: History, *, budgeted: bool) -> Floats:
        seen = _training_set(history, self._rng(history))
        seen = seen[np.unique(np.linspace(0, len(seen) - 1, min(_FITTED, len(seen))).astype(int))]
        lens = self._lens(history, seen, budgeted=budgeted)
        finished = history.complete if history.complete.any() else history.informative
        targets = fit_warp(history.learned[finished]).forward(history.learned[seen])
        return fit(lens.inputs(history.rows[seen], history.known[seen], history.budget[seen]), targets)

    def _lens(self, history: History, seen: Numbers, *, budgeted: bool) -> Lens:
        features = self._features(history.rows[seen], history.known[seen])
        width = features.std(axis=0)
        return Lens(self._encoder, self._features, features.mean(axis=0), np.where(width > 1e-12, width, 1.0), budgeted)

    def _rng(self, history: History) -> np.random.Generator:
        return np.random.default_rng([self._seed, 3, len(history.rows)])


def fitted_at(count: int) -> int:
    """To how many of the first `count` trials the hyperparameters are fitted."""
    at = min(count, _EACH)
    while (after := at + max(1, int(_MORE * at))) <= count:
        at = after
    return at


def _budgeted(history: History) -> bool:
    return bool((history.budget[history.informative] < 1).any())


def _training_set(history: History, rng: np.random.Generator) -> Numbers:
    """The numbers of the trials that the model sees: all, or those near the front and a random draw of the others."""
    usable = np.flatnonzero(history.informative)
    if len(usable) <= _SEEN:
        return usable
    order = usable[np.argsort(history.gaps[usable], kind="stable")]
    near = int(_NEAR * _SEEN)
    others = rng.permutation(order[near:])[: _SEEN - near]
    return np.sort(np.concatenate([order[:near], others]))
