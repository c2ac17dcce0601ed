"""The places inside a run's directory, and holding it for one process.

Everything that a run made is inside, and nothing elsewhere: experiment.yaml (the resolved experiment, which can be run
again), run.json (what it was made with), study.journal (the trials), references.json, repeats.json, checkpoints/
(weights of the front's members, and what unfinished trainings go on from) and the report. Deleting the directory
deletes the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from nas.errors import NasError, RunFailedError
from nas.files import read_json, shown


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
    def evaluator(self) -> Path:
        """The folder of what all scores rest on, where the evaluator makes something in advance."""
        return self.path / "evaluator"

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
    """Hold the directory for this process, which gives it back at the end of the block or when it is killed.

    The file of the lock stays. Raises NasError at once where the directory cannot be one of a run, and where another
    process has it; then nothing is left in it. Raises RunFailedError where a run's directory cannot be written to.
    """
    lock = FileLock(run.path / "lock", blocking=False)
    try:
        _check_place(run)
        run.path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:  # an OSError, too
        raise NasError(f"{shown(run.path)} is in use by another command. Wait, or give another --run.") from error
    except OSError as error:
        if run.path.is_dir() and run.exists():
            raise RunFailedError(
                f"cannot write into {shown(run.path)}: {error.strerror}. "
                "Copy the run to where you may write, and give the copy."
            ) from error
        raise NasError(f"{shown(run.path)} cannot be the directory of a run: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()


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
