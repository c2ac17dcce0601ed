"""Say where a latency table comes from, in Markdown, from its .yaml and the counts of its rows.

The text for NAME.yaml is NAME.md beside it. Nobody edits that file by hand, so that it cannot disagree with the table:

    python -m nas.latency.provenance            # write NAME.md for every shipped table
    python -m nas.latency.provenance --check    # exit code 1 where one is missing or out of date
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas import console
from nas.errors import NasError
from nas.files import folders, shown, write_files
from nas.latency.energy import Power
from nas.latency.table import SOURCES, Calibration, Citation, LatencyTable, ModelFormat, Source, TableFormat, read_table
from nas.latency.verdict import validated
from nas.networks.operators import parse_unit

EXAMPLES = """\
examples:
  python -m nas.latency.provenance
  python -m nas.latency.provenance --check
  python -m nas.latency.provenance --tables my_tables
"""
_CONDITIONS = (
    "device",
    "soc",
    "cores",
    "threads",
    "governor",
    "runtime",
    "runtime_version",
    "execution_provider",
    "precision",
    "date",
)
# What a row of each source is (nas/latency/table.py has the names).
_MEANING: dict[Source, str] = {
    "measured": "timed on the device with this project",
    "published": "a figure that others published for this very unit",
    "modelled": "computed by a model; nobody has timed this unit",
}


def provenance(table: LatencyTable) -> str:
    """The device, conditions, protocol, sources, calibration, validation and model of `table`, as a Markdown page."""
    conditions = table.conditions
    sections = [
        f"# {table.name}",
        f"Latency of units of networks on this device: {conditions.device}.",
        f"This page is made from `{table.name}.yaml` and `{table.name}.csv` by `python -m nas.latency.provenance`. "
        "Change those, not this page.",
        *_rows(table),
        *_conditions(conditions),
        *_sources(conditions.sources),
        *_calibration(conditions.calibration),
        *_validation(conditions),
        *_measurement(conditions.measurement),
        *_power(conditions.power),
        *_model(conditions.model),
    ]
    return "\n\n".join(sections) + "\n"


def pages(folder: Path) -> dict[str, str]:
    """The page of every table in `folder`, by the name of its file. Raises NasError where there is no table."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise NasError(f"there is no latency table in {shown(folder)}: it must hold NAME.yaml and NAME.csv")
    return {f"{path.stem}.md": provenance(read_table(path)) for path in paths}


def stale_pages(folder: Path) -> list[Path]:
    """The pages in `folder` that are missing, or say something else than their tables do."""
    return [folder / name for name, text in pages(folder).items() if _text(folder / name) != text]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: _check(arguments.tables) if arguments.check else _write(arguments.tables))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nas.latency.provenance",
        description="Write NAME.md beside each latency table NAME.yaml: where its figures come from.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shipped = folders("latency_tables")[-1]
    parser.add_argument(
        "--tables", metavar="DIR", type=Path, default=shipped, help="folder of the tables (default: the shipped ones)"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 where a page is missing or out of date"
    )
    return parser


def _write(folder: Path) -> int:
    for path in write_files(folder, pages(folder)):
        print(f"wrote {shown(path)}")
    return 0


def _check(folder: Path) -> int:
    stale = stale_pages(folder)
    for path in stale:
        print(f"{shown(path)} is missing or out of date: run python -m nas.latency.provenance", file=sys.stderr)
    return 1 if stale else 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _rows(table: LatencyTable) -> list[str]:
    """How many rows there are by source, and by operator."""
    count: Counter[tuple[str, Source]] = Counter()
    for key, row in table.rows.items():
        count[parse_unit(key).block.op, row.source] += 1
    sources = [source for source in SOURCES if any(row.source == source for row in table.rows.values())]
    by_source = [
        (source, f"{sum(count[op, of] for op, of in count if of == source):,}", _MEANING[source]) for source in sources
    ]
    by_operator = [
        (f"`{op}`", *(f"{count[op, source]:,}" for source in sources)) for op in sorted({op for op, _ in count})
    ]
    return [
        "## Rows",
        _table(("source", "rows", "what such a row is"), by_source),
        _table(("operator", *sources), by_operator),
    ]


def _conditions(conditions: TableFormat) -> list[str]:
    stated = [(name.replace("_", " "), str(getattr(conditions, name))) for name in _CONDITIONS]
    return ["## Conditions", _table(("condition", "value"), stated), "## Protocol", _sentence(conditions.protocol)]


