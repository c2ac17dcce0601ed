"""Say what the page's numbers rest on and how uncertain they are: latency, energy, top-1, predictions, trials."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nas.accuracy.score import TOP1, Score
from nas.latency.energy import Power, battery_hours, inferences_per_charge
from nas.latency.table import SOURCES, Source
from nas.latency.verdict import validated
from nas.search.costing import CostedNetwork
from nas.search.quantities import label_of, quantity_of
from nas.search.results.result import SearchResult, mean_share
from nas.search.results.wording import count, percent, score_value, share
from nas.search.trial import STATUSES, Status, Trial

_MOST_REASONS = 6
_NUMBER = re.compile(r"\d[\d.,]*")

_RESTS_ON: dict[Source, str] = {
    "published": "on figures that others published",
    "modelled": "on a model fitted to published figures",
    "measured": "on this project's measurements",
}


class Notice(NamedTuple):
    """A headline and the sentences under it."""

    headline: str
    sentences: tuple[str, ...]


class Table(NamedTuple):
    """A table of text for the page."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Fate(NamedTuple):
    """The trials of one status: how many, and their reasons, each as one example with the number of trials."""

    status: Status
    trials: int
    reasons: tuple[tuple[str, int], ...]


def latency_notices(result: SearchResult) -> list[Notice]:
    """For each table, what its latencies rest on, so that nobody takes a modelled figure for a measurement."""
    several = len(result.setting.tables) > 1
    return [
        _latency_notice(result, device, conditions, f"{device}: " if several else "")
        for device, conditions in result.setting.tables.items()
    ]


def _latency_notice(result: SearchResult, device: str, conditions: Mapping[str, Any], prefix: str) -> Notice:
    shares = {source: mean_share(result.front, source, device) for source in SOURCES}
    sentences = []
    if result.front:
        parts = [f"{share(part)} {_RESTS_ON[source]}" for source, part in shares.items() if part > 0]
        sentences.append(f"On average over the front, a network's latency rests {_listed(parts)}.")
    sentences.append("A network's latency is the sum of its blocks' figures, not a run of the whole network.")
    errors = [
        f"{family} {entry['mean_absolute']} ({count(int(entry['samples']), 'figure')})"
        for family, entry in _families(_mapping(conditions, "model", "cross_validated"))
        if {"mean_absolute", "samples"} <= entry.keys()
    ]
    if errors and (shares["modelled"] or not result.front):
        sentences.append(f"The model's mean absolute error on figures it was not fitted to: {_listed(errors)}.")
    differences = [
        f"{network} {entry['difference']}"
        for network, entry in _families(_mapping(conditions, "validation"))
        if "difference" in entry
    ]
    if differences:
        sentences.append(f"The table's sums beside whole networks: {_listed(differences)} (details below).")
    words = validated(conditions)
    sentences.append(f"{words[0].upper()}{words[1:]}.")
    return Notice(prefix + _latency_headline(conditions, shares), tuple(sentences))


def _latency_headline(conditions: Mapping[str, Any], shares: Mapping[Source, float]) -> str:
    if "measured" not in _mapping(conditions, "sources") and not shares["measured"]:
        return "No figure of the latency table was measured by this project."
    if shares["published"] or shares["modelled"]:
        return "Latency is only partly measured by this project."
    return "Latency is from blocks that this project measured on the device."


def energy_notice(result: SearchResult) -> Notice | None:
    """What the energies rest on; None where no table states a power."""
    powers = {
        device: Power.model_validate(conditions["power"])
        for device, conditions in result.setting.tables.items()
        if conditions.get("power")
    }
    if not powers:
        return None
    clauses = [f"{device} draws {power.watts:.3g} W while it runs ({power.source})" for device, power in powers.items()]
    return Notice(
        "Energy is the device's power times the network's latency, not a measurement of each network.",
        (f"{'; '.join(clauses)}.", "It is assumed that every network draws the same power."),
    )


def battery_line(result: SearchResult, network: CostedNetwork) -> str:
    """How long the main device's battery lasts; empty where its table does not state the battery's capacity.

    Images from a full charge, and, where the search has a limit on frames a second (`limits.fps`), hours at that rate.
    """
    power_data = result.setting.device_conditions.get("power")
    power = Power.model_validate(power_data) if power_data else None
    if power is None or power.battery_wh is None:
        return ""
    images = inferences_per_charge(power.battery_wh, network.values["energy_mj"])
    words = f"{images:,.0f} images from a full battery of {power.battery_wh:g} Wh, one after the other"
    rate, latency_ms = result.setting.limits.get("fps"), network.latency.latency_ms
    if rate is None or power.idle_w is None or latency_ms * rate > 1000:
        return words
    return f"{words}; {battery_hours(power, latency_ms, rate):.3g} h at {rate:g} images a second"


def predictions_line(trials: Sequence[Trial], learned: str = TOP1) -> str:
    """How far the score (top-1) that the sampler expected was from what training gave, in a sentence."""
    errors = [(trial.network.learned - trial.predicted[0], trial.predicted[1]) for trial in trials if trial.predicted]
    mean = sum(abs(error) for error, _ in errors) / len(errors)
    within = sum(abs(error) <= 2 * std for error, std in errors)
    off = f"{mean:.1f} points" if learned == TOP1 else f"{mean:.1f}"
    return (
        f"Before each of {count(len(errors), 'training')} the sampler said what {label_of(learned)} it expected, and "
        f"how surely; bars are its standard deviations. It was off by {off} on average, and {within} of {len(errors)} "
        "came within two standard deviations (95 % would, if it judged itself rightly)."
    )


