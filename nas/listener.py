"""Listener: whoever shows or records what a long piece of work does."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """What a long piece of work tells of itself. It changes nothing: work does the same whoever listens."""

    def progress(self, work: str, done: int, total: int) -> None:
        """`done` of `total` steps of `work` ("training the supernet") are done."""

    def message(self, text: str) -> None:
        """One line for people."""


class Silent:
    """A listener that shows nothing."""

    def progress(self, work: str, done: int, total: int) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""
