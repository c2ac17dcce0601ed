"""Find and check every part that an experiment names, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.data.load import load_dataset
from nas.accuracy.evaluators.evaluator import Evaluator
from nas.accuracy.evaluators.registry import Task, build_evaluator
from nas.accuracy.training.devices import resolve_device, resolve_precision
from nas.errors import NasError
from nas.latency.energy import required_power
from nas.latency.table import LatencyTable, load_table
from nas.networks.references import reference
from nas.networks.space.keys import STAGE_OPERATORS
from nas.networks.space.search_space import SearchSpace, load_space
from nas.search.costing import CostedNetwork, Costing
from nas.search.experiment import Experiment, device_name
from nas.search.quantities import LEARNED, learned_of, loss_of, on_device, split_name
from nas.search.results.result import Setting
from nas.search.run.storage import check_storage
from nas.search.sampling.proposals import check_limits


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment whose every part was found, read and checked.

    `costing` has the tables of its devices and its limits. `left_out` are references that some table does not cover,
    with the table's name.
    """

    experiment: Experiment
    space: SearchSpace
    costing: Costing
    dataset: Dataset
    evaluator: Evaluator
    references: tuple[CostedNetwork, ...]
    left_out: Mapping[str, str]
    setting: Setting


def prepare(
    experiment: Experiment,
    *,
    space: SearchSpace | None = None,
    tables: Sequence[LatencyTable] = (),
    progress: bool = False,
) -> Prepared:
    """Find and check everything that an experiment names, before anything is trained or written.

    A `space` that is given, and a table of a name that is looked for among `tables`, is not read from a file. Raises
    NasError for whatever is missing or wrong.
    """
    if space is not None and space.path is None and experiment.workers > 1:
        raise NasError("workers in other processes read the space from its file, but this one has none: take workers=1")
    space = space or load_space(experiment.space)
    costing = Costing(_tables(experiment, space, tables), experiment.limits.given())
    resolve_precision(experiment.training.precision, resolve_device(experiment.training.device))
    check_storage(experiment.storage)
    networks = {name: reference(name) for name in experiment.references}
    check_limits(space, costing)
    task = task_of(experiment, space, progress=progress)
    evaluator = build_evaluator(experiment.evaluator, task)
    _check_metric(experiment, evaluator)
    left_out = {name: table for name, network in networks.items() if (table := costing.uncovered_by(network))}
    return Prepared(
        experiment=experiment,
        space=space,
        costing=costing,
        dataset=task.dataset,
        evaluator=evaluator,
        references=tuple(costing.cost(name, network) for name, network in networks.items() if name not in left_out),
        left_out=left_out,
        setting=_setting(experiment, space, costing, evaluator),
    )


def task_of(experiment: Experiment, space: SearchSpace | None = None, *, progress: bool = False) -> Task:
    """What an experiment's candidates are scored on. Raises NasError for a space or images that cannot be read."""
    dataset = load_dataset(
        experiment.data,
        image_size=experiment.proxy.resolution,
        seed=experiment.seed,
        max_images=experiment.max_images,
        progress=progress,
    )
    return Task(space or load_space(experiment.space), dataset, experiment.training, experiment.proxy)


def _check_metric(experiment: Experiment, evaluator: Evaluator) -> None:
    """Raise NasError where the search's objectives are of another metric than the evaluator's scores."""
    learned = learned_of(experiment.objectives)
    if learned != evaluator.metric:
        known = ",".join(name for name in experiment.objectives if name != learned)
        raise NasError(
            f"the evaluator {experiment.evaluator} gives {evaluator.metric}, but the objectives name {learned}. "
            f"Write objectives: {evaluator.metric},{known}"
        )


def _tables(experiment: Experiment, space: SearchSpace, loaded: Sequence[LatencyTable]) -> tuple[LatencyTable, ...]:
    """The latency tables, the main one first, with all that objectives and limits ask of them."""
    by_device = {device_name(table.name): table for table in loaded}
    devices = (experiment.device, *experiment.further_devices)
    tables = tuple(by_device.get(device_name(device)) or load_table(device) for device in devices)
    for table in tables:
        table.require(space.units())
    by_name = {"": tables[0], **{table.name: table for table in tables[1:]}}
    for name in (*experiment.objectives, *experiment.limits.given()):
        quantity, device = split_name(name)
        if quantity == "energy_mj":
            required_power(by_name[device].name, by_name[device].conditions.power)
    return tables


def _setting(experiment: Experiment, space: SearchSpace, costing: Costing, evaluator: Evaluator) -> Setting:
    main, *others = costing.tables
    resolutions = space.format.resolution
    span = f"{min(resolutions)} to {max(resolutions)}" if len(resolutions) > 1 else str(resolutions[0])
    branched = any("branches" in STAGE_OPERATORS[op] for stage in space.format.stages for op in stage.operators)
    candidate = "the candidate itself" + (", each block's branches one convolution" if branched else "")
    largest = costing.cost("", space.decode(space.largest_parameters()))
    return Setting(
        space=space.name,
        space_size=space.size,
        device=main.name,
        device_conditions=main.conditions.model_dump(mode="json"),
        dataset=experiment.data,
        trained=evaluator.describe(experiment.training.epochs),
        deployed=f"{candidate}: {span} px, {space.format.classes} classes, on "
        f"{', '.join(table.conditions.device for table in costing.tables)}",
        limits=costing.limits,
        budgets=experiment.all_budgets(),
        reference_point=_reference_point(experiment, largest, evaluator),
        experiment=experiment.to_json(),
        objectives=experiment.objectives,
        devices={table.name: table.conditions.model_dump(mode="json") for table in others},
        further=_further(experiment, largest),
    )


def _reference_point(experiment: Experiment, largest: CostedNetwork, evaluator: Evaluator) -> tuple[float, ...]:
    """The score of chance, and of each other objective what the largest member has, or the limit where that is less."""
    limits = experiment.limits.given()

    def worst(name: str) -> float:
        value = largest.values[name]
        return min(value, limits.get(name, value), key=lambda amount: loss_of(name, amount))

    return tuple(evaluator.chance if name in LEARNED else worst(name) for name in experiment.objectives)


def _further(experiment: Experiment, network: CostedNetwork) -> tuple[str, ...]:
    """What is shown of each network besides the usual: other devices, energy, and what the experiment names."""
    named = (*experiment.objectives, *experiment.limits.given())
    latencies = [on_device("latency_ms", device) for device in network.elsewhere]
    usual = (*LEARNED, "latency_ms", "params", "macs", "peak_activation_bytes")
    return tuple(name for name in dict.fromkeys([*latencies, *network.energy_mj, *named]) if name not in usual)
