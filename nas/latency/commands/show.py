"""Print latency tables, networks' latencies by them, and the differences between two tables."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from statistics import median
from typing import Any

from nas import console
from nas.latency.difference import LatencyComparison, TableDifference, differing_conditions
from nas.latency.table import LatencyTable
from nas.latency.verdict import validated
from nas.networks.architecture import Architecture
from nas.networks.operators import Unit, parse_unit, units


@dataclass(frozen=True)
class OperatorRows:
    """A summary of a table's rows for one operator: sides of the input in pixels, latencies in milliseconds."""

    op: str
    rows: int
    sides: tuple[int, int]
    least_ms: float
    median_ms: float
    most_ms: float


@dataclass(frozen=True)
class StageLatency:
    """Consecutive units with the same operator and output shape, and their share of the sum (0 to 1)."""

    op: str
    units: int
    output: str
    latency_ms: float
    share: float


def rows_by_operator(table: LatencyTable) -> tuple[OperatorRows, ...]:
    """A summary of a table's rows for each operator, in order of their names."""
    by_op: dict[str, list[tuple[Unit, float]]] = {}
    for key, row in table.rows.items():
        unit = parse_unit(key)
        by_op.setdefault(unit.block.op, []).append((unit, row.latency_ms))
    summaries = []
    for op, rows in sorted(by_op.items()):
        sides, latencies = [unit.height for unit, _ in rows], [latency_ms for _, latency_ms in rows]
        shape = (min(sides), max(sides))
        summaries.append(OperatorRows(op, len(rows), shape, min(latencies), median(latencies), max(latencies)))
    return tuple(summaries)


def latency_by_stage(table: LatencyTable, architecture: Architecture) -> tuple[StageLatency, ...]:
    """The latency of each stage of a network. Raises NasError for missing units."""
    total = sum(table.unit_latency_ms(unit) for unit in units(architecture))
    stages = []
    for (op, output), members in groupby(units(architecture), key=lambda unit: (unit.block.op, _output(unit))):
        latencies = [table.unit_latency_ms(unit) for unit in members]
        stages.append(StageLatency(op, len(latencies), output, sum(latencies), sum(latencies) / total))
    return tuple(stages)


def print_table_json(table: LatencyTable, architecture: Architecture | None) -> None:
    """Print a table, and a network's latency by it, as JSON."""
    data: dict[str, Any] = {
        "name": table.name,
        "conditions": table.conditions.model_dump(mode="json"),
        "rows_by_source": rows_by_source(table),
        "kinds": [asdict(summary) for summary in rows_by_operator(table)],
    }
    if architecture:
        estimate = table.estimate(architecture)
        keys = [unit.key for unit in units(architecture)]
        data["network"] = {
            "fingerprint": architecture.fingerprint,
            "latency_ms": estimate.latency_ms,
            "latency_by_source_ms": dict(estimate.by_source),
            "units": [
                {"unit": key, "latency_ms": table.rows[key].latency_ms, "source": table.rows[key].source}
                for key in keys
            ],
            "stages": [asdict(stage) for stage in latency_by_stage(table, architecture)],
        }
    print(json.dumps(data, indent=2))


def print_conditions(table: LatencyTable) -> None:
    """Print the conditions and the sources of a table."""
    conditions = table.conditions
    print(f"{table.name}: {conditions.device}, {conditions.runtime}, {conditions.precision}\n")
    names = ("soc", "cores", "threads", "governor", "runtime_version", "execution_provider", "date", "protocol")
    for name in names:
        print(f"{name + ':':<20}{getattr(conditions, name)}")
    calibration = conditions.calibration
    print(f"{'calibration:':<20}{calibration.offset_ms:g} ms + {calibration.scale:g} x the sum of the units")
    _print_session(conditions.measurement.get("session"))
    for source, citations in conditions.sources.items():
        for citation in citations:
            print(f"{source + ':':<20}{citation.title} ({citation.licence}) {citation.url}")


def _print_session(session: Mapping[str, Any] | None) -> None:
    if session:
        load = session["load_ms"]
        print(
            f"{'session:':<20}loaded in {load['median']} ms ({load['least']} to {load['most']} by network); "
            f"an empty run takes {session['empty_run_ms']} ms; the runner held {session['peak_rss_mb']} MB at most, "
            f"with {session['models_at_once']} models loaded"
        )


def print_rows_and_agreement(table: LatencyTable) -> None:
    """Print the numbers of rows by source and operator, and how the table agrees with whole networks."""
    counts = rows_by_source(table)
    console.print_table(
        ("source", "rows"), [(source, f"{count:,}") for source, count in counts.items()], numbers=("rows",)
    )
    print()
    _print_operators(rows_by_operator(table))
    _print_agreement(table.conditions.validation)
    _print_held_out(table)
    print(f"\n{validated(table.conditions.model_dump(mode='json'))}")


def print_network(table: LatencyTable, name: str, architecture: Architecture) -> None:
    """Print a network's latency unit by unit and stage by stage."""
    estimate = table.estimate(architecture)
    rows = [(unit.key, table.rows[unit.key]) for unit in units(architecture)]
    total = sum(estimate.by_source.values())
    print(f"{name} on {table.name} ({table.conditions.device})\n")
    listed = [(key, f"{row.latency_ms:.3f}", f"{row.latency_ms / total:.1%}", row.source) for key, row in rows]
    by_unit = [*listed, ("sum", f"{total:.3f}", "", "")]
    console.print_table(("unit", "ms", "share", "source"), by_unit, numbers=("ms", "share"))
    print()
    stages = [
        (str(number), stage.op, str(stage.units), stage.output, f"{stage.latency_ms:.3f}", f"{stage.share:.1%}")
        for number, stage in enumerate(latency_by_stage(table, architecture), start=1)
    ]
    console.print_table(
        ("stage", "op", "units", "output", "ms", "share"), stages, numbers=("stage", "units", "ms", "share")
    )
    shares = ", ".join(f"{estimate.share(source):.0%} {source}" for source, ms in estimate.by_source.items() if ms)
    print(f"\nlatency: {estimate.latency_ms:.2f} ms ({shares})")


