"""Show a person how a search goes on: a live line on a terminal, plain lines elsewhere.

All of it goes to standard error: results are for standard output.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from nas.search.costing import CostedNetwork
from nas.search.quantities import DEFAULT_OBJECTIVES, LEARNED, learned_of
from nas.search.results.wording import with_device, written
from nas.search.trial import TRAINED, Trial

# How often a plain line is printed, as a share of all trials.
_PLAIN_STEP = 0.05


class SearchProgress:
    """Shows how far a search of `total` trials has got; `done` of them were there before."""

    def __init__(
        self,
        total: int,
        *,
        minutes: float | None = None,
        quiet: bool = False,
        objectives: Sequence[str] = DEFAULT_OBJECTIVES,
    ) -> None:
        self._learned = learned_of(objectives)
        self._known = [name for name in objectives if name not in LEARNED]
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._total = total
        self._ends_at = time.monotonic() + 60 * minutes if minutes is not None else None
        self._live = self._console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            disable=not self._live,
            transient=True,
        )
        self._task = self._bar.add_task("searching", total=total, facts="")
        self._seconds: list[float] = []
        self._said = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def message(self, text: str) -> None:
        """One line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def progress(self, work: str, done: int, total: int) -> None:
        """What the evaluator makes ready in advance, on the bar; elsewhere its beginning and its end."""
        self._bar.update(self._task, description=f"{work} ({done}/{total})")
        if not self._live and done in (0, total):
            self.message(f"{work}: {done}/{total}")

    def begins(self, trials: Sequence[Trial]) -> None:
        """What was there before is on the bar as soon as the first training begins."""

    def training(self, network: CostedNetwork, done: int) -> None:
        """Scoring of `network` begins."""
        self._bar.update(self._task, description=f"training {network.name}", completed=done)

    def ended(self, trial: Trial, done: int, front: Sequence[Trial]) -> None:
        """A trial has ended; `done` were trained so far."""
        if trial.status not in TRAINED:
            return
        self._seconds.append(trial.seconds)
        if trial.status == "failed":
            self.message(f"trial {trial.number} failed: {trial.reason}")
        facts = self._facts(done, front)
        self._bar.update(self._task, completed=done, facts=facts)
        if not self._live and (done / self._total >= self._said + _PLAIN_STEP or done == self._total):
            self._said = done / self._total
            self.message(f"{done}/{self._total} trained, {facts}")

    def _facts(self, done: int, front: Sequence[Trial]) -> str:
        facts = [f"{_clock(self._seconds_left(done))} left"] if self._seconds else []
        if front:
            best = max(front, key=lambda trial: trial.network.learned)
            values = ", ".join(with_device(name, written(name, best.network.values[name])) for name in self._known)
            facts.append(f"best {written(self._learned, best.network.learned)} at {values}")
            facts.append(f"front of {len(front)}")
        return ", ".join(facts)

    def _seconds_left(self, done: int) -> float:
        by_trials = (self._total - done) * sum(self._seconds) / len(self._seconds)
        if self._ends_at is None:
            return by_trials
        return min(by_trials, max(0.0, self._ends_at - time.monotonic()))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
