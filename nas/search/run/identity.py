"""Whose a run's directory is: what the run was made with, and what differs."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from nas.differences import differences
from nas.errors import NasError
from nas.files import read_json, shown, write_json, write_text
from nas.latency.table import LatencyTable, Row
from nas.networks.operators import Unit
from nas.search.experiment import ADDED, CHANGEABLE, Experiment
from nas.search.run.directory import RunDirectory

FORMAT = 3


# A run of format 2 has one digest of all rows of a table, where now there is one for each thing that uses some.
_READABLE = (2, FORMAT)


def identity_of(
    experiment: Experiment,
    space: Mapping[str, Any],
    tables: Sequence[LatencyTable],
    units: Mapping[str, Iterable[Unit]],
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """What makes two runs the same: the experiment, and the contents of the space, the tables and the data set.

    `units` are those whose rows of a table count: the space's and each reference's, by name.
    """
    used = {name: sorted({unit.key for unit in of_one}) for name, of_one in units.items()}
    return {
        "format": FORMAT,
        "experiment": experiment.to_json(),
        "space": dict(space),
        "tables": {table.name: _contents(table, used) for table in tables},
        "data": dict(data),
    }


def _contents(table: LatencyTable, used: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    power = table.conditions.power
    return {
        "rows": {name: _digest((key, table.rows[key]) for key in keys) for name, keys in used.items()},
        "calibration": table.conditions.calibration.model_dump(mode="json"),
        "power_w": power.watts if power else None,
    }


def _digest(rows: Iterable[tuple[str, Row]]) -> str:
    text = repr([(key, row.latency_ms, row.source) for key, row in rows])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def begin(
    run: RunDirectory, experiment: Experiment, identity: Mapping[str, Any], tables: Sequence[LatencyTable]
) -> None:
    """Make the directory this run's, or recognise it as such.

    Raises NasError, naming what differs, when it belongs to another experiment.
    """
    name = _recognised(run, identity, tables) if run.exists() else uuid.uuid4().hex[:12]
    # Anew where it was there before, too: a table may cover references that it did not.
    write_json(run.identity, {"id": name, **identity})
    write_text(run.experiment, yaml.safe_dump(experiment.to_json(), sort_keys=False))


def _recognised(run: RunDirectory, identity: Mapping[str, Any], tables: Sequence[LatencyTable]) -> str:
    """The name of the run that is there. Raises NasError where it is not the one of `identity`."""
    before = read_identity(run)
    by_name = {
        table.name: _seen_as(before["tables"].get(table.name), identity["tables"][table.name], table)
        for table in tables
    }
    contents = ("space", "tables", "data")
    now = {**identity, "tables": by_name}
    changed = differences({**ADDED, **before["experiment"]}, {**ADDED, **now["experiment"]}, may_change=CHANGEABLE)
    changed += differences({key: before[key] for key in contents}, {key: now[key] for key in contents})
    if not changed:
        return str(before["id"])
    advice = "Repeat its own command to go on with it, or give this one its own directory with --run."
    if before["format"] != FORMAT and any(".rows was" in line for line in changed):
        advice += " (An earlier version began it: it goes on only while every row of its tables is as it was.)"
    raise NasError(f"{shown(run.path)} belongs to another experiment: {'; '.join(changed)}. {advice}")


def _seen_as(before: object, now: Mapping[str, Any], table: LatencyTable) -> Mapping[str, Any]:
    """The contents `now` of a table, with rows in the form that they have in `before`.

    Rows of references that the table did not cover then are left out: nothing that was recorded rests on them.
    """
    known = before.get("rows") if isinstance(before, dict) else None
    if isinstance(known, dict):
        return {**now, "rows": {name: digest for name, digest in now["rows"].items() if name in known}}
    return {**now, "rows": _digest(table.rows.items())}


def read_identity(run: RunDirectory) -> dict[str, Any]:
    """What the run was made with. Raises NasError for a run of another version of this program."""
    identity = read_json(run.identity)
    found = identity.get("format", "none") if isinstance(identity, dict) else "none"
    groups = ("experiment", "space", "tables", "data")
    whole = found in _READABLE and isinstance(identity.get("id"), str)
    if not whole or not all(isinstance(identity.get(group), dict) for group in groups):
        raise NasError(
            f"{shown(run.path)} was made by another version of this program (its format is {found}, this one's "
            f"{FORMAT}), or its {run.identity.name} is damaged. Give a new one with --run."
        )
    return dict(identity)
