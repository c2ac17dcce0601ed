"""Print a search's result: the front as a table, the picks, and where the files are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.console import print_table
from nas.files import shown
from nas.latency.table import SOURCES
from nas.latency.verdict import validated
from nas.networks.describe import describe
from nas.search.costing import CostedNetwork
from nas.search.quantities import split_name
from nas.search.results.comparison import better_line, beyond_line, unmet_lines
from nas.search.results.portfolio import picks_of
from nas.search.results.result import SearchResult, Setting, mean_share
from nas.search.results.wording import amount, read_in, score_title
from nas.search.trial import STATUSES

if TYPE_CHECKING:
    from nas.search.results.result import Ending

_NUMBERS = ("ms", "published", "params M", "MACs M")

_ENDINGS = {
    "minutes": "The minutes are over; the same command goes on.",
    "exhausted": "No further network was found that is new and within the limits.",
    "failing": "Training failed five times in a row, so the search ended; the reasons are in trials.csv.",
    "interrupted": "Stopped. Everything that was trained is kept; the same command goes on.",
}


def print_summary(result: SearchResult, ending: Ending, path: Path, files: Sequence[Path]) -> None:
    """Print the front and the references as a table, the basis of latencies, the picks, and the path of the report."""
    print(_counts(result))
    if result.front:
        networks = [*(trial.network for trial in result.front), *result.references]
        print()
        further = _further(result.setting)
        numbers = (score_title(result.setting.learned), *_NUMBERS, *map(_column, further))
        print_table(("name", *numbers, "network"), [_row(network, further) for network in networks], numbers=numbers)
        print()
        _print_certainties(result)
        print(latency_basis(result))
        _print_picks(result)
    report = next((file for file in files if file.name == "report.html"), path)
    print("report:", shown(report))
    if ending in _ENDINGS:
        print(_ENDINGS[ending])


def _print_picks(result: SearchResult) -> None:
    """Print the picks, which references are better, and which budgets nothing meets."""
    picks = picks_of(result)
    print("picks:", "; ".join(f"{pick.reason}: {pick.trial.network.name}" for pick in picks))
    for pick in picks:
        if pick.better:
            print(f"{pick.reason}: {better_line(result, pick)}")
    for line in (*unmet_lines(result), beyond_line(result)):
        if line:
            print(line)


def _print_certainties(result: SearchResult) -> None:
    """Print what training the front's members again told; nothing where they were not trained again."""
    if not result.certainties:
        return
    rows = [
        (f"trial {number}", f"{it.mean:.2f}", f"{it.low:.2f} to {it.high:.2f}", f"{it.std:.2f}", f"{it.on_front:.0%}")
        for number, it in result.certainties.items()
    ]
    columns = ("trained again", f"mean {score_title(result.setting.learned)}", "95 % interval", "std", "on the front")
    print_table(columns, rows, numbers=columns[1:])
    print()


def latency_basis(result: SearchResult) -> str:
    """For each table, the shares of the front's latency that are measured, published and modelled, and its error."""
    return "\n".join(_basis(result, name, conditions) for name, conditions in result.setting.tables.items())


def _basis(result: SearchResult, device: str, conditions: Mapping[str, Any]) -> str:
    shares = {source: mean_share(result.front, source, device) for source in SOURCES}
    parts = ", ".join(f"{share:.1%} {source}" for source, share in shares.items() if share)
    text = f"latency of the front on {device}: {parts}"
    if shares["modelled"]:
        text += " (modelled is not measured)"
    checked = (conditions.get("model") or {}).get("cross_validated", {})
    errors = [
        f"{source} {error['mean_absolute']}"
        for source, error in checked.items()
        if isinstance(error, dict) and "mean_absolute" in error
    ]
    if shares["modelled"] and errors:
        text += f"; mean error of the model, cross-validated: {', '.join(errors)}"
    return f"{text}\n{validated(conditions)}"


def _counts(result: SearchResult) -> str:
    counts = Counter(trial.status for trial in result.trials)
    others = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status != "complete" and counts[status])
    networks = "network" if counts["complete"] == 1 else "networks"
    text = f"{counts['complete']} {networks} trained, {len(result.front)} on the front"
    text = f"{text} ({others})" if others else text
    if not result.stopped:
        return text
    done, whole = result.epochs_trained
    return f"{text}; training with early stopping took {done:,} of the {whole:,} epochs of training all to the end"


def _further(setting: Setting) -> tuple[str, ...]:
    """The names of the columns beyond the usual ones."""
    memory = "peak_activation_bytes"
    shown_memory = memory in setting.objectives or memory in setting.limits
    return (*setting.further, memory) if shown_memory else setting.further


def _column(name: str) -> str:
    quantity, device = split_name(name)
    unit = "peak MB" if quantity == "peak_activation_bytes" else read_in(name)[1]
    return f"{unit} {device}" if device else unit


def _row(network: CostedNetwork, further: Sequence[str]) -> tuple[str, ...]:
    return (
        network.name,
        f"{network.learned:.2f}",
        amount(network.latency.latency_ms),
        f"{network.latency.share('published'):.0%}",
        _in_millions(network.costs.params, 2),
        _in_millions(network.costs.macs, 0),
        *(amount(network.values[name] / read_in(name)[0]) for name in further),
        describe(network.architecture),
    )


def _in_millions(value: float, decimals: int) -> str:
    """In millions with so many decimals; a value that would show as 0.00 has two significant digits."""
    millions = value / 1e6
    return f"{millions:.{decimals}f}" if millions >= 10 ** (1 - decimals) else f"{millions:.2g}"
