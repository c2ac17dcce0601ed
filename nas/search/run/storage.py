"""Open the storage of a run's trials: the run's own journal, or an Optuna storage at a URL.

A study is opened to go on with (`open_study`) or to read (`read_study`). A journal that is damaged is refused, as
Optuna would write on behind the damage and lose both.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas.errors import NasError
from nas.files import shown
from nas.search.run.study import Study, directions, explained

if TYPE_CHECKING:
    from nas.search.run.directory import RunDirectory


def open_study(run: RunDirectory, url: str | None, objectives: Sequence[str], slots: int = 1) -> Study:
    """The run's study, to go on with: in its journal file, or in the Optuna storage at `url`.

    The caller holds the run's directory; up to `slots` trials are in flight. Raises NasError for a journal that is
    damaged, for trials that are gone, and for a storage that cannot be opened.
    """
    if url is None:
        with explained(shown(run.journal)):
            _check_journal(run)
            # A process killed while it wrote leaves Optuna's lock behind; the run's own lock says that nobody writes.
            run.journal.with_name(run.journal.name + ".lock").unlink(missing_ok=True)
    if run.setting.exists():  # written once the study is there
        return _there(run, url, objectives, slots)
    place = url or shown(run.journal)
    with explained(place):
        storage = _storage(run, url)
        kept = optuna.create_study(
            storage=storage, study_name=run.study_name, directions=directions(objectives), load_if_exists=True
        )
        with warnings.catch_warnings():
            # "Experimental" since Optuna 3.2; the names are for Optuna Dashboard alone.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            kept.set_metric_names(list(objectives))
        return Study(kept, storage, place, objectives, slots)


def read_study(run: RunDirectory, url: str | None, objectives: Sequence[str]) -> Study:
    """The run's study as it stands; nothing is written. Raises NasError where there is none."""
    if url is None:
        with explained(shown(run.journal)):
            _check_journal(run)
    return _there(run, url, objectives)


def _there(run: RunDirectory, url: str | None, objectives: Sequence[str], slots: int = 1) -> Study:
    """The study of a run that has begun."""
    place = url or shown(run.journal)
    file = run.journal if url is None else _sqlite_file(url)
    if file is not None and not file.exists():
        raise NasError(_gone(run, f"there is no {shown(file)}"))
    with explained(place):
        storage = _storage(run, url)
        try:
            kept = optuna.load_study(study_name=run.study_name, storage=storage)
        except KeyError as error:
            raise NasError(_gone(run, f"there is no study {run.study_name} in {place}")) from error
        return Study(kept, storage, place, objectives, slots)


def _gone(run: RunDirectory, why: str) -> str:
    return f"the trials of {shown(run.path)} are gone: {why}. Restore it, or start anew with --run."


def check_storage(url: str | None) -> None:
    """Raise NasError for a storage that cannot be opened."""
    if url is not None:
        with explained(url):
            optuna.storages.get_storage(url)


def _storage(run: RunDirectory, url: str | None) -> BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        return JournalStorage(JournalFileBackend(str(run.journal)))
    return optuna.storages.get_storage(url)


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
