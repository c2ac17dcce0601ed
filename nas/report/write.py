"""Write the whole report of a search: trials.csv, pareto.json, pareto.png, picks/ and report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nas.deploy.export.picks import FOLDER, WeightsOf, write_picks
from nas.files import writing
from nas.report.files import TRIALS, save_pareto, write_trials
from nas.report.page import save_page
from nas.report.picture import save_picture
from nas.search.results.result import SearchResult
from nas.search.trial import Trial


def no_weights(_trial: Trial) -> Mapping[str, Tensor] | None:
    """The default of `write_report`: no trial has trained weights."""
    return None


def write_report(result: SearchResult, folder: Path, *, weights: WeightsOf = no_weights) -> list[Path]:
    """Write trials.csv, pareto.json, pareto.png, picks/ and report.html into `folder`; returns their paths.

    `weights` gives the weights of a trial's trained proxy, or None where they were not kept. Each file is written whole
    or not at all, report.html last. Raises RunFailedError for a file that cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_trials(folder / TRIALS, result.trials, result.setting.further, result.setting.learned)
    save_pareto(folder / "pareto.json", result)
    save_picture(folder / "pareto.png", result)
    picks = write_picks(result, folder / FOLDER, weights)
    save_page(folder / "report.html", result, picks)
    files = [folder / name for name in ("report.html", "pareto.png", "pareto.json", TRIALS)]
    for exported in picks:
        files.append(folder / FOLDER / f"{exported.pick.slug}.json")
        files += [folder / FOLDER / exported.export.file] if exported.export else []
    return files
