"""The Python API: what a notebook or a program imports, all of it as `nas.NAME`.

    import nas

    space, table = nas.load_space("mbv3"), nas.load_table("pixel_lut")
    nas.cost(nas.reference("mobilenet_v3_large"), table).latency.latency_ms
    run = nas.search(space, table, data="digits", trials=24, run="runs/first")
    run.front                                       # a pandas frame, fastest first
    pick = run.best_within(latency_ms=40)
    trained = nas.finish(pick, "digits", recipe="plain", resolution=16, max_stride=16, epochs=15)
    nas.export(trained, "exported", formats=["onnx"])

The commands are made of the same functions and write the same files, so that either goes on with a run that the other
began. What is wrong raises `NasError`, whose text says what to do. torch, Optuna and the rest are loaded when they are
first needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.console import WorkProgress
from nas.errors import NasError, RunFailedError, unknown_name
from nas.files import DataFolder, find_file, shown
from nas.latency.table import LatencyTable, load_table, read_table
from nas.networks.architecture import Architecture
from nas.networks.references import find_network, reference
from nas.networks.space.search_space import SearchSpace, load_space, read_space
from nas.search.costing import CostedNetwork
from nas.search.costing import cost as costed
from nas.search.experiment import default_run_path, resolve_experiment
from nas.search.quantities import loss_of
from nas.search.results.frames import front_frame, networks_frame, trials_frame
from nas.search.results.result import Ending, Outcome, SearchResult
from nas.search.run.directory import RunDirectory, claimed
from nas.search.run.load import load_result
from nas.search.trial import Trial

if TYPE_CHECKING:
    from pandas import DataFrame

    from nas.deploy.find import FoundNetwork
    from nas.deploy.finish.finish import Finished
    from nas.search.listener import SearchListener
    from nas.search.prepare import Prepared

__all__ = [
    "ChosenNetwork",
    "FinishedNetwork",
    "Run",
    "cost",
    "export",
    "finish",
    "load_run",
    "load_space",
    "load_table",
    "reference",
    "search",
]


@dataclass(frozen=True, eq=False)
class ChosenNetwork:
    """A network of a run: what `finish` and `export` take. `name` is that of its files."""

    run: Path
    trial: Trial
    name: str

    @property
    def architecture(self) -> Architecture:
        """The network, as it was costed."""
        return self.trial.network.architecture

    @property
    def top1(self) -> float:
        """Top-1 of its proxy in percent. Raises ValueError where the run's scores are of another metric."""
        return self.trial.network.top1

    def value(self, name: str) -> float:
        """What it has of a quantity, by the name that objectives have: `latency_ms`, `params`, `latency_ms@board`."""
        return self.trial.network.value(name)

    def __repr__(self) -> str:
        """The name, what it costs and what it scores."""
        network = self.trial.network
        score = f", {network.score.metric} {network.score.value:.4g}" if network.score else ""
        return f"<{self.name}: {network.latency.latency_ms:.4g} ms{score}>"


