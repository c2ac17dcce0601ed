"""Trials and fronts as pandas frames, with units in the names of their columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nas.accuracy.score import TOP1
from nas.networks.describe import describe
from nas.search.costing import CostedNetwork
from nas.search.results.result import SearchResult
from nas.search.trial import Trial

if TYPE_CHECKING:
    from pandas import DataFrame


def trial_columns(further: Sequence[str] = (), learned: str = TOP1) -> tuple[str, ...]:
    """The names of `trial_values`, in their order."""
    return (
        "number",
        "status",
        "reason",
        learned,
        "latency_ms",
        "published_ms",
        "modelled_ms",
        "measured_ms",
        "params",
        "macs",
        "peak_activation_bytes",
        "resolution",
        "fingerprint",
        "epochs",
        "seed",
        "seconds",
        f"predicted_{learned}",
        "predicted_std",
        *further,
        "description",
    )


def trial_values(trial: Trial, further: Sequence[str] = (), learned: str = TOP1) -> dict[str, Any]:
    """All that is known of a trial, by column; None where there is nothing.

    `learned` is the metric of the scores, `further` names the values that have columns besides the usual.
    published_ms, modelled_ms and measured_ms split the sum of the network's units, before calibration, by source.
    """
    network, score = trial.network, trial.network.score
    mean, std = trial.predicted or (None, None)
    return {
        "number": trial.number,
        "status": trial.status,
        "reason": " ".join(trial.reason.split()),
        learned: score.value if score else None,
        "latency_ms": network.latency.latency_ms,
        **{f"{name}_ms": network.latency.by_source.get(name, 0.0) for name in ("published", "modelled", "measured")},
        "params": network.costs.params,
        "macs": network.costs.macs,
        "peak_activation_bytes": network.costs.peak_activation_bytes,
        "resolution": network.architecture.resolution,
        "fingerprint": network.architecture.fingerprint,
        "epochs": score.epochs if score else None,
        "seed": score.seed if score else None,
        "seconds": trial.seconds,
        f"predicted_{learned}": mean,
        "predicted_std": std,
        **{name: network.values[name] for name in further},
        "description": describe(network.architecture),
    }


def trials_frame(result: SearchResult) -> DataFrame:
    """Every trial of a search, a row each in the order of their numbers, with the columns of trials.csv.

    `on_front` says which are on the front.
    """
    from pandas import DataFrame

    setting = result.setting
    front = {trial.number for trial in result.front}
    rows = [
        {**trial_values(trial, setting.further, setting.learned), "on_front": trial.number in front}
        for trial in result.trials
    ]
    columns = [*trial_columns(setting.further, setting.learned), "on_front"]
    return DataFrame(rows, columns=columns).set_index("number")


def front_frame(result: SearchResult) -> DataFrame:
    """The front of a search, fastest first, a row each under the number of its trial."""
    learned, further = result.setting.learned, result.setting.further
    rows = [network_values(trial.network, further, learned) for trial in result.front]
    return _frame(rows, "trial", [trial.number for trial in result.front], further, learned)


def networks_frame(networks: Iterable[CostedNetwork], further: Sequence[str] = (), learned: str = TOP1) -> DataFrame:
    """Networks, a row each under its name, such as the references of a search."""
    networks = tuple(networks)
    rows = [network_values(network, further, learned) for network in networks]
    return _frame(rows, "name", [network.name for network in networks], further, learned)


def network_values(network: CostedNetwork, further: Sequence[str], learned: str) -> dict[str, Any]:
    """A network's score and costs, and the network itself in words."""
    return {
        learned: network.score.value if network.score else None,
        "latency_ms": network.latency.latency_ms,
        **{name: network.values[name] for name in further},
        "params": network.costs.params,
        "macs": network.costs.macs,
        "peak_activation_bytes": network.costs.peak_activation_bytes,
        "resolution": network.architecture.resolution,
        "network": describe(network.architecture),
    }


def _frame(
    rows: Sequence[Mapping[str, Any]], index: str, labels: Sequence[Any], further: Sequence[str], learned: str
) -> DataFrame:
    from pandas import DataFrame, Index

    columns = (learned, "latency_ms", *further, "params", "macs", "peak_activation_bytes", "resolution", "network")
    return DataFrame(rows, columns=columns, index=Index(labels, name=index))
