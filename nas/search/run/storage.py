"""Where are trials kept, so that a killed search loses none?

The sampler works on an Optuna study in memory, and each trial is written to the persistent storage once, whole, when it
has ended. So suggesting fifty parameters costs no disk access (one by one they cost 0.15 s a trial in a journal file),
a killed process leaves no trial RUNNING for ever, and Optuna's own tools can read the storage all the same.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NasError
from nas.files import shown
from nas.search.quantities import quantity_of
from nas.search.trial import Trial

if TYPE_CHECKING:
    from nas.search.run.directory import RunDirectory

RECORD = "record"
PARTIAL = "partial"
_METRIC_NAMES = "study:metric_names"  # ours, for Optuna Dashboard; not the sampler's


class Study:
    """An Optuna study in memory, and the storage that every ended trial goes to."""

    def __init__(self, kept: optuna.Study, storage: BaseStorage, place: str, objectives: Sequence[str]) -> None:
        self._kept = kept
        self._storage = storage
        self._place = place
        self._objectives = tuple(objectives)
        self._memory = InMemoryStorage()
        self.optuna = optuna.create_study(storage=self._memory, directions=directions(objectives))
        self._sampler_state = self._state_in(storage, kept)
        for key, value in self._sampler_state.items():
            self._memory.set_study_system_attr(self._id_in(self._memory, self.optuna), key, value)
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

    def newest_first(self) -> Iterator[Trial]:
        """The trials that have ended, from the last to the first."""
        return reversed(self._trials)

    def trials_from(self, number: int) -> list[Trial]:
        """The trials that have ended, from `number` on."""
        return self._trials[number:]

    def tell(self, ended: optuna.Trial, trial: Trial) -> None:
        """End an Optuna trial as `trial` says, in memory and in the storage."""
        ended.set_user_attr("status", trial.status)
        ended.set_user_attr("reason", trial.reason)
        ended.set_user_attr(RECORD, trial.to_json())
        score = trial.network.score
        if trial.status == "stopped" and score is not None:
            # For samplers: top-1 so far, and the part of the whole training that it was earned with.
            ended.set_user_attr(PARTIAL, {"value": score.top1, "budget": score.budget_share})
        if trial.status == "complete":
            values = [trial.network.value(name) for name in self._objectives]
            frozen = self.optuna.tell(ended, values)
        else:
            state = TrialState.FAIL if trial.status == "failed" else TrialState.PRUNED
            frozen = self.optuna.tell(ended, state=state)
        with _explained(self._place):
            self._save_sampler_state()
            self._kept.add_trial(frozen)
        self._trials.append(trial)

    def _save_sampler_state(self) -> None:
        """Keep what the sampler has noted about the study (NSGA-II: each generation's parents, in order)."""
        state = self._state_in(self._memory, self.optuna)
        for key, value in state.items():
            if self._sampler_state.get(key) != value:
                self._storage.set_study_system_attr(self._id_in(self._storage, self._kept), key, value)
        self._sampler_state = state

    def _state_in(self, storage: BaseStorage, study: optuna.Study) -> dict[str, Any]:
        attributes = storage.get_study_system_attrs(self._id_in(storage, study))
        return {key: value for key, value in attributes.items() if key != _METRIC_NAMES}

    @staticmethod
    def _id_in(storage: BaseStorage, study: optuna.Study) -> int:
        return storage.get_study_id_from_name(study.study_name)

    def _record(self, frozen: FrozenTrial) -> Trial:
        record = frozen.user_attrs.get(RECORD)
        if record is None:
            raise NasError(
                f"trial {frozen.number} in {self._place} was not written by this program. Give the search a storage "
                "of its own."
            )
        try:
            return Trial.from_json(record)
        except (AttributeError, KeyError, TypeError, ValueError, NasError) as error:
            raise NasError(
                f"trial {frozen.number} in {self._place} must be a record that this program wrote, but has another "
                f"shape ({type(error).__name__}: {error}). Restore it, or start anew with --run."
            ) from error


def directions(objectives: Sequence[str]) -> list[StudyDirection]:
    """Which way is better, for each objective."""
    return [
        StudyDirection.MAXIMIZE if quantity_of(name).larger_is_better else StudyDirection.MINIMIZE
        for name in objectives
    ]


def open_study(run: RunDirectory, url: str | None, objectives: Sequence[str]) -> Study:
    """The run's study, to go on with: in its journal file, or in the Optuna storage at `url`.

    The caller holds the run's directory. Raises NasError for a journal that is damaged, for trials that are gone, and
    for a storage that cannot be opened.
    """
    if url is None:
        with _explained(shown(run.journal)):
            _check_journal(run)
            # A process killed while it wrote leaves Optuna's lock behind; the run's own lock says that nobody writes.
            run.journal.with_name(run.journal.name + ".lock").unlink(missing_ok=True)
    if run.setting.exists():  # written once the study is there
        return _there(run, url, objectives)
    place = url or shown(run.journal)
    with _explained(place):
        storage = _storage(run, url)
        kept = optuna.create_study(
            storage=storage, study_name=run.study_name, directions=directions(objectives), load_if_exists=True
        )
        with warnings.catch_warnings():
            # "Experimental" since Optuna 3.2; the names are for Optuna Dashboard alone.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            kept.set_metric_names(list(objectives))
        return Study(kept, storage, place, objectives)


def read_study(run: RunDirectory, url: str | None, objectives: Sequence[str]) -> Study:
    """The run's study as it stands; nothing is written. Raises NasError where there is none."""
    if url is None:
        with _explained(shown(run.journal)):
            _check_journal(run)
    return _there(run, url, objectives)


def _there(run: RunDirectory, url: str | None, objectives: Sequence[str]) -> Study:
    """The study of a run that has begun."""
    place = url or shown(run.journal)
    file = run.journal if url is None else _sqlite_file(url)
    if file is not None and not file.exists():
        raise NasError(_gone(run, f"there is no {shown(file)}"))
    with _explained(place):
        storage = _storage(run, url)
        try:
            kept = optuna.load_study(study_name=run.study_name, storage=storage)
        except KeyError as error:
            raise NasError(_gone(run, f"there is no study {run.study_name} in {place}")) from error
        return Study(kept, storage, place, objectives)


def _gone(run: RunDirectory, why: str) -> str:
    return f"the trials of {shown(run.path)} are gone: {why}. Restore it, or start anew with --run."


def check_storage(url: str | None) -> None:
    """Raise NasError for a storage that cannot be opened."""
    if url is not None:
        with _explained(url):
            optuna.storages.get_storage(url)


def _storage(run: RunDirectory, url: str | None) -> BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        return JournalStorage(JournalFileBackend(str(run.journal)))
    return optuna.storages.get_storage(url)


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Whatever a storage's driver raises becomes one line."""
    try:
        yield
    except NasError:
        raise
    except Exception as error:  # Each database's driver raises errors of its own.
        first = (str(error).splitlines() or [""])[0]
        raise NasError(f"cannot use the storage {place}: {type(error).__name__}: {first}") from error


def _sqlite_file(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _check_journal(run: RunDirectory) -> None:
    """Refuse a journal that is gone, or has a line that is not whole: Optuna would write on behind it and lose both."""
    path = run.journal
    if not path.exists() or not path.stat().st_size:
        if run.setting.exists():
            raise NasError(_gone(run, f"{shown(path)} is missing or empty"))
        return
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        last = number == len(lines)
        if (last and line) or (not last and not _is_record(line)):
            whole, old, new = number - 1, shlex.quote(str(path)), shlex.quote(f"{path}.whole")
            remedy = (
                f"(the {whole} lines before it are whole). Nothing was changed. To go on from those, keep a copy and "
                f"then run: head -n {whole} {old} > {new} && mv {new} {old}"
                if whole
                else "and none before it is whole. Restore it, or start anew with --run."
            )
            raise NasError(
                f"{shown(path)} is damaged: line {number} is {'cut off' if last else 'not a record'} {remedy}"
            )


def _is_record(line: bytes) -> bool:
    try:
        record: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record
