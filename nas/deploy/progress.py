"""Show on stderr how far some work has got: a bar with the time left on a terminal, plain lines elsewhere.

All of it goes to standard error: results are for standard output.
"""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

# Where there is no terminal, counts are printed once in so many seconds.
_PLAIN_SECONDS = 10.0


class WorkProgress:
    """Shows how much of some work is done, between entering and leaving it; nothing where it is `quiet`.

    `unit` is what is counted, in the plural: "images".
    """

    def __init__(self, unit: str, *, quiet: bool = False) -> None:
        self._unit = unit
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live = self._console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.4g}/{task.total:.4g}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            disable=not self._live,
            transient=True,
            # Speed is that since the start: a single step, an epoch, can take long.
            speed_estimate_period=math.inf,
        )
        self._task = self._bar.add_task(unit, total=math.inf, facts="", visible=False)
        self._printed_at = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def count(self, done: float, total: float) -> None:
        """`done` of `total` units are done; without a terminal, a line says so now and then."""
        self._show(done, total)
        now = time.monotonic()
        if not self._live and now - self._printed_at >= _PLAIN_SECONDS:
            self._printed_at = now
            self.say(f"{done:.6g} of {total:.6g} {self._unit}")

    def step(self, done: float, total: float, facts: str) -> None:
        """As `count`, with `facts` about the last unit: beside the bar, or, without a terminal, a line of their own."""
        self._show(done, total, facts)
        if not self._live:
            self.say(facts)

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def _show(self, done: float, total: float, facts: str = "") -> None:
        self._bar.update(self._task, completed=done, total=total, facts=facts, visible=True)
