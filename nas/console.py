"""Run a command, turning errors into exit codes, and print tables."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nas.errors import NasError

INTERRUPTED = 130  # 128 + SIGINT, as shells say it


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


@contextmanager
def progress_bar(
    task: str, *, quiet: bool = False, seconds_between_lines: float = 30
) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of `task` on stderr; yields a function that takes the number of steps done and their total.

    On a terminal this is a bar with the steps done and the time left; elsewhere a plain line at most every
    `seconds_between_lines`, and one at the end. With `quiet` nothing is shown.
    """
    # Imported here, because most commands show no progress.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    stderr = Console(stderr=True, quiet=quiet, highlight=False, markup=False)
    live = stderr.is_terminal and not quiet
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=stderr, disable=not live)
    number = bar.add_task(task, total=None, visible=False)
    began = printed = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal printed
        bar.update(number, completed=done, total=total, visible=True)
        now = time.monotonic()
        if live or not done or (done < total and now - printed < seconds_between_lines):
            return
        printed = now
        left = f", about {(now - began) / done * (total - done):.0f} s left" if done < total else ""
        stderr.print(f"{task}: {done} of {total}{left}", soft_wrap=True)

    with bar:
        yield update
