"""What does the command print when a search has ended?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.console import print_table
from nas.files import shown
from nas.latency.table import SOURCES
from nas.latency.verdict import validated
from nas.networks.describe import describe
from nas.search.result import STATUSES, CostedNetwork, SearchResult, mean_share

if TYPE_CHECKING:
    from nas.search.study import Ending

_NUMBERS = ("top-1 %", "ms", "published", "params M", "MACs M")
_COLUMNS = ("name", *_NUMBERS, "network")

_ENDINGS = {
    "minutes": "The minutes are over; the same command goes on.",
    "exhausted": "No network was found any more that is new and within the limits.",
    "failing": "Training failed five times in a row, so the search ended; the reasons are in trials.csv.",
    "interrupted": "Stopped. Everything that was trained is kept; the same command goes on.",
}


def print_summary(result: SearchResult, ending: Ending, path: Path, files: Sequence[Path]) -> None:
    """The front as a table, the references, what the latencies rest on, the picks and where everything lies."""
    print(_counts(result))
    if result.front:
        networks = [*(trial.network for trial in result.front), *result.references]
        print()
        print_table(_COLUMNS, [_row(network) for network in networks], numbers=_NUMBERS)
        print()
        print(latency_basis(result))
        print("picks:", "; ".join(f"{pick.reason}: {pick.trial.network.name}" for pick in result.picks()))
    report = next((file for file in files if file.name == "report.html"), path)
    print("report:", shown(report))
    if ending in _ENDINGS:
        print(_ENDINGS[ending])


def latency_basis(result: SearchResult) -> str:
    """What share of the front's latency was measured, published and modelled, and how good the model is."""
    shares = {source: mean_share(result.front, source) for source in SOURCES}
    parts = ", ".join(f"{share:.1%} {source}" for source, share in shares.items() if share)
    text = f"latency of the front on {result.setting.device}: {parts}"
    if shares["modelled"]:
        text += " (modelled is not measured)"
    checked = (result.setting.device_conditions.get("model") or {}).get("cross_validated", {})
    errors = [
        f"{source} {error['mean_absolute']}"
        for source, error in checked.items()
        if isinstance(error, dict) and "mean_absolute" in error
    ]
    if shares["modelled"] and errors:
        text += f"; mean error of the model, cross-validated: {', '.join(errors)}"
    return f"{text}\n{validated(result.setting.device_conditions)}"


def _counts(result: SearchResult) -> str:
    counts = Counter(trial.status for trial in result.trials)
    others = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status != "complete" and counts[status])
    networks = "network" if counts["complete"] == 1 else "networks"
    text = f"{counts['complete']} {networks} trained, {len(result.front)} on the front"
    return f"{text} ({others})" if others else text


def _row(network: CostedNetwork) -> tuple[str, ...]:
    return (
        network.name,
        f"{network.top1:.2f}",
        f"{network.latency.latency_ms:.1f}",
        f"{network.latency.share('published'):.0%}",
        f"{network.costs.params / 1e6:.2f}",
        f"{network.costs.macs / 1e6:.0f}",
        describe(network.architecture),
    )