def print_difference(
    first: LatencyTable,
    second: LatencyTable,
    difference: TableDifference | None,
    networks: Mapping[str, tuple[float, float]],
    spaces: Mapping[str, LatencyComparison],
) -> None:
    """Print the differences of two tables: conditions, common units, networks (latency by each in ms), spaces."""
    console.print_table(
        ("condition", first.name, second.name),
        [(name, *values) for name, values in differing_conditions(first, second).items()],
    )
    comparisons = {f"networks of {name}": comparison for name, comparison in spaces.items()}
    if difference:
        print(f"\nunits of {first.name} alone: {difference.only_first:,}; of {second.name} alone: ", end="")
        print(f"{difference.only_second:,}")
        comparisons = {"common units": difference.common} | comparisons
    if comparisons:
        columns = ("compared", "count", "median ratio", "5 %", "95 %", "Spearman")
        print(f"\nratio: {second.name} / {first.name}\n")
        console.print_table(columns, [_comparison_cells(*item) for item in comparisons.items()], numbers=columns[1:])
    if networks:
        cells = [(name, f"{a:.3f}", f"{b:.3f}", f"{b / a:.3f}") for name, (a, b) in networks.items()]
        _print_beside("network", first, second, cells)
    if difference:
        cells = [(d.unit, f"{d.first_ms:.4g}", f"{d.second_ms:.4g}", f"{d.ratio:.3f}") for d in difference.largest]
        _print_beside("furthest from the median ratio", first, second, cells)


def print_difference_json(
    first: LatencyTable,
    second: LatencyTable,
    difference: TableDifference | None,
    networks: Mapping[str, tuple[float, float]],
    spaces: Mapping[str, LatencyComparison],
) -> None:
    """Print the differences of two tables as JSON."""
    data: dict[str, Any] = {
        "first": first.name,
        "second": second.name,
        "conditions": differing_conditions(first, second),
        "units": None,
        "networks": {name: {"first_ms": a, "second_ms": b} for name, (a, b) in networks.items()},
        "spaces": {name: _comparison_json(comparison) for name, comparison in spaces.items()},
    }
    if difference:
        data["units"] = asdict(difference) | {"common": _comparison_json(difference.common)}
    print(json.dumps(data, indent=2))


def rows_by_source(table: LatencyTable) -> dict[str, int]:
    """The number of rows from each source."""
    counts = Counter(row.source for row in table.rows.values())
    return {source: counts[source] for source in sorted(counts)}


def _output(unit: Unit) -> str:
    return f"{unit.out_channels}x{unit.out_height}x{unit.out_width}"


def _print_operators(summaries: Iterable[OperatorRows]) -> None:
    columns = ("op", "rows", "sides", "least ms", "median ms", "most ms")
    table = [
        (
            summary.op,
            f"{summary.rows:,}",
            "-".join(str(side) for side in dict.fromkeys(summary.sides)),
            f"{summary.least_ms:.4g}",
            f"{summary.median_ms:.4g}",
            f"{summary.most_ms:.4g}",
        )
        for summary in summaries
    ]
    console.print_table(columns, table, numbers=columns[1:])


def _print_agreement(validation: Mapping[str, Any]) -> None:
    rows = [
        (name, f"{check['published_ms']:g}", f"{check['table_ms']:.2f}", str(check["difference"]))
        for name, check in validation.items()
        if isinstance(check, dict) and {"published_ms", "table_ms", "difference"} <= check.keys()
    ]
    if rows:
        columns = ("network", "published ms", "table ms", "difference")
        print()
        console.print_table(columns, rows, numbers=columns[1:])


def _print_held_out(table: LatencyTable) -> None:
    """Print the errors of a table's model on families of networks that it was not fitted to, if the table has them."""
    model = table.conditions.model
    families = model.cross_validated.get("families_held_out") if model else None
    if not isinstance(families, dict):
        return
    columns = ("family held out", "networks", "bias", "mean absolute", "worst", "Spearman")
    keys = ("samples", "bias", "mean_absolute", "worst", "spearman")
    rows = [
        (family, *(str(error.get(key, "")) for key in keys))
        for family, error in families.items()
        if isinstance(error, dict)
    ]
    print()
    console.print_table(columns, rows, numbers=columns[1:])


def _print_beside(
    title: str, first: LatencyTable, second: LatencyTable, cells: Sequence[tuple[str, str, str, str]]
) -> None:
    columns = (title, first.name, second.name, "ratio")
    print()
    console.print_table(columns, cells, numbers=columns[1:])


def _comparison_cells(name: str, comparison: LatencyComparison) -> Sequence[str]:
    ratios = (comparison.median_ratio, comparison.low_ratio, comparison.high_ratio)
    spearman = "-" if math.isnan(comparison.spearman) else f"{comparison.spearman:.4f}"
    return (name, f"{comparison.count:,}", *(f"{ratio:.3f}" for ratio in ratios), spearman)


def _comparison_json(comparison: LatencyComparison) -> dict[str, Any]:
    # NaN is not JSON.
    data = asdict(comparison)
    return data | {"spearman": None if math.isnan(comparison.spearman) else comparison.spearman}