def accuracy_notice(result: SearchResult) -> Notice:
    """What top-1 means in this search, and how large its statistical error is."""
    if result.setting.learned != TOP1:
        return Notice(
            f"The score is that of the evaluator {result.setting.experiment.get('evaluator', '')}: it ranks "
            "candidates; it is no accuracy.",
            (f"It is of {result.setting.trained}.",),
        )
    headline = (
        f"Top-1 is of short training on {result.setting.dataset}: it ranks candidates; it is not ImageNet accuracy."
    )
    scores = [trial.network.score for trial in result.completed if trial.network.score]
    if not scores:
        return Notice(headline, ("No trial was completed.",))
    best = max(scores, key=lambda score: score.top1)
    error = standard_error(best)
    sentences = [
        f"It is counted on {count(best.val_images, 'validation image')}, so that a top-1 of {percent(best.top1)} has a "
        f"standard error of {error:.2g} points (binomial): differences of that size are noise.",
    ]
    if len(scores) > 1:
        sentences.append(
            f"The front holds the luckiest of {len(scores):,} trained networks on the same images, "
            "so that its top-1 is somewhat flattered; train a pick in full before relying on it."
        )
    others = [network.score for network in result.references if network.score]
    if not all(score.comparable(scores[0]) for score in [*scores, *others]):
        sentences.append("Not all of these scores were earned with the same budget on the same images: do not compare.")
    return Notice(headline, tuple(sentences))


def standard_error(score: Score) -> float:
    """The binomial standard error of a top-1, in points.

    With two successes and two failures added (Agresti and Coull, 1998), so that it is not 0 for a top-1 of 100 %.
    """
    images = score.val_images + 4
    part = (score.top1 / 100 * score.val_images + 2) / images
    return 100 * math.sqrt(part * (1 - part) / images)


def certainty_table(result: SearchResult) -> Table | None:
    """The scores of the front's members that were trained again; None where none was."""
    if not result.certainties:
        return None
    by_number = {trial.number: trial for trial in result.front}
    learned = result.setting.learned
    unit, points = quantity_of(learned).unit, " points" if learned == TOP1 else ""
    rows = tuple(
        (
            f"trial {number}",
            score_value(learned, by_number[number].network.learned),
            score_value(learned, certainty.mean),
            f"{certainty.low:.1f} to {certainty.high:.1f} {unit}".rstrip(),
            f"{certainty.std:.2g}{points}" + (" (all together)" if certainty.pooled else ""),
            str(certainty.scores),
            share(certainty.on_front),
        )
        for number, certainty in result.certainties.items()
    )
    columns = ("", "in the search", "mean", "95 % interval", "deviation of one", "new seeds", "on the front")
    return Table("Each member of the front trained again with new seeds.", columns, rows)


def provenance_tables(conditions: Mapping[str, Any], device: str = "") -> list[Table]:
    """How a latency table was checked: its agreement with whole networks, and its model's held-out errors.

    `device` begins the captions; it is given where there are several devices.
    """
    titles = {
        "Agreement with whole networks": _mapping(conditions, "validation"),
        "Cross-validation of the model": _mapping(conditions, "model", "cross_validated"),
    }
    prefix = f"{device}. " if device else ""
    return [_table(prefix + title, data) for title, data in titles.items() if _families(data)]


def conditions_line(conditions: Mapping[str, Any]) -> str:
    """The device and the conditions that its latencies hold for, in one line."""
    threads = str(conditions.get("threads", ""))
    words = [
        conditions.get("device"),
        conditions.get("soc"),
        conditions.get("cores"),
        f"{threads} thread{'' if threads == '1' else 's'}" if threads else "",
        conditions.get("runtime"),
        conditions.get("execution_provider"),
        conditions.get("precision"),
        conditions.get("date"),
    ]
    return " · ".join(str(word) for word in words if word)


def fates(result: SearchResult) -> list[Fate]:
    """The trials by status, with reasons; those that differ only in numbers are counted as one reason."""
    by_status = []
    for status in STATUSES:
        reasons = [trial.reason for trial in result.trials if trial.status == status]
        examples: dict[str, str] = {}
        for reason in filter(None, reasons):
            examples.setdefault(_NUMBER.sub("#", reason), reason)
        counts = Counter(_NUMBER.sub("#", reason) for reason in reasons if reason)
        common = [(examples[key], number) for key, number in counts.most_common(_MOST_REASONS)]
        if rest := sum(counts.values()) - sum(number for _, number in common):
            common.append(("other reasons", rest))
        if reasons:
            by_status.append(Fate(status, len(reasons), tuple(common)))
    return by_status


def _table(title: str, data: Mapping[str, Any]) -> Table:
    families = _families(data)
    columns = tuple(dict.fromkeys(key for _, entry in families for key in entry))
    rows = tuple((name, *(str(entry.get(column, "")) for column in columns)) for name, entry in families)
    caption = f"{title}: {data['protocol']}" if data.get("protocol") else title
    return Table(caption, ("", *(column.replace("_", " ") for column in columns)), rows)


def _families(data: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The entries that are mappings themselves, such as those of one network or one source."""
    return [(name, entry) for name, entry in data.items() if isinstance(entry, Mapping)]


def _mapping(data: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The mapping at `path`; an empty one where there is none."""
    for key in path:
        entry = data.get(key)
        data = entry if isinstance(entry, Mapping) else {}
    return data


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
