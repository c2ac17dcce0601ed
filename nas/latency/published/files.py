"""Read a CSV of published latencies, and turn published units into rows of a table."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO, TypeVar

from nas.errors import NasError
from nas.latency.table import Row
from nas.networks.operators import Unit


class HasLatency(Protocol):
    """A published figure."""

    @property
    def latency_ms(self) -> float:
        """In milliseconds."""
        ...


@dataclass(frozen=True)
class PublishedUnit:
    """A published latency of one unit in milliseconds: the mean of `runs` runs (1 where the source does not say)."""

    unit: Unit
    latency_ms: float
    spread_ms: float = 0.0
    runs: int = 1


_Figure = TypeVar("_Figure", bound=HasLatency)
_Parse = Callable[[dict[str, str]], _Figure | None]


def read_published(path: Path, columns: Sequence[str], parse: _Parse[_Figure]) -> list[_Figure]:
    """Read the figures that `parse` makes of the rows of a CSV (gzipped if its name ends in .gz).

    `parse` returns None for a row to leave out. Raises NasError for a missing file or column, and for a row that is not
    a latency, naming its line.
    """
    figures = []
    try:
        with _opened(path) as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                has = ", ".join(reader.fieldnames or ()) or "none"
                raise NasError(f"{path} must have the columns {', '.join(missing)} too, but has {has}")
            for row in reader:
                figures.append(_figure(row, parse, f"{path}:{reader.line_num}"))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise NasError(
            f"cannot read the published latencies in {path}: {error}. "
            "latency_tables/README.md says where to get them and how to lay them out."
        ) from error
    return [figure for figure in figures if figure is not None]


def published_rows(figures: Iterable[PublishedUnit]) -> dict[str, Row]:
    """The rows of a table. A unit that was published repeatedly gets the mean over all runs and the largest spread."""
    by_key: dict[str, list[PublishedUnit]] = {}
    for figure in figures:
        by_key.setdefault(figure.unit.key, []).append(figure)
    rows = {}
    for key, repeated in by_key.items():
        runs = sum(figure.runs for figure in repeated)
        latency_ms = math.fsum(figure.latency_ms * figure.runs for figure in repeated) / runs
        rows[key] = Row(latency_ms, max(figure.spread_ms for figure in repeated), runs, "published")
    return rows


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8")
    return path.open(newline="", encoding="utf-8")


def _figure(row: dict[str, str], parse: _Parse[_Figure], place: str) -> _Figure | None:
    try:
        figure = parse(row)
    except (LookupError, TypeError, ValueError, NasError) as error:
        raise NasError(f"not a published latency: {error} ({place})") from error
    if figure is not None and not (math.isfinite(figure.latency_ms) and figure.latency_ms > 0):
        raise NasError(f"a latency must be a number above 0, but is {figure.latency_ms:g} ({place})")
    return figure