class Run:
    """A search as far as it has got: its trials and its front, and the networks to choose from.

    `ending` says why the last call of `search` ended; None for a run that was loaded.
    """

    def __init__(self, path: Path, result: SearchResult, ending: Ending | None = None) -> None:
        self.path = path
        self.result = result
        self.ending = ending

    @property
    def trials(self) -> DataFrame:
        """Every trial, a row each by its number; the columns are those of trials.csv, and `on_front`."""
        return trials_frame(self.result)

    @property
    def front(self) -> DataFrame:
        """The front, fastest first, indexed by trial number; `run[number]` is the network of a row.

        Columns: top1 (percent; or `score`), latency_ms, what else was asked for, params, macs, peak_activation_bytes,
        resolution (pixels) and network, in words.
        """
        return front_frame(self.result)

    @property
    def references(self) -> DataFrame:
        """The published networks that were trained like the candidates, by name, with the front's columns."""
        setting = self.result.setting
        return networks_frame(self.result.references, setting.further, setting.learned)

    @property
    def knee(self) -> ChosenNetwork:
        """The best compromise of the front. Raises NasError where no network is trained yet."""
        self._require_completed()
        return self._chosen(self.result.knee, "knee")

    def best_within(self, budgets: Mapping[str, float] | None = None, /, **more: float) -> ChosenNetwork:
        """The most accurate network within all budgets: `best_within(latency_ms=40, params=5e6)`.

        Budgets are of quantities, in their units; of `fps` at least so many. What keywords cannot spell stands in a
        mapping: `best_within({"latency_ms@board": 15})`. Raises NasError where no network is within, with the nearest
        value of each.
        """
        self._require_completed()
        limits = {**_mapping(budgets), **more}
        quantities = self.result.completed[0].network.values
        for name in limits:
            if name not in quantities:
                raise NasError(unknown_name("quantity", name, quantities))
            if not isinstance(limits[name], int | float) or not limits[name] > 0:
                raise NasError(f"the budget of {name} must be a number above 0, but got {limits[name]!r}")
        trial = self.result.best_within_all(limits)
        if trial is None:
            best = {name: min(self.result.completed, key=partial(_loss, name)).network.value(name) for name in limits}
            raise NasError(
                f"no network of {self.path} is within {_written(limits)}; the best of each alone are {_written(best)}"
            )
        return self._chosen(trial, f"trial_{trial.number}")

    def __getitem__(self, number: int) -> ChosenNetwork:
        """The network of a trial that was trained to its end. Raises NasError for any other number."""
        for trial in self.result.completed:
            if trial.number == number:
                return self._chosen(trial, f"trial_{number}")
        numbers = ", ".join(str(trial.number) for trial in self.result.front)
        raise NasError(
            f"trial {number} of {self.path} was not trained to its end; on the front are {numbers or 'none'}"
        )

    def __iter__(self) -> Iterator[ChosenNetwork]:
        """The networks that were trained to their ends, in the order of their trials."""
        return (self._chosen(trial, f"trial_{trial.number}") for trial in self.result.completed)

    def __contains__(self, number: object) -> bool:
        """Whether that trial was trained to its end."""
        return any(trial.number == number for trial in self.result.completed)

    def __repr__(self) -> str:
        """Where it lies, and how far it has got."""
        completed, front = len(self.result.completed), len(self.result.front)
        return f"<run {self.path}: {len(self.result.trials)} trials, {completed} trained, {front} on the front>"

    def _chosen(self, trial: Trial, name: str) -> ChosenNetwork:
        return ChosenNetwork(self.path, trial, f"{self.path.resolve().name}-{name}")

    def _require_completed(self) -> None:
        if not self.result.completed:
            raise NasError(f"{self.path} has no trained network to choose yet: let the search go on")


@dataclass(frozen=True, eq=False)
class FinishedNetwork:
    """A network that was trained to its end, and the folder that it is in."""

    path: Path
    finished: Finished

    @property
    def top1(self) -> float:
        """Top-1 in percent on test images that nothing was chosen by, or on validation images where there are none."""
        return self.finished.scores.top1

    def __repr__(self) -> str:
        """The folder, and what it scores."""
        images = "test" if self.finished.tested else "validation"
        return f"<{self.path}: top-1 {self.top1:.2f} % on {images} images>"


def cost(
    network: Architecture | ChosenNetwork | str | Path, *tables: LatencyTable | str | Path, name: str = ""
) -> CostedNetwork:
    """What a network costs on devices, as it is deployed: latency by each table, parameters, MACs and memory.

    A network can be given by the name of a published one or by the path of its .json, or as one of a run; a table by
    its name or its path. The first table is that of the main device. Raises NasError for a table that misses one of the
    network's units.
    """
    if not tables:
        raise NasError("cost needs at least one latency table, such as nas.load_table('pixel_lut')")
    if isinstance(network, ChosenNetwork):
        name, network = name or network.name, network.architecture
    if isinstance(network, str | Path):
        name, network = name or Path(network).stem, find_network(str(network))
    if not isinstance(network, Architecture):
        raise NasError(f"cost takes an architecture, the name of a network or one of a run, but got {_kind(network)}")
    return costed(name or network.fingerprint, network, *map(_table, tables))