def _sources(sources: Mapping[Source, Sequence[Citation]]) -> list[str]:
    sections = ["## Sources"]
    for source, citations in sources.items():
        cited = [(c.title, c.url, c.version, c.licence, c.use) for c in citations]
        sections += [f"Of the {source} rows:", _table(("title", "address", "version", "licence", "used for"), cited)]
    return sections


def _calibration(calibration: Calibration) -> list[str]:
    if calibration == Calibration():
        return ["## Calibration", "None: the latency of a network is the sum of its units."]
    error = f" Error on samples that it was not fitted to: {calibration.held_out_error}." * bool(
        calibration.held_out_error
    )
    formula = f"latency = {calibration.offset_ms:g} ms + {calibration.scale:g} × Σ units."
    return ["## Calibration", formula + error]


def _validation(conditions: TableFormat) -> list[str]:
    verdict = validated(conditions.model_dump(mode="json"))
    return ["## Validation", _sentence(verdict), *_nested(conditions.validation, 3)]


def _measurement(measurement: Mapping[str, Any]) -> list[str]:
    return ["## Measurement", *_nested(measurement, 3)] if measurement else []


def _power(power: Power | None) -> list[str]:
    return ["## Power", *_nested(power.model_dump(mode="json", exclude_none=True), 3)] if power else []


def _model(model: ModelFormat | None) -> list[str]:
    if model is None:
        return []
    coefficients = [(f"`{name}`", f"{c.value:.4g}", c.unit) for name, c in model.coefficients.items()]
    sections = [
        "## Cost model",
        "The modelled latency of a unit is a sum over its primitive operations. nas/latency/modelling/cost_model.py "
        "says what each amount counts. The .yaml has all digits.",
        _table(("amount", "coefficient", "unit"), coefficients),
        f"Operations that it was fitted to: {', '.join(model.operations)}. A unit with any other is refused.",
    ]
    if model.scale_of_source:
        scales = [(name, f"{scale:g}") for name, scale in model.scale_of_source.items()]
        sections += [
            "Figures of these sources differ from the others by a constant factor, which was fitted, too:",
            _table(("source", "times the model's latency"), scales),
        ]
    if model.cross_validated:
        sections += ["### Error on samples that were held out", *_nested(model.cross_validated, 4)]
    return sections


def _nested(data: Mapping[str, Any], level: int) -> list[str]:
    """Plain data as Markdown: the protocol, single values, tables of groups, and headed sections of deeper groups."""
    sections = [_sentence(str(data["protocol"]))] if "protocol" in data else []
    single = [
        (_words(key), _cell_text(value))
        for key, value in data.items()
        if key != "protocol" and not isinstance(value, Mapping)
    ]
    if single:
        sections.append(_table(("what", "value"), single))
    groups = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    flat = {key: group for key, group in groups.items() if not any(isinstance(v, Mapping) for v in group.values())}
    sections += [_table(("", *map(_words, columns)), rows) for columns, rows in _alike(flat)]
    for key, group in groups.items():
        if key not in flat:
            sections += [f"{'#' * level} {_words(key)}", *_nested(group, level + 1)]
    return sections


def _alike(groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[list[str], list[tuple[str, ...]]]]:
    """Groups of single values as tables: the columns of each, and a row for each group with its name before the values.

    Groups that follow one another share a table where the keys of one are among those of the other.
    """
    tables: list[tuple[list[str], dict[str, Mapping[str, Any]]]] = []
    for name, group in groups.items():
        keys = list(group)
        if tables and (set(keys) <= set(tables[-1][0]) or set(tables[-1][0]) <= set(keys)):
            columns, members = tables.pop()
            tables.append((max(columns, keys, key=len), members | {name: group}))
        else:
            tables.append((keys, {name: group}))
    return [
        (
            columns,
            [(name, *(_cell_text(group.get(column, "")) for column in columns)) for name, group in members.items()],
        )
        for columns, members in tables
    ]


def _words(key: str) -> str:
    return str(key).replace("_", " ")


def _cell_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _sentence(text: str) -> str:
    """`text` with a capital letter and a full stop."""
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] + "." * (not text.endswith((".", "!", "?")))


def _table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a `|` within a cell is escaped."""
    columns = tuple(columns)
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
