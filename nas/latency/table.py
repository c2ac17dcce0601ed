"""Estimate the latency of a network on a device as the sum of its units' latencies; load and save latency tables.

A table is `NAME.csv`, with a row for each unit, and `NAME.yaml`, which describes the device and the origin of the
figures. A missing unit is an error: it is never zero and never guessed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, StrictStr

from nas.config import Settings, check, load_document
from nas.errors import ConfigError, NasError, nearest_first
from nas.files import find_file, read_csv, shown, write_files
from nas.latency.energy import Power
from nas.networks.architecture import Architecture
from nas.networks.operators import Unit, operations_of, parse_unit, units

if TYPE_CHECKING:
    from pandas import DataFrame

    from nas.networks.space.table import Members

Source = Literal["measured", "published", "modelled"]
SOURCES: tuple[Source, ...] = get_args(Source)
COLUMNS = ("unit", "latency_ms", "spread_ms", "runs", "source")
_MOST_PROBLEMS = 20
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Calibration(Settings):
    """Turns a sum of units into a network's latency: `offset_ms + scale * sum`."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    offset_ms: _Finite = 0.0
    held_out_error: str = ""


class Citation(Settings):
    """The source of figures, and its licence."""

    title: StrictStr
    url: StrictStr
    version: StrictStr = ""
    licence: StrictStr
    use: StrictStr


class Coefficient(Settings):
    """A coefficient of a cost model with its unit, such as 0.17 "ms per million MACs"."""

    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    unit: StrictStr


class ModelFormat(Settings):
    """The cost model behind a table's modelled rows (nas/latency/modelling/cost_model.py), to model further units with.

    `operations` are the kinds of operations that it was fitted to.
    """

    coefficients: dict[StrictStr, Coefficient]
    operations: tuple[StrictStr, ...]
    scale_of_source: dict[StrictStr, float] = Field(default_factory=dict)
    cross_validated: dict[StrictStr, Any] = Field(default_factory=dict)


class TableFormat(Settings):
    """The conditions of a table: the device and runtime that its figures hold for, and how they were obtained.

    `measurement` holds the space, resolutions and settings of a measured table, to measure more under the same
    conditions.
    """

    device: StrictStr
    soc: StrictStr
    cores: StrictStr
    threads: StrictStr
    governor: StrictStr = "unknown"
    runtime: StrictStr
    runtime_version: StrictStr
    execution_provider: StrictStr
    precision: StrictStr
    date: StrictStr
    protocol: StrictStr
    calibration: Calibration = Calibration()
    measurement: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, Any] = Field(default_factory=dict)
    sources: dict[Source, tuple[Citation, ...]]
    model: ModelFormat | None = None
    power: Power | None = None


@dataclass(frozen=True)
class Row:
    """The latency of one unit in milliseconds, from `runs` runs; a `spread_ms` or `runs` of 0 means unknown."""

    latency_ms: float
    spread_ms: float = 0.0
    runs: int = 0
    source: Source = "measured"


@dataclass(frozen=True)
class LatencyEstimate:
    """A network's latency by a table, in milliseconds.

    `by_source` splits the sum of its units by the source of their rows, before calibration.
    """

    latency_ms: float
    by_source: Mapping[Source, float]

    def share(self, source: Source) -> float:
        """The share of the sum, from 0 to 1, that comes from rows of `source`."""
        total = sum(self.by_source.values())
        return self.by_source.get(source, 0.0) / total


