"""Made-up searches for the tests: real networks and costs, invented scores."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np

from nas.accuracy.score import Score
from nas.latency.energy import Power
from nas.latency.table import LatencyTable, load_table
from nas.networks.architecture import Architecture, Block
from nas.networks.references import reference
from nas.networks.space.search_space import SearchSpace, load_space
from nas.search.costing import CostedNetwork, cost
from nas.search.results.result import SearchResult, Setting
from nas.search.trial import Status, Trial


@cache
def table() -> LatencyTable:
    return load_table("pixel_lut")


@cache
def space() -> SearchSpace:
    return load_space("mbv3")


@cache
def member(seed: int) -> CostedNetwork:
    """A random member of mbv3 with its costs."""
    return cost(f"trial {seed}", space().sample_member(np.random.default_rng(seed)), table())


def score(top1: float, seed: int = 0) -> Score:
    return Score(top1, 8, seed, 3.25, "digits", 16, 1200, 300)


def scored(network: CostedNetwork, seed: int) -> CostedNetwork:
    """The network with a score that grows with MACs, plus noise."""
    noise = np.random.default_rng(seed).normal(0, 1.5)
    top1 = min(100.0, 55 + 16 * math.log10(network.costs.macs / 1e7) + noise)
    return replace(network, score=score(round(top1 * 3) / 3, seed))


def trial(number: int, status: Status = "complete", reason: str = "", *, seed: int | None = None) -> Trial:
    network = member(number if seed is None else seed)
    return Trial(number, status, scored(network, number) if status == "complete" else network, reason, 4.5)


def with_top1(number: int, top1: float, *, seed: int | None = None) -> Trial:
    """A completed trial that scored `top1`."""
    network = member(number if seed is None else seed)
    return Trial(
        number,
        "complete",
        CostedNetwork(network.name, network.architecture, network.latency, network.costs, score(top1)),
        "",
        4.5,
    )


def setting(budgets_ms: tuple[float, ...] = (40.0, 60.0)) -> Setting:
    return Setting(
        space="mbv3",
        space_size=200527769019548029602816,
        device="pixel_lut",
        device_conditions=table().conditions.model_dump(mode="json"),
        dataset="digits",
        trained="the candidate's proxy for 8 epochs on digits: 16 px for 224 px (smaller ones in proportion), "
        "10 classes, early strides 1 so that the image shrinks at most 8 times",
        deployed="the candidate itself: 160 to 224 px, 1000 classes, on Google Pixel 1",
        limits={"latency_ms": 110.0, "params": 8e6},
        budgets={"latency_ms": budgets_ms} if budgets_ms else {},
        reference_point=(10.0, 110.0),
        experiment={
            "space": "mbv3",
            "device": "pixel_lut",
            "data": "digits",
            "trials": 60,
            "seed": 0,
            "limits": {"latency_ms": 110.0, "params": 8000000},
            "training": {"epochs": 8, "learning_rate": 0.2},
        },
    )


def references(
    names: Iterable[str] = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"),
) -> tuple[CostedNetwork, ...]:
    return tuple(scored(cost(name, reference(name), table()), index) for index, name in enumerate(names))


def search(trials: int = 60, *, budgets_ms: tuple[float, ...] = (40.0, 60.0)) -> SearchResult:
    """A search in which some trials failed."""
    return SearchResult(setting(budgets_ms), tuple(_drawn(number) for number in range(trials)), references())


@cache
def board() -> LatencyTable:
    """A made-up device: pixel_lut with other operators slow, and with a power and a battery."""
    rows = {
        key: replace(row, latency_ms=row.latency_ms * (0.3 if "_k3_" in key else 0.9))
        for key, row in table().rows.items()
    }
    power = Power(active_w=2.0, idle_w=0.5, battery_wh=10.0, source="made up")
    return LatencyTable("board", table().conditions.model_copy(update={"power": power, "validation": {}}), rows)


def portfolio(trials: int = 60, **changes: object) -> SearchResult:
    """A search for two devices, with memory as an objective and budgets for each device."""
    trained = []
    for number in range(trials):
        architecture = member(number).architecture
        network = cost(f"trial {number}", architecture, board(), table())
        trained.append(Trial(number, "complete", scored(network, number)))
    published = [scored(cost(n.name, n.architecture, board(), table()), i) for i, n in enumerate(references())]
    many = replace(
        setting(()),
        device="board",
        device_conditions=board().conditions.model_dump(mode="json"),
        devices={"pixel_lut": table().conditions.model_dump(mode="json")},
        limits={"fps": 20.0, "latency_ms@pixel_lut": 110.0},
        budgets={"latency_ms": (20.0, 35.0), "latency_ms@pixel_lut": (40.0, 60.0)},
        objectives=("top1", "latency_ms", "latency_ms@pixel_lut", "peak_activation_bytes"),
        further=("latency_ms@pixel_lut", "energy_mj", "fps"),
        reference_point=(10.0, 50.0, 110.0, 6e6),
    )
    return SearchResult(replace(many, **changes), tuple(trained), tuple(published))  # type: ignore[arg-type]


def large_search(trials: int) -> SearchResult:
    """Many completed trials over few architectures."""
    rng = np.random.default_rng(0)
    completed = []
    for number in range(trials):
        base = member(number % 50)
        latency = base.latency.latency_ms * float(rng.uniform(0.6, 1.4))
        estimate = type(base.latency)(latency, base.latency.by_source)
        network = CostedNetwork(f"trial {number}", base.architecture, estimate, base.costs)
        completed.append(Trial(number, "complete", scored(network, number), "", 1.0))
    return SearchResult(setting(), tuple(completed), references())


def small_architecture(width: int = 8) -> Architecture:
    """A network so small that exporting it takes no time."""
    stem = Block("conv", width, kernel_size=3, stride=2, activation="relu")
    return Architecture(16, 4, (stem, Block("pool"), Block("linear", 4)))


def _drawn(number: int) -> Trial:
    if number % 7 == 3:
        latency = member(number).latency.latency_ms
        return trial(number, "infeasible", f"latency_ms {latency:.6g} is above 60")
    if number % 11 == 5:
        return trial(number, "duplicate", f"the same network as trial {number - 5}", seed=number - 5)
    if number % 23 == 9:
        return trial(number, "failed", "the loss was NaN in epoch 2")
    return trial(number)
