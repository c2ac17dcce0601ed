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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nas.accuracy.evaluate import Score
from nas.errors import NasError
from nas.files import shown
from nas.latency.table import LatencyTable
from nas.search.experiment import Experiment, differences
from nas.search.result import CostedNetwork, SearchResult, Setting, Trial

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 2


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
    _check_place(run)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock = (run.path / "lock").open("a+")
    except OSError as error:
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
    experiment: Experiment, space: Mapping[str, Any], tables: Sequence[LatencyTable], data: Mapping[str, Any]
) -> dict[str, Any]:
    """What makes two runs the same: the experiment, and the contents of the space, the tables and the data set."""
    return {
        "format": FORMAT,
        "experiment": experiment.model_dump(mode="json"),
        "space": dict(space),
        "tables": {table.name: _contents(table) for table in tables},
        "data": dict(data),
    }


def _contents(table: LatencyTable) -> dict[str, Any]:
    rows = repr([(key, row.latency_ms, row.source) for key, row in table.rows.items()])
    power = table.conditions.power
    return {
        "rows": hashlib.sha256(rows.encode()).hexdigest()[:16],
        "calibration": table.conditions.calibration.model_dump(mode="json"),
        "power_w": power.watts if power else None,
    }


def begin(run: RunDirectory, experiment: Experiment, identity: Mapping[str, Any]) -> None:
    """Make the directory this run's, or recognise it as such.

    Raises NasError, naming what differs, when it belongs to another experiment.
    """
    if run.exists():
        _recognise(run, identity)
    else:
        write_json(run.identity, {"id": uuid.uuid4().hex[:12], **identity})
    write_text(run.experiment, yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))


def _recognise(run: RunDirectory, identity: Mapping[str, Any]) -> None:
    before = _identity(run)
    changed = differences(before["experiment"], identity["experiment"])
    contents = ("space", "tables", "data")
    changed += differences({key: before.get(key) for key in contents}, {key: identity[key] for key in contents})
    if changed:
        raise NasError(
            f"{shown(run.path)} belongs to another experiment: {'; '.join(changed)}. "
            "Repeat its own command to go on with it, or give this one its own directory with --run."
        )


def _identity(run: RunDirectory) -> dict[str, Any]:
    """What the run was made with. Raises NasError for a run of another version of this program."""
    identity = read_json(run.identity)
    if not isinstance(identity, dict) or identity.get("format") != FORMAT or "experiment" not in identity:
        found = identity.get("format", "none") if isinstance(identity, dict) else "none"
        raise NasError(
            f"{shown(run.path)} was made by another version of this program (its format is {found}, this one's "
            f"{FORMAT}), or its {run.identity.name} is damaged. Give a new one with --run."
        )
    return identity


def save_weights(run: RunDirectory, number: int, weights: Mapping[str, Tensor]) -> None:
    """Keep the weights of a trial's proxy."""
    import torch

    path = run.checkpoint(number)
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            torch.save(dict(weights), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer says "unexpected pos" where the disk is full
        part.unlink(missing_ok=True)
        raise NasError(f"cannot write {shown(path)}: is the disk full? ({str(error).splitlines()[0]})") from error


def load_weights(run: RunDirectory, number: int) -> Mapping[str, Tensor] | None:
    """The weights of a trial's proxy, or None where they were not kept or cannot be read."""
    import torch

    try:
        weights: Mapping[str, Tensor] = torch.load(run.checkpoint(number), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return weights


def keep_weights_of(run: RunDirectory, front: tuple[Trial, ...]) -> None:
    """Delete the weights of trials that are not on the front: dozens of networks would fill a disk."""
    kept = {run.checkpoint(trial.number) for trial in front}
    for path in run.checkpoints.glob("trial_*.pt"):
        if path not in kept:
            path.unlink(missing_ok=True)


def save_references(run: RunDirectory, references: list[CostedNetwork]) -> None:
    """Keep the reference networks that have been trained."""
    write_json(run.references, [network.to_json() for network in references])


def load_references(run: RunDirectory) -> list[CostedNetwork]:
    """The reference networks that have been trained so far."""
    if not run.references.exists():
        return []
    return [CostedNetwork.from_json(data) for data in read_json(run.references)]


def save_repeats(run: RunDirectory, repeats: Mapping[str, Sequence[Score]]) -> None:
    """Keep the scores of networks that were trained again, by their fingerprints."""
    write_json(run.repeats, {network: [score.to_json() for score in scores] for network, scores in repeats.items()})


def load_repeats(run: RunDirectory) -> dict[str, tuple[Score, ...]]:
    """The scores of networks that were trained again so far."""
    if not run.repeats.exists():
        return {}
    return {network: tuple(map(Score.from_json, scores)) for network, scores in read_json(run.repeats).items()}


def save_setting(run: RunDirectory, setting: Setting) -> None:
    """Keep the facts that stand above the results."""
    write_json(run.setting, setting.to_json())


def load_result(path: Path) -> SearchResult:
    """A run as far as it has got, from its directory, which stays as it is. Raises NasError where there is none."""
    from nas.search.storage import read_study

    run = RunDirectory(path)
    if not run.exists() or not run.setting.exists():
        raise NasError(f"{shown(path)} is not the directory of a run. One is made by python -m nas.search.")
    _identity(run)
    try:
        setting = Setting.from_json(read_json(run.setting))
        references, repeats = tuple(load_references(run)), load_repeats(run)
        storage = setting.experiment["storage"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NasError(f"{shown(path)} holds files of another shape ({type(error).__name__}: {error}).") from error
    return SearchResult(setting, read_study(run, storage, setting.objectives).trials(), references, repeats)


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON. Raises NasError for a file that is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NasError(f"{shown(path)} cannot be read: {error}. Restore it, or start anew with --run.") from error