@dataclass(frozen=True)
class LatencyTable:
    """The latencies of units on one device under one set of conditions."""

    name: str
    conditions: TableFormat
    rows: Mapping[str, Row]
    path: Path | None = field(default=None, compare=False)

    @cached_property
    def _latency_ms(self) -> dict[str, float]:
        return {key: row.latency_ms for key, row in self.rows.items()}

    @property
    def frame(self) -> DataFrame:
        """The rows as a pandas frame: latency_ms, spread_ms, runs and source by unit."""
        from pandas import DataFrame, Index

        rows = [asdict(row) for row in self.rows.values()]
        columns = [part.name for part in fields(Row)]
        return DataFrame(rows, columns=columns, index=Index(list(self.rows), name="unit"))

    def missing(self, units: Iterable[Unit]) -> list[str]:
        """The keys of the units that the table has no row for, each once, in order."""
        return [key for key in dict.fromkeys(unit.key for unit in units) if key not in self.rows]

    def require(self, units: Iterable[Unit]) -> None:
        """Raise NasError, naming the missing units and the remedy, unless the table has a row for each of `units`."""
        by_key = {unit.key: unit for unit in units}
        missing = self.missing(by_key.values())
        if missing:
            named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise NasError(
                f"the latency table {self.name} has no row for {len(missing)} "
                f"{'unit' if len(missing) == 1 else 'units'}: {named}. "
                f"Add rows for them to {self.name}.csv (latency_tables/README.md says how each table is made)"
                + self._extension([by_key[key] for key in missing])
            )

    def _extension(self, missing: Iterable[Unit]) -> str:
        """The end of a sentence: the command that models the units, where the model was fitted to all operations."""
        if not set(operations_of(missing)) <= self._modelled_operations:
            return "."
        words = f"extend {self.name} --space NAME --out latency_tables (or --network NAME)"
        return f", or model them: python -m nas.latency {words}."

    @property
    def _modelled_operations(self) -> frozenset[str]:
        """The kinds of operations that the table's model was fitted to, or that its measured rows have."""
        if self.conditions.model is not None:
            return frozenset(self.conditions.model.operations)
        return frozenset(operations_of(map(parse_unit, self.rows)) if self.conditions.measurement else ())

    def estimate(self, architecture: Architecture) -> LatencyEstimate:
        """The latency of one network. Raises NasError for units that are missing."""
        by_source: dict[Source, float] = dict.fromkeys(SOURCES, 0.0)
        for unit in units(architecture):
            row = self.rows.get(unit.key)
            if row is None:
                # Raises, naming all missing units, not this one alone.
                self.require(units(architecture))
            assert row is not None
            by_source[row.source] += row.latency_ms
        return LatencyEstimate(self._calibrated(sum(by_source.values())), by_source)

    def estimate_many(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """The latencies of many networks, in milliseconds."""
        return np.array([self.estimate(architecture).latency_ms for architecture in architectures])

    def estimate_members(self, members: Members) -> NDArray[np.float64]:
        """The latencies of members of a space, in milliseconds: `estimate`, vectorised.

        Raises NasError for any missing unit of the space, even where none of these members has it.
        """
        calibration = self.conditions.calibration
        return calibration.offset_ms + calibration.scale * members.total(self.unit_latency_ms)

    def unit_latency_ms(self, unit: Unit) -> float:
        """The latency of one unit, before calibration. Raises NasError where it is missing."""
        latency_ms = self._latency_ms.get(unit.key)
        if latency_ms is None:
            self.require([unit])
        assert latency_ms is not None
        return latency_ms

    def _calibrated(self, total_ms: float) -> float:
        calibration = self.conditions.calibration
        return calibration.offset_ms + calibration.scale * total_ms


def load_table(name: str | Path) -> LatencyTable:
    """Load the table called `name`, or the one whose .yaml is the file `name`, with its .csv beside it.

    Raises ConfigError with every problem of either file, and NasError for an unknown name.
    """
    return read_table(find_file("latency_tables", name))


def read_table(path: Path) -> LatencyTable:
    """Load the table whose .yaml is at `path`."""
    conditions = check(TableFormat, load_document(path))
    return LatencyTable(path.stem, conditions, _read_rows(path.with_suffix(".csv"), conditions), path)


def save_table(table: LatencyTable, folder: Path) -> tuple[Path, Path]:
    """Write NAME.csv and NAME.yaml into `folder`; the same table gives the same bytes. Returns both paths.

    Latencies keep six significant digits and spreads four. Raises RunFailedError where they cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for key, row in table.rows.items():
        writer.writerow([key, f"{row.latency_ms:.6g}", f"{row.spread_ms:.4g}", row.runs, row.source])
    data = table.conditions.model_dump(mode="json", exclude_defaults=True)
    conditions = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
    csv_path, yaml_path = write_files(folder, {f"{table.name}.csv": text.getvalue(), f"{table.name}.yaml": conditions})
    return csv_path, yaml_path


def _read_rows(path: Path, conditions: TableFormat) -> dict[str, Row]:
    source = shown(path)
    rows: dict[str, Row] = {}
    problems: list[str] = []
    for number, cells in read_csv(path, f"{source}, the rows of this table", COLUMNS):
        try:
            key, row = parse_row(cells)
            if key in rows:
                raise NasError(f"the unit {key} is given twice")
            if row.source not in conditions.sources:
                raise NasError(f"source {row.source} is not explained under 'sources' in {path.stem}.yaml")
            rows[key] = row
        except NasError as error:
            problems.append(f"{error} ({source}:{number})")
    if not rows and not problems:
        problems.append(f"the table has no rows ({source})")
    if problems:
        rest = len(problems) - _MOST_PROBLEMS
        more = [f"and {rest} more problems in {source}"] if rest > 0 else []
        raise ConfigError(problems[:_MOST_PROBLEMS] + more)
    return rows


def parse_row(fields: list[str]) -> tuple[str, Row]:
    """The unit key and row of one line of the CSV. Raises NasError for a line that is not a row, saying why."""
    if len(fields) != len(COLUMNS):
        raise NasError(f"a row must have {len(COLUMNS)} fields ({', '.join(COLUMNS)}), but has {len(fields)}")
    key, latency, spread, runs, source = fields
    parse_unit(key)
    latency_ms = _number("latency_ms", latency)
    spread_ms = _number("spread_ms", spread)
    count = _number("runs", runs)
    if latency_ms <= 0:
        raise NasError(f"latency_ms must be above 0, but is {latency} for {key}")
    if spread_ms < 0 or count < 0 or count != int(count):
        raise NasError(f"spread_ms must be 0 or more and runs a whole number, but are {spread} and {runs} for {key}")
    if source not in SOURCES:
        choices = ", ".join(nearest_first(source, SOURCES))
        raise NasError(f"source must be one of {choices}, but is {source!r} for {key}")
    return key, Row(latency_ms, spread_ms, int(count), source)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NasError(f"{name} must be a finite number, but is {text!r}")
    return value
