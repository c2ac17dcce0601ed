"""What lies in a run's directory, and whose is it?

Everything that a run made is inside, and nothing elsewhere: experiment.yaml (the resolved experiment, which can be run
again), run.json (what it was made with), study.journal (the trials), references.json, repeats.json, checkpoints/
(weights of the front's members, and what unfinished trainings go on from) and the report. Deleting the directory
deletes the run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pickle
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nas.accuracy.evaluators.short_training import Score
from nas.errors import NasError, RunFailedError
from nas.files import shown
from nas.latency.table import LatencyTable, Row
from nas.networks.operators import Unit
from nas.search.experiment import Experiment, differences
from nas.search.result import CostedNetwork, SearchResult, Setting, Trial

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 3
# A run of format 2 has one digest of all rows of a table, where now there is one for each thing that uses some.
_READABLE = (2, FORMAT)
_WEIGHTS = "trial's weights"


@dataclass(frozen=True)
class RunDirectory:
    """The places inside a run's directory."""

    path: Path

    @property
    def experiment(self) -> Path:
        """The resolved experiment: `python -m nas.search RUN/experiment.yaml` is the same search."""
        return self.path / "experiment.yaml"

    @property
    def identity(self) -> Path:
        """What the run was made with, to recognise another one."""
        return self.path / "run.json"

    @property
    def journal(self) -> Path:
        """Optuna's journal of the trials, unless the experiment names another storage."""
        return self.path / "study.journal"

    @property
    def setting(self) -> Path:
        """The facts above the results, for the report."""
        return self.path / "setting.json"

    @property
    def references(self) -> Path:
        """The reference networks that have been trained."""
        return self.path / "references.json"

    @property
    def repeats(self) -> Path:
        """Scores of the front's members with other seeds."""
        return self.path / "repeats.json"

    @property
    def checkpoints(self) -> Path:
        """The weights of the front's members, and what unfinished trainings go on from."""
        return self.path / "checkpoints"

    @property
    def study_name(self) -> str:
        """The name of the run's study: its own even in a storage that many runs share."""
        return f"nas-{read_json(self.identity)['id']}"

    def checkpoint(self, number: int) -> Path:
        """The weights of a trial's proxy."""
        return self.checkpoints / f"trial_{number}.pt"

    def exists(self) -> bool:
        """Whether a run has begun here."""
        return self.identity.exists()


@contextmanager
def claimed(run: RunDirectory) -> Iterator[None]:
    """Hold the directory for this process.

    Raises NasError when it cannot be one of a run, or when another process has it; then nothing is left in it.
    """
    try:
        _check_place(run)
        run.path.mkdir(parents=True, exist_ok=True)
        lock = (run.path / "lock").open("a+")
    except OSError as error:
        if run.path.is_dir() and run.exists():
            raise RunFailedError(
                f"cannot write into {shown(run.path)}: {error.strerror}. "
                "Copy the run to where you may write, and give the copy."
            ) from error
        raise NasError(f"{shown(run.path)} cannot be the directory of a run: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise NasError(f"{shown(run.path)} is in use by another command. Wait, or give another --run.") from error
        yield


def _check_place(run: RunDirectory) -> None:
    """Raise NasError for a place that holds something else than a run."""
    if run.exists() or not run.path.is_dir():
        return
    ours = {"lock", run.experiment.name, run.identity.name + ".part", run.experiment.name + ".part"}
    foreign = sorted(path.name for path in run.path.iterdir() if path.name not in ours)
    if foreign:
        raise NasError(
            f"{shown(run.path)} is not a run of this program and is not empty (it holds {', '.join(foreign[:3])}). "
            "Give an empty or new directory with --run."
        )


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
        "experiment": experiment.model_dump(mode="json"),
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
    write_text(run.experiment, yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))


def _recognised(run: RunDirectory, identity: Mapping[str, Any], tables: Sequence[LatencyTable]) -> str:
    """The name of the run that is there. Raises NasError where it is not the one of `identity`."""
    before = _identity(run)
    by_name = {
        table.name: _seen_as(before["tables"].get(table.name), identity["tables"][table.name], table)
        for table in tables
    }
    contents = ("space", "tables", "data")
    now = {**identity, "tables": by_name}
    changed = differences(before["experiment"], now["experiment"])
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


def _identity(run: RunDirectory) -> dict[str, Any]:
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