def search(
    space: SearchSpace | str | Path = "mbv3",
    *tables: LatencyTable | str | Path,
    data: str = "digits",
    trials: int = 24,
    run: str | Path | None = None,
    listener: SearchListener | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Search a space for the networks that are best on the devices of `tables` (pixel_lut), the main one first.

    `settings` are further keys of an experiment (experiments/README.md), such as `objectives="top1,latency_ms,params"`,
    `budgets_ms=[30]` or `training={"epochs": 9}`. Everything is written into the directory `run`, report included (by
    default runs/SPACE-DEVICE-DATA); the same call goes on where it stopped. Ctrl-C ends the search with what
    there is; `Run.ending` says why it ended: trials, minutes, exhausted, failing or interrupted. The terminal shows how
    it goes on unless it is `quiet`; `listener` hears of it, too. Raises NasError for whatever is missing or wrong,
    before anything is trained or written.
    """
    from nas.search.listener import Listeners
    from nas.search.prepare import prepare
    from nas.search.results.progress import SearchProgress

    for key in ("device", "devices"):
        if key in settings:
            raise NasError(f"search takes its latency tables behind the space, not as {key}={settings[key]!r}")
    if not isinstance(space, SearchSpace | str | Path):
        raise NasError(f"search takes a search space first, but got {_kind(space)}")
    for table in tables:
        if not isinstance(table, LatencyTable | str | Path):
            raise NasError(f"search takes latency tables behind the space, but got {_kind(table)}")
    tables = tables or ("pixel_lut",)
    overrides: dict[str, Any] = {"space": _place(space), "data": data, "trials": trials, **settings}
    overrides["device"] = _place(tables[0])
    if len(tables) > 1:
        overrides["devices"] = [_place(table) for table in tables[1:]]
    experiment = resolve_experiment(None, overrides)
    prepared = prepare(
        experiment,
        space=space if isinstance(space, SearchSpace) else None,
        tables=[table for table in tables if isinstance(table, LatencyTable)],
        progress=sys.stderr.isatty() and not quiet,
    )
    directory = RunDirectory(Path(run) if run is not None else default_run_path(experiment))
    shown = SearchProgress(experiment.trials, minutes=experiment.minutes, quiet=quiet, objectives=experiment.objectives)
    with claimed(directory), shown:
        outcome, _ = search_and_report(prepared, directory, Listeners(shown, *([listener] if listener else [])))
    return Run(directory.path, outcome.result, outcome.ending)


def search_and_report(
    prepared: Prepared, run: RunDirectory, listener: SearchListener
) -> tuple[Outcome, Sequence[Path]]:
    """Run, or go on with, a search in a directory that the caller holds; returns its outcome and its report's files."""
    from nas.report.files import TrialsFile
    from nas.report.write import write_report
    from nas.search.driver import search as run_search
    from nas.search.listener import Listeners
    from nas.search.run.kept import load_weights

    outcome = run_search(prepared, run, Listeners(listener, TrialsFile(run.path, prepared.setting)))
    return outcome, write_report(outcome.result, run.path, weights=lambda trial: load_weights(run, trial.number))


def load_run(path: str | Path) -> Run:
    """A run as far as it has got, from its directory, which stays as it is. Raises NasError where there is none."""
    return Run(Path(path), load_result(Path(path)))


def finish(
    network: Architecture | ChosenNetwork | FinishedNetwork | Run | str | Path,
    data: str,
    *,
    recipe: str = "modern",
    out: str | Path | None = None,
    weights: str | None = None,
    resolution: int | None = None,
    max_stride: int | None = None,
    new_classes: bool = False,
    seed: int = 0,
    quiet: bool = False,
    **settings: Any,
) -> FinishedNetwork:
    """Train a network to its end on the images of `data`, and test it on images that nothing was chosen by.

    `network` is what `search` or `finish` gave, an architecture, or what the command `finish` takes. `settings` change
    the recipe: `epochs=30, batch_size=64`. `weights`, `resolution` (pixels), `max_stride` and `new_classes` are those
    of the command. Everything is written into the folder `out` (trained/NAME); the same call goes on where it stopped.
    Raises NasError for what does not fit, before anything is trained.
    """
    from nas.accuracy.full_training.recipes import find_recipe
    from nas.deploy.tasks import FinishPlan, finish_network

    source = _found(network)
    folder = Path(out) if out is not None else Path("trained") / source.name
    plan = FinishPlan(
        recipe=find_recipe(recipe, settings),
        recipe_name=recipe,
        weights=weights,
        resolution=resolution,
        max_stride=max_stride,
        new_classes=new_classes,
        seed=seed,
    )
    with WorkProgress("epochs", quiet=quiet) as progress:
        finished = finish_network(
            source,
            data,
            folder,
            plan,
            on_epoch=lambda state: progress.step(len(state.history), plan.recipe.epochs, _epoch(state)),
            progress=sys.stderr.isatty() and not quiet,
        )
    return FinishedNetwork(folder, finished)


def export(
    network: Architecture | ChosenNetwork | FinishedNetwork | Run | str | Path,
    out: str | Path = "exported",
    *,
    formats: Sequence[str] | str = ("onnx",),
    data: str | None = None,
    name: str | None = None,
) -> list[Path]:
    """Write a network as files that devices run, each run in its own runtime and compared with torch; returns them.

    `formats` are of onnx, litert, coreml, executorch and openvino. With `data` the files are compared on its images,
    else on random ones. Raises NasError where a format cannot express the network or a file does not compute what torch
    does; the files of the other formats are written all the same.
    """
    from nas.deploy.export.formats import check_installed, format_called
    from nas.deploy.tasks import export_source

    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    for format_name in formats:
        format_called(format_name)
    check_installed(formats)
    source = export_source(_found(network), data)
    files, problems = [], []
    for format_name in formats:
        try:
            files.append(source.export(format_name, Path(out), name=name)[0])
        except NasError as error:
            problems.append(str(error))
    if problems:
        raise RunFailedError("\n".join(problems))
    return files


def _found(network: Architecture | ChosenNetwork | FinishedNetwork | Run | str | Path) -> FoundNetwork:
    """The network with whatever weights there are of it."""
    from nas.deploy.find import FoundNetwork, find_network

    if isinstance(network, Architecture):
        return FoundNetwork(network.fingerprint, network)
    if isinstance(network, ChosenNetwork):
        found = find_network(str(network.run), pick=f"trial_{network.trial.number}")
        return FoundNetwork(**{**vars(found), "name": network.name})
    if isinstance(network, FinishedNetwork | Run):
        network = network.path
    if not isinstance(network, str | Path):
        raise NasError(
            f"a network is an architecture, one of a run, what finish gave, a name or a path, but got {_kind(network)}"
        )
    return find_network(str(network))


def _table(table: LatencyTable | str | Path) -> LatencyTable:
    if isinstance(table, LatencyTable):
        return table
    if not isinstance(table, str | Path):
        raise NasError(f"a latency table, its name or its path is needed, but got {_kind(table)}")
    return load_table(str(table))


def _place(thing: SearchSpace | LatencyTable | str | Path) -> str:
    """What an experiment calls a space or a table: its name where it is found by that, else its path.

    Raises NasError for one that was changed since it was read: what the run's directory says would not be true.
    """
    if isinstance(thing, str | Path):
        return str(thing)
    folder: DataFolder = "search_spaces" if isinstance(thing, SearchSpace) else "latency_tables"
    try:
        named: Path | None = find_file(folder, thing.name)
    except NasError:
        named = None
    path = thing.path or named
    if path is None:
        return thing.name
    if thing != (read_space(path) if isinstance(thing, SearchSpace) else read_table(path)):
        raise NasError(f"{_kind(thing)} is not what {shown(path)} holds: give it another name, or load it again")
    return thing.name if named is not None and named.resolve() == path.resolve() else str(path)


def _kind(thing: object) -> str:
    """What something is, for a message."""
    if isinstance(thing, SearchSpace):
        return f"the search space {thing.name}"
    if isinstance(thing, LatencyTable):
        return f"the latency table {thing.name}"
    return f"{type(thing).__name__} {str(thing)[:60]!r}"


def _mapping(budgets: object) -> dict[str, float]:
    if budgets is not None and not isinstance(budgets, Mapping):
        raise NasError(f"budgets have names: best_within(latency_ms=40), but got {_kind(budgets)}")
    return dict(budgets or {})


def _loss(name: str, trial: Trial) -> float:
    return loss_of(name, trial.network.value(name))


def _written(budgets: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in budgets.items())


def _epoch(state: Any) -> str:
    epoch = state.history[-1]
    return f"loss {epoch.train_loss:.4f}, top-1 {epoch.top1:.2f} % on the validation images"
