"""Make a table from a CSV of one's own measurements, a row for each unit, and the conditions they were made under.

All problems of the CSV and of the conditions are reported at once.
"""

from __future__ import annotations

from pathlib import Path

from nas.config import Document, check
from nas.errors import ConfigError, NasError, nearest_first
from nas.files import read_csv, shown
from nas.latency.table import LatencyTable, Row, Source, TableFormat, parse_row

REQUIRED = ("unit", "latency_ms")
OPTIONAL = ("spread_ms", "runs")
_DEFAULT = "0"  # unknown


def import_table(path: Path, name: str, conditions: Document, source: Source = "measured") -> LatencyTable:
    """Make the table called `name` from the rows of the CSV at `path`, all of them from `source`.

    The first line names the columns, in any order: `unit` and `latency_ms`, and optionally `spread_ms` and `runs`.
    Raises ConfigError with every problem of the CSV and of the conditions.
    """
    problems: list[str] = []
    table_conditions = None
    try:
        table_conditions = check(TableFormat, conditions)
        if source not in table_conditions.sources:
            problems.append(
                conditions.problem(("sources",), f"sources must say where {source} rows come from, under '{source}'")
            )
    except ConfigError as error:
        problems.extend(error.problems)
    rows, row_problems = _read_rows(path, source)
    problems.extend(row_problems)
    if problems:
        raise ConfigError(problems)
    assert table_conditions is not None
    return LatencyTable(name, table_conditions, rows)


def _read_rows(path: Path, source: Source) -> tuple[dict[str, Row], list[str]]:
    """The rows by unit, and the problem of every line that is not a row."""
    place = shown(path)
    try:
        lines = read_csv(path, place)
    except ConfigError as error:
        return {}, list(error.problems)
    if not lines:
        return {}, [f"{place} must start with a line that names its columns, such as {','.join(REQUIRED + OPTIONAL)}"]
    columns = [column.strip() for column in lines[0][1]]
    problems = _column_problems(columns, place)
    if problems:
        return {}, problems
    rows: dict[str, Row] = {}
    first_line: dict[str, int] = {}
    for number, fields in lines[1:]:
        if not fields:
            continue
        try:
            key, row = _parse(columns, fields, source)
            if key in rows:
                raise NasError(f"the unit {key} is given twice, first in line {first_line[key]}")
            rows[key], first_line[key] = row, number
        except NasError as error:
            problems.append(f"{error} ({place}:{number})")
    if not rows and not problems:
        problems.append(f"there are no rows below the names of the columns ({place})")
    return rows, problems


def _column_problems(columns: list[str], place: str) -> list[str]:
    problems = [f"the column {name} is missing ({place}:1)" for name in REQUIRED if name not in columns]
    for name in dict.fromkeys(columns):
        if name not in REQUIRED + OPTIONAL:
            choices = ", ".join(nearest_first(name, REQUIRED + OPTIONAL))
            problems.append(f"unknown column {name!r}. Known: {choices} ({place}:1)")
        elif columns.count(name) > 1:
            problems.append(f"the column {name} is given twice ({place}:1)")
    return problems


def _parse(columns: list[str], fields: list[str], source: Source) -> tuple[str, Row]:
    if len(fields) != len(columns):
        raise NasError(f"a row must have {len(columns)} fields ({', '.join(columns)}), but has {len(fields)}")
    cells = dict(zip(columns, (field.strip() for field in fields), strict=True))
    optional = [cells.get(name) or _DEFAULT for name in OPTIONAL]
    return parse_row([cells["unit"], cells["latency_ms"], *optional, source])