def save_weights(run: RunDirectory, number: int, weights: Mapping[str, Tensor]) -> None:
    """Keep the weights of a trial's proxy. Raises RunFailedError where they cannot be written."""
    from nas.accuracy.training.sealed_file import write_sealed

    write_sealed(run.checkpoint(number), _WEIGHTS, weights)


def load_weights(run: RunDirectory, number: int) -> Mapping[str, Tensor] | None:
    """The weights of a trial's proxy, or None where they were not kept, cannot be read or are damaged."""
    from torch import Tensor

    from nas.accuracy.training.sealed_file import DamagedFileError, read_sealed

    path = run.checkpoint(number)
    try:
        weights = _unsealed(path) if _is_zip(path) else read_sealed(path, _WEIGHTS)
    except (OSError, DamagedFileError):
        return None
    whole = isinstance(weights, dict) and all(isinstance(weight, Tensor) for weight in weights.values())
    return weights if whole else None


def _is_zip(path: Path) -> bool:
    """Whether it is a file as torch writes it: runs of format 2 kept their weights so."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _unsealed(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        return None


def keep_weights_of(run: RunDirectory, front: tuple[Trial, ...]) -> None:
    """Delete the weights of trials that are not on the front: dozens of networks would fill a disk."""
    kept = {run.checkpoint(trial.number) for trial in front}
    for path in run.checkpoints.glob("trial_*.pt"):
        if path not in kept:
            with suppress(OSError):  # What cannot be deleted takes room, and does no other harm.
                path.unlink()


def save_references(run: RunDirectory, references: list[CostedNetwork]) -> None:
    """Keep the reference networks that have been trained."""
    write_json(run.references, [network.to_json() for network in references])


def load_references(run: RunDirectory) -> list[CostedNetwork]:
    """The reference networks that have been trained so far."""
    if not run.references.exists():
        return []
    found = read_json(run.references)
    with _shape_of(run.references):
        return [CostedNetwork.from_json(data) for data in found]


def save_repeats(run: RunDirectory, repeats: Mapping[str, Sequence[Score]]) -> None:
    """Keep the scores of networks that were trained again, by their fingerprints."""
    write_json(run.repeats, {network: [score.to_json() for score in scores] for network, scores in repeats.items()})


def load_repeats(run: RunDirectory) -> dict[str, tuple[Score, ...]]:
    """The scores of networks that were trained again so far."""
    if not run.repeats.exists():
        return {}
    found = read_json(run.repeats)
    with _shape_of(run.repeats):
        return {network: tuple(map(Score.from_json, scores)) for network, scores in found.items()}


def save_setting(run: RunDirectory, setting: Setting) -> None:
    """Keep the facts that stand above the results."""
    write_json(run.setting, setting.to_json())


def load_result(path: Path) -> SearchResult:
    """A run as far as it has got, from its directory, which stays as it is. Raises NasError where there is none."""
    from nas.search.run.storage import read_study

    run = RunDirectory(path)
    if not run.exists() or not run.setting.exists():
        raise NasError(f"{shown(path)} is not the directory of a run. One is made by python -m nas.search.")
    _identity(run)
    found = read_json(run.setting)
    with _shape_of(run.setting):
        setting = Setting.from_json(found)
        storage = setting.experiment["storage"]
    references, repeats = tuple(load_references(run)), load_repeats(run)
    return SearchResult(setting, read_study(run, storage, setting.objectives).trials(), references, repeats)


@contextmanager
def _shape_of(path: Path) -> Iterator[None]:
    """What turning the contents of `path` into our values raises becomes one line."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, NasError) as error:
        raise NasError(
            f"{shown(path)} must hold what this program wrote, but has another shape "
            f"({type(error).__name__}: {error}). Restore it, or start anew with --run."
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the system has against writing `path` becomes a RunFailedError."""
    try:
        yield
    except OSError as error:
        raise RunFailedError(
            f"cannot write {shown(path)}: {error.strerror or error}. The same command goes on once it can be written."
        ) from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all. Raises RunFailedError where it cannot be written."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all. Raises RunFailedError where it cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all. Raises RunFailedError where it cannot be written."""
    part = path.with_name(path.name + ".part")
    with writing(path):
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise


def read_json(path: Path) -> Any:
    """Read JSON. Raises NasError for a file that is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NasError(f"{shown(path)} cannot be read: {error}. Restore it, or start anew with --run.") from error
