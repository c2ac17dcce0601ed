"""What a search tells of itself, and how several listeners hear it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nas.listener import Listener, Silent
from nas.search.costing import CostedNetwork
from nas.search.trial import Trial


class SearchListener(Listener, Protocol):
    """Whoever shows or records a search: the terminal, trials.csv, a page, a notebook, a logger."""

    def begins(self, trials: Sequence[Trial]) -> None:
        """The search begins, or goes on; `trials` were there before."""

    def training(self, network: CostedNetwork, done: int) -> None:
        """`network` begins to be scored; so many trials were trained before it."""

    def ended(self, trial: Trial, done: int, front: Sequence[Trial]) -> None:
        """A trial has ended, in the order of their numbers; so many were trained so far, and that is their front."""


class SilentSearch(Silent):
    """A listener that shows nothing of a search; a base for listeners that want some of it."""

    def begins(self, trials: Sequence[Trial]) -> None:
        """Nothing."""

    def training(self, network: CostedNetwork, done: int) -> None:
        """Nothing."""

    def ended(self, trial: Trial, done: int, front: Sequence[Trial]) -> None:
        """Nothing."""


class Listeners:
    """Several listeners as one; each is told in turn."""

    def __init__(self, *listeners: SearchListener) -> None:
        self._listeners = listeners

    def progress(self, work: str, done: int, total: int) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.progress(work, done, total)

    def message(self, text: str) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.message(text)

    def begins(self, trials: Sequence[Trial]) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.begins(trials)

    def training(self, network: CostedNetwork, done: int) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.training(network, done)

    def ended(self, trial: Trial, done: int, front: Sequence[Trial]) -> None:
        """Tell all."""
        for listener in self._listeners:
            listener.ended(trial, done, front)
