"""Read a run from its directory, which stays as it is."""

from __future__ import annotations

from pathlib import Path

from nas.errors import NasError
from nas.files import read_json, shown
from nas.search.results.result import SearchResult, Setting
from nas.search.run.directory import RunDirectory
from nas.search.run.identity import read_identity
from nas.search.run.kept import load_references, load_repeats, shape_of


def load_result(path: Path) -> SearchResult:
    """A run as far as it has got, from its directory, which stays as it is. Raises NasError where there is none."""
    from nas.search.run.storage import read_study

    run = RunDirectory(path)
    if not run.exists() or not run.setting.exists():
        raise NasError(f"{shown(path)} is not the directory of a run. One is made by python -m nas.search.")
    read_identity(run)
    found = read_json(run.setting)
    with shape_of(run.setting):
        setting = Setting.from_json(found)
        storage = setting.experiment["storage"]
    references, repeats = tuple(load_references(run)), load_repeats(run)
    return SearchResult(setting, read_study(run, storage, setting.objectives).trials(), references, repeats)
