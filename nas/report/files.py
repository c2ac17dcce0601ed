"""Write a search's files for programs and spreadsheets: trials.csv and pareto.json.

trials.csv has one row a trial and grows while the search runs. pareto.json holds the whole front and reads back equal.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from nas.accuracy.score import TOP1
from nas.errors import NasError
from nas.files import read_json, shown, write_json, write_text, writing
from nas.report.passwords import without_passwords
from nas.search.costing import CostedNetwork
from nas.search.listener import SilentSearch
from nas.search.results.frames import trial_columns, trial_values
from nas.search.results.noise import Certainty
from nas.search.results.result import SearchResult, Setting
from nas.search.trial import Trial

TRIALS = "trials.csv"


@dataclass(frozen=True)
class ParetoFront:
    """The content of pareto.json. `hypervolume` is the part, 0 to 1, of the reference box that the front dominates.

    `certainties` holds, by trial number, the mean, interval and probability of members that were trained again.
    """

    setting: Setting
    front: tuple[Trial, ...]
    references: tuple[CostedNetwork, ...]
    hypervolume: float
    certainties: Mapping[int, Certainty] = field(default_factory=dict)

    @classmethod
    def of(cls, result: SearchResult) -> ParetoFront:
        """The front of a search, without the password of its storage."""
        alone = SearchResult(result.setting, result.front)
        volumes = alone.hypervolumes()
        return cls(
            setting=without_passwords(result.setting),
            front=result.front,
            references=result.references,
            hypervolume=volumes[-1] if volumes else 0.0,
            certainties=result.certainties,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "setting": self.setting.to_json(),
            "hypervolume": self.hypervolume,
            "front": [trial.to_json() for trial in self.front],
            "references": [network.to_json() for network in self.references],
            "certainties": {str(number): asdict(certainty) for number, certainty in self.certainties.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ParetoFront:
        """The inverse of `to_json`."""
        return cls(
            setting=Setting.from_json(data["setting"]),
            front=tuple(Trial.from_json(trial) for trial in data["front"]),
            references=tuple(CostedNetwork.from_json(network) for network in data["references"]),
            hypervolume=data["hypervolume"],
            certainties={int(number): Certainty(**entry) for number, entry in data.get("certainties", {}).items()},
        )


def save_pareto(path: Path, result: SearchResult) -> None:
    """Write the front of `result`, whole or not at all."""
    write_json(path, ParetoFront.of(result).to_json())


def load_pareto(path: Path) -> ParetoFront:
    """The front that `save_pareto` wrote. Raises NasError for a file that is damaged or something else."""
    data = read_json(path)
    try:
        return ParetoFront.from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise NasError(f"{shown(path)} is not a front: {type(error).__name__}: {error}") from error


def write_trials(path: Path, trials: Iterable[Trial], further: Sequence[str] = (), learned: str = TOP1) -> None:
    """Write trials.csv, whole or not at all.

    `further` names the values that have columns besides the usual, `learned` the metric of the scores.
    """
    write_text(path, _lines([trial_columns(further, learned), *(_row(trial, further, learned) for trial in trials)]))


def append_trial(path: Path, trial: Trial, further: Sequence[str] = (), learned: str = TOP1) -> None:
    """Add one row to trials.csv; appending all trials one by one gives the file that `write_trials` writes.

    A last row that a killed process left incomplete is removed first. Raises NasError for a file with other columns,
    RunFailedError for one that cannot be written.
    """
    with writing(path), path.open("a+b") as file:
        _cut_torn_row(file)
        file.seek(0)
        header = _lines([trial_columns(further, learned)]).encode()
        first = file.readline()
        if first not in (b"", header):
            raise NasError(
                f"the first line of {shown(path)} must be {header.decode().strip()}, "
                f"but is {first.decode(errors='replace').strip()}. Move the file away; it is made again from the run."
            )
        # One write, so that another process never reads half a row.
        file.write((b"" if first else header) + _lines([_row(trial, further, learned)]).encode())


class TrialsFile(SilentSearch):
    """A listener that keeps trials.csv in a run's directory: a row for each trial, as they end."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self._path = folder / TRIALS
        self._further = setting.further
        self._learned = setting.learned

    def begins(self, trials: Sequence[Trial]) -> None:
        """Write the file anew, with what was there before."""
        write_trials(self._path, trials, self._further, self._learned)

    def ended(self, trial: Trial, done: int, front: Sequence[Trial]) -> None:  # noqa: ARG002
        """Add a row."""
        append_trial(self._path, trial, self._further, self._learned)


def _cut_torn_row(file: BinaryIO) -> None:
    """Cut `file` after its last whole row, which is where its last line break is: rows hold none inside."""
    end = file.seek(0, os.SEEK_END)
    start = end
    tail = b""
    while start and b"\n" not in tail:
        start = max(0, start - 65536)
        file.seek(start)
        tail = file.read(end - start)
    whole = start + tail.rfind(b"\n") + 1
    if whole < end:
        file.truncate(whole)


def _row(trial: Trial, further: Sequence[str], learned: str) -> tuple[str, ...]:
    values = trial_values(trial, further, learned)
    return tuple(_cell(values[column]) for column in trial_columns(further, learned))


def _cell(value: Any) -> str:
    """A value with six significant digits, a whole number as it is, and nothing as an empty cell."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _lines(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
