"""Where are trials kept, so that a killed search loses none?

The sampler works on an Optuna study in memory, and each trial is written to the persistent storage once, whole, when it
has ended. So suggesting fifty parameters costs no disk access (one by one they cost 0.15 s a trial in a journal file),
a killed process leaves no trial RUNNING for ever, and Optuna's own tools can read the storage all the same.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NasError
from nas.files import shown
from nas.search.result import Trial

if TYPE_CHECKING:
    from nas.search.run_directory import RunDirectory

STUDY_NAME = "nas"
OBJECTIVES = ("top1", "latency_ms")
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
RECORD = "record"


class Study:
    """An Optuna study in memory, and the storage that every ended trial goes to."""

    def __init__(self, kept: optuna.Study, place: str) -> None:
        self._kept = kept
        self._place = place
        self.optuna = optuna.create_study(storage=InMemoryStorage(), study_name=STUDY_NAME, directions=DIRECTIONS)
        self._trials: list[Trial] = []
        for frozen in kept.get_trials(deepcopy=False):
            if frozen.state.is_finished():
                self._trials.append(self._record(frozen))
                self.optuna.add_trial(frozen)

    def trials(self) -> tuple[Trial, ...]:
        """Every trial that has ended, in order."""
        return tuple(self._trials)

    @property
    def count(self) -> int:
        """The number of trials that have ended, and the number of the next one."""
        return len(self._trials)

    def trials_from(self, number: int) -> list[Trial]:
        """The trials that have ended, from `number` on."""
        return self._trials[number:]

    def tell(self, ended: optuna.Trial, trial: Trial) -> None:
        """End an Optuna trial as `trial` says, in memory and in the storage."""
        ended.set_user_attr("status", trial.status)
        ended.set_user_attr("reason", trial.reason)
        ended.set_user_attr(RECORD, trial.to_json())
        if trial.status == "complete":
            values = [trial.network.top1, trial.network.latency.latency_ms]
            frozen = self.optuna.tell(ended, values)
        else:
            state = TrialState.FAIL if trial.status == "failed" else TrialState.PRUNED
            frozen = self.optuna.tell(ended, state=state)
        self._kept.add_trial(frozen)
        self._trials.append(trial)

    def _record(self, frozen: FrozenTrial) -> Trial:
        record = frozen.user_attrs.get(RECORD)
        if record is None:
            raise NasError(
                f"trial {frozen.number} in {self._place} was not written by this program. Give the search a storage "
                "of its own."
            )
        return Trial.from_json(record)


def open_study(run: RunDirectory, url: str | None) -> Study:
    """The run's study: in its journal file, or in the Optuna storage at `url`.

    Raises NasError for a journal that is damaged, and for a storage that cannot be opened or holds another study.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = url or shown(run.journal)
    storage = _open_url(url) if url else _open_journal(run.journal)
    name = STUDY_NAME if url is None else f"{STUDY_NAME}-{run.path.name}"
    try:
        kept = optuna.create_study(storage=storage, study_name=name, directions=DIRECTIONS, load_if_exists=True)
    except (KeyError, TypeError, AttributeError) as error:
        raise NasError(f"{place} is not a journal of this program ({type(error).__name__}: {error}).") from error
    if tuple(kept.directions) != DIRECTIONS:
        raise NasError(f"the study {name} in {place} has other objectives. Give the search a storage of its own.")
    if not kept.metric_names:
        with warnings.catch_warnings():
            # "Experimental" since Optuna 3.2; the names are for Optuna Dashboard alone.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            kept.set_metric_names(list(OBJECTIVES))
    return Study(kept, place)


def _open_url(url: str) -> BaseStorage:
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # Each database's driver raises errors of its own.
        raise NasError(f"cannot open the storage {url!r}: {type(error).__name__}: {error}") from error


def _open_journal(path: Path) -> BaseStorage:
    _check_journal(path)
    # A process killed while it wrote leaves Optuna's lock behind; the run's own lock says that nobody writes now.
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def _check_journal(path: Path) -> None:
    """Refuse a journal with a line that is not whole: Optuna would write on behind it and lose both."""
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)
        if (last and line) or (not last and not _is_record(line)):
            whole = number - 1
            raise NasError(
                f"{shown(path)} is damaged: line {number} is {'cut off' if last else 'not a record'} "
                f"(the {whole} lines before it are whole). Nothing was changed. To go on from those, keep a copy and "
                f"then run: head -n {whole} {shown(path)} > {shown(path)}.whole && mv {shown(path)}.whole {shown(path)}"
            )


def _is_record(line: bytes) -> bool:
    try:
        record: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record
