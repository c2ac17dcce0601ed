"""Run a command, turning errors into exit codes, print tables, and show the progress of work."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from nas.errors import NasError

INTERRUPTED = 130  # 128 + SIGINT, as shells say it
# Where there is no terminal, counts are printed once in so many seconds.
_SECONDS_BETWEEN_LINES = 10.0


def run(command: Callable[[], int]) -> int:
    """Run `command`; returns its exit code, or the one of the error that stopped it.

    A NasError is printed on stderr, a line for each of its problems, without a traceback. Ctrl-C gives 130. A closed
    pipe (`| head`) counts as success. Any other exception is a bug of ours and keeps its traceback.
    """
    try:
        code = command()
        sys.stdout.flush()
    except NasError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit: let that go nowhere (docs.python.org, "Note on SIGPIPE").
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> None:
    """Print rows under their column names on stdout; the columns in `numbers` are aligned to the right.

    On a terminal the table has colours and rules. Elsewhere it is plain text, the same on every machine.
    """
    if sys.stdout.isatty():
        _print_rich(columns, rows, numbers)
        return
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = (
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for cell, column, width in zip(line, columns, widths, strict=True)
        )
        print("  ".join(cells).rstrip())


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> None:
    # Imported here, because piped output and JSON do not need it.
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        # Only the last column, which holds the longest words, wraps on a narrow terminal.
        last = column == columns[-1]
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=not last, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


class WorkProgress:
    """Shows on stderr how much of some work is done, between entering and leaving it; nothing where it is `quiet`.

    On a terminal this is a bar with the time left, elsewhere a plain line now and then. `unit` is what is counted, in
    the plural: "images".
    """

    def __init__(self, unit: str, *, quiet: bool = False) -> None:
        # Imported here, because most commands show no progress.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._unit = unit
        self._console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False)
        self._live = self._console.is_terminal and not quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.4g}/{task.total:.4g}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=self._console,
            disable=not self._live,
            transient=True,
            # Speed is that since the start: a single step, an epoch, can take long.
            speed_estimate_period=math.inf,
        )
        self._task = self._bar.add_task(unit, total=math.inf, facts="", visible=False)
        self._began = self._printed_at = time.monotonic()

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
        if not self._live and now - self._printed_at >= _SECONDS_BETWEEN_LINES:
            self._printed_at = now
            left = f", about {(now - self._began) / done * (total - done):.0f} s left" if 0 < done < total else ""
            self.say(f"{done:.6g} of {total:.6g} {self._unit}{left}")

    def step(self, done: float, total: float, facts: str) -> None:
        """As `count`, with `facts` about the last unit: beside the bar, or, without a terminal, a line of their own."""
        self._show(done, total, facts)
        if not self._live:
            self.say(facts)

    def say(self, text: str) -> None:
        """Print one line that stays."""
        self._console.print(text, soft_wrap=True)

    def _show(self, done: float, total: float, facts: str = "") -> None:
        self._bar.update(self._task, completed=done, total=total, facts=facts, visible=True)
