"""Find and check every part that an experiment names, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.data.load import load_dataset
from nas.accuracy.evaluators.short_training import Evaluator, ShortTraining
from nas.accuracy.training.devices import resolve_device, resolve_precision
from nas.latency.energy import required_power
from nas.latency.table import LatencyTable, load_table
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import units
from nas.networks.references import reference
from nas.networks.space.keys import STAGE_OPERATORS
from nas.networks.space.search_space import SearchSpace, load_space
from nas.search.costing import CostedNetwork, cost
from nas.search.experiment import Experiment
from nas.search.quantities import LEARNED, loss_of, on_device, split_name
from nas.search.results.result import Setting
from nas.search.run.storage import check_storage
from nas.search.sampling.proposals import check_limits


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment whose every part was found, read and checked.

    `tables` are those of the devices, the main one first. `left_out` are references that some table does not cover,
    with the table's name.
    """

    experiment: Experiment
    space: SearchSpace
    tables: tuple[LatencyTable, ...]
    dataset: Dataset
    evaluator: Evaluator
    references: tuple[CostedNetwork, ...]
    left_out: Mapping[str, str]
    setting: Setting


def prepare(experiment: Experiment, *, progress: bool = False) -> Prepared:
    """Find and check everything that an experiment names, before anything is trained or written.

    Raises NasError for whatever is missing or wrong.
    """
    space = load_space(experiment.space)
    tables = _tables(experiment, space)
    resolve_precision(experiment.training.precision, resolve_device(experiment.training.device))
    check_storage(experiment.storage)
    named = {name: reference(name) for name in experiment.references}
    check_limits(space, tables, experiment.limits)
    dataset = load_dataset(
        experiment.data,
        image_size=experiment.proxy.resolution,
        seed=experiment.seed,
        max_images=experiment.max_images,
        progress=progress,
    )
    left_out = {name: table for name, network in named.items() if (table := _not_covering(network, tables))}
    return Prepared(
        experiment=experiment,
        space=space,
        tables=tables,
        dataset=dataset,
        evaluator=ShortTraining(dataset, experiment.training, experiment.proxy, space.largest_resolution),
        references=tuple(cost(name, network, *tables) for name, network in named.items() if name not in left_out),
        left_out=left_out,
        setting=_setting(experiment, space, tables, dataset),
    )


def _tables(experiment: Experiment, space: SearchSpace) -> tuple[LatencyTable, ...]:
    """The latency tables, the main one first, with all that objectives and limits ask of them."""
    tables = tuple(load_table(device) for device in (experiment.device, *experiment.further_devices))
    for table in tables:
        table.require(space.units())
    by_name = {"": tables[0], **{table.name: table for table in tables[1:]}}
    for name in (*experiment.objectives, *experiment.limits.given()):
        quantity, device = split_name(name)
        if quantity == "energy_mj":
            required_power(by_name[device].name, by_name[device].conditions.power)
    return tables


def _not_covering(network: Architecture, tables: Sequence[LatencyTable]) -> str:
    """The first table that misses a unit of the network; empty where none does."""
    wanted = units(deployed(network))
    return next((table.name for table in tables if table.missing(wanted)), "")


def _setting(experiment: Experiment, space: SearchSpace, tables: Sequence[LatencyTable], dataset: Dataset) -> Setting:
    main, *others = tables
    resolutions = space.format.resolution
    span = f"{min(resolutions)} to {max(resolutions)}" if len(resolutions) > 1 else str(resolutions[0])
    epochs = experiment.training.epochs
    branched = any("branches" in STAGE_OPERATORS[op] for stage in space.format.stages for op in stage.operators)
    candidate = "the candidate itself" + (", each block's branches one convolution" if branched else "")
    largest = cost("", space.decode(space.largest_parameters()), *tables)
    return Setting(
        space=space.name,
        space_size=space.size,
        device=main.name,
        device_conditions=main.conditions.model_dump(mode="json"),
        dataset=experiment.data,
        trained=f"the candidate's proxy for {epochs} {'epoch' if epochs == 1 else 'epochs'} on {dataset.name}: "
        f"{experiment.proxy.resolution} px for {space.largest_resolution} px (smaller ones in proportion), "
        f"{len(dataset.classes)} classes, early strides 1 so that the image shrinks at most "
        f"{experiment.proxy.max_stride} times",
        deployed=f"{candidate}: {span} px, {space.format.classes} classes, on "
        f"{', '.join(table.conditions.device for table in tables)}",
        limits=experiment.limits.given(),
        budgets=experiment.all_budgets(),
        reference_point=_reference_point(experiment, largest, len(dataset.classes)),
        experiment=experiment.model_dump(mode="json"),
        objectives=experiment.objectives,
        devices={table.name: table.conditions.model_dump(mode="json") for table in others},
        further=_further(experiment, largest),
    )


def _reference_point(experiment: Experiment, largest: CostedNetwork, classes: int) -> tuple[float, ...]:
    """Top-1 by chance, and of each other objective what the largest member has, or the limit where that is less."""
    limits = experiment.limits.given()

    def worst(name: str) -> float:
        value = largest.values[name]
        return min(value, limits.get(name, value), key=lambda amount: loss_of(name, amount))

    return tuple(100 / classes if name == LEARNED else worst(name) for name in experiment.objectives)


def _further(experiment: Experiment, network: CostedNetwork) -> tuple[str, ...]:
    """What is shown of each network besides the usual: other devices, energy, and what the experiment names."""
    named = (*experiment.objectives, *experiment.limits.given())
    latencies = [on_device("latency_ms", device) for device in network.elsewhere]
    usual = (LEARNED, "latency_ms", "params", "macs", "peak_activation_bytes")
    return tuple(name for name in dict.fromkeys([*latencies, *network.energy_mj, *named]) if name not in usual)
