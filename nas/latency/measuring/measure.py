"""How is a latency table measured?

Every unit of a space is timed in ONNX Runtime, interleaved with whole networks: some to fit the calibration of the sum
by, the others to check the table by. All raw samples stay in the folder of the measurement (results.jsonl).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from nas.errors import NasError
from nas.latency.measuring import agreement, runner
from nas.latency.measuring.agreement import (
    LatencyAgreement,
    compare,
    fit_calibration,
    network_latencies,
    timed_networks,
    unit_latencies,
    unit_sums,
)
from nas.latency.measuring.kit import EMPTY, SENTINEL, KitModel, RunSettings, write_kit, write_runner
from nas.latency.measuring.plan import LEAST_FIT, Network, Plan, load_plan, save_plan
from nas.latency.measuring.samples import Results
from nas.latency.table import Calibration, Citation, LatencyTable, Row, TableFormat
from nas.latency.verdict import PASSED
from nas.networks.architecture import Block
from nas.networks.operators import Unit

KIT, RESULTS, PLAN = "kit", "results.jsonl", "plan.json"
# What a table must keep on networks that it was not fitted to.
MOST_MAPE = 0.05
LEAST_SPEARMAN = 0.97
# Two measurements of the same networks, half as long each, that differ by so much tell of a machine that was busy.
MOST_NOISE = 0.05

# What every kit holds besides what is measured, to watch the machine by.
WATCHES = {
    SENTINEL: Unit(Block("conv", 64, 3, activation="relu"), 64, 28, 28),
    EMPTY: Unit(Block("pool"), 1, 1, 1),
}


def prepare(plan: Plan, settings: RunSettings, folder: Path, say: Callable[[int, int], None] = lambda *_: None) -> str:
    """Write the kit and the plan of a measurement into `folder`, unless they are there; returns the kit's identity.

    A kit that is damaged is written again, as it was. Raises NasError where the folder holds another measurement,
    naming what differs.
    """
    from nas.latency.measuring.onnx_models import unit_model

    if (folder / PLAN).exists():
        there = _prepared(plan, settings, folder)
        if there is not None:
            return there
        shutil.rmtree(folder / KIT, ignore_errors=True)  # ours: the plan is written once there is a kit
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(network.name, network.units) for network in plan.networks]
    wanted += [(unit.key, (unit,)) for unit in plan.units]

    def models() -> Iterator[KitModel]:
        # These two watch the machine, whatever the precision.
        for name, unit in WATCHES.items():
            yield unit_model(name, (unit,))
        for number, (name, row) in enumerate(wanted, start=1):
            yield unit_model(name, row, settings.precision)
            say(number, len(wanted))

    identity = write_kit(models(), settings, folder / KIT)
    save_plan(plan, folder / PLAN)
    return identity


def _prepared(plan: Plan, settings: RunSettings, folder: Path) -> str | None:
    """The identity of the kit that is there, which must be the one that is wanted; None where it is damaged."""
    try:
        manifest = runner.read_manifest(folder / KIT)
    except runner.KitError:
        return None
    there = {"settings": manifest["settings"], "plan": load_plan(folder / PLAN).to_json()}
    here = {"settings": json.loads(json.dumps(asdict(settings))), "plan": plan.to_json()}
    for part in ("settings", "plan"):
        unlike = runner.differences(there[part], here[part], part)
        if unlike:
            words = unlike if part == "settings" else "other units or networks"
            raise NasError(f"{folder} holds another measurement: {words}. Delete it, or give another --work.")
    try:
        runner.check_models(folder / KIT, manifest)
    except runner.KitError:
        return None
    write_runner(folder / KIT)
    return str(manifest["kit"])


def keep_carried(carried: Path, folder: Path) -> None:
    """Put results that were carried here beside their plan, where all raw samples stay.

    Raises NasError where others are there, which nothing may overwrite.
    """
    kept, content = folder / RESULTS, carried.read_bytes()
    there = kept.read_bytes() if kept.exists() else b""
    # What is there may be the beginning of the same run.
    if not content.startswith(there.rstrip(b"\n")):
        raise NasError(f"{kept} holds other samples than {carried}: move it away, or give another --work")
    if there != content:
        kept.write_bytes(content)


def build_table(name: str, plan: Plan, results: Results, device: dict[str, Any]) -> LatencyTable:
    """The table that a measurement gives, calibrated and validated.

    `device` holds what only the user knows: device, soc, power and what else of TableFormat is to be written. Raises
    NasError where nothing was measured of the networks to fit by.
    """
    latency_ms = unit_latencies(plan, results)
    fitting = _fitting(plan, results, latency_ms)
    calibration = fit_calibration(unit_sums(fitting, latency_ms), network_latencies(fitting, results.timings))
    rows = {
        key: Row(ms, results.timings[key].spread_ms(), len(results.timings[key].ms), "measured")
        for key, ms in latency_ms.items()
    }
    conditions = TableFormat(
        **{
            "device": name,
            **_conditions(plan, results),
            **device,
            "calibration": calibration,
            "validation": validation(plan, results, latency_ms, calibration),
        }
    )
    return LatencyTable(name, conditions, rows)


def validation(plan: Plan, results: Results, latency_ms: dict[str, float], calibration: Calibration) -> dict[str, Any]:
    """How the calibrated sums agree with networks that nothing was fitted to, beside the noise of measuring."""
    held_out = timed_networks(plan, results, latency_ms, "held out")
    if not held_out:
        return {"verdict": "not validated: no network was measured whole"}
    found = held_out_agreement(plan, results, latency_ms, calibration)
    noise = noise_floor(plan, results)
    data: dict[str, Any] = {
        "verdict": verdict(found, noise),
        "protocol": "networks drawn evenly over the space's range of MACs, timed whole in the same run, none of them "
        "fitted to; the noise is the same networks' latencies in one half of the run's visits against the other",
        "held out": found.to_json(),
        "noise": noise.to_json(),
        "range_ms": _range_ms(held_out, results),
    }
    references = timed_networks(plan, results, latency_ms, "reference")
    if references:
        ours, theirs = (
            _calibrated(calibration, unit_sums(references, latency_ms)),
            network_latencies(references, results.timings),
        )
        data["references"] = compare(ours, theirs).to_json()
        for network, table_ms, measured_ms in zip(references, ours, theirs, strict=True):
            data[network.name] = {
                "measured_ms": round(float(measured_ms), 3),
                "table_ms": round(float(table_ms), 3),
                "difference": f"{table_ms / measured_ms - 1:+.1%}",
                "checked": _checked(measured_ms, data["range_ms"]),
            }
    return data


def _range_ms(networks: Sequence[Network], results: Results) -> list[float]:
    """The least and the most that these networks took."""
    latencies = network_latencies(networks, results.timings)
    return [round(float(latencies.min()), 3), round(float(latencies.max()), 3)]


def _checked(latency_ms: float, range_ms: Sequence[float]) -> str:
    """Whether a network is as large as those that the calibration was made for and checked by.

    A small one runs from caches that a large one does not fit into, so that beyond them its error is another.
    """
    inside = range_ms[0] <= latency_ms <= range_ms[1]
    return "within the range" if inside else f"outside the range of {range_ms[0]:g} to {range_ms[1]:g} ms"


def validate(table: LatencyTable, plan: Plan, results: Results) -> LatencyTable:
    """`table` with the verdict of another run, on the networks of `plan`; nothing is fitted.

    Raises NasError where the runs' conditions differ, naming them, and where a unit of a network has no row.
    """
    unlike = runner.differences(
        {**table.conditions.measurement.get("settings", {}), "onnxruntime": table.conditions.runtime_version},
        {**results.header["settings"], "onnxruntime": results.header["machine"]["onnxruntime"]},
    )
    if unlike:
        raise NasError(f"the table {table.name} was measured under other conditions: {unlike}")
    table.require(unit for network in plan.networks for unit in network.units)
    latency_ms = {key: row.latency_ms for key, row in table.rows.items()}
    checked = validation(plan, results, latency_ms, table.conditions.calibration)
    checked["protocol"] = f"another run, on {time.strftime('%Y-%m-%d')}: {checked['protocol']}"
    return replace(table, conditions=table.conditions.model_copy(update={"validation": checked}))


def held_out_agreement(
    plan: Plan, results: Results, latency_ms: dict[str, float], calibration: Calibration
) -> LatencyAgreement:
    """The calibrated sums beside the networks that nothing was fitted to."""
    networks = timed_networks(plan, results, latency_ms, "held out")
    return compare(
        _calibrated(calibration, unit_sums(networks, latency_ms)), network_latencies(networks, results.timings)
    )


def noise_floor(plan: Plan, results: Results) -> LatencyAgreement:
    """The same networks measured twice: in every other visit."""
    networks = [n for n in plan.networks if all(n.name in half for half in results.halves)]
    return compare(*(network_latencies(networks, half) for half in results.halves))


def verdict(found: LatencyAgreement, noise: LatencyAgreement) -> str:
    """Whether a table is good enough to rely on, in words that begin with passed or FAILED."""
    problems = []
    if found.mape > MOST_MAPE:
        problems.append(f"the mean error is {found.mape:.1%}, more than {MOST_MAPE:.0%}")
    if not found.spearman >= LEAST_SPEARMAN:
        problems.append(f"the rank correlation is {found.spearman:.3f}, less than {LEAST_SPEARMAN}")
    if noise.mape > MOST_NOISE:
        problems.append(
            f"two measurements of one network differ by {noise.mape:.1%}: the machine was busy; close other programs, "
            "fix the clock rate (governor performance), or give more passes"
        )
    return f"FAILED: {'; '.join(problems)}" if problems else PASSED


def compare_protocols(plan: Plan, results: Results) -> dict[str, tuple[float, Calibration, LatencyAgreement]]:
    """By way of timing a unit: the mean of sum / network before calibration, the calibration, and the agreement."""
    compared = {}
    for protocol in agreement.PROTOCOLS:
        latency_ms = unit_latencies(plan, results, protocol)
        fitting = _fitting(plan, results, latency_ms)
        sums = unit_sums(fitting, latency_ms)
        whole = network_latencies(fitting, results.timings)
        calibration = fit_calibration(sums, whole)
        found = held_out_agreement(plan, results, latency_ms, calibration)
        compared[protocol] = (float((sums / whole).mean()), calibration, found)
    return compared


def compare_calibrations(plan: Plan, results: Results) -> dict[str, LatencyAgreement]:
    """By form of the calibration: the agreement on the networks that nothing was fitted to, units timed as they are."""
    latency_ms = unit_latencies(plan, results)
    fitting, held_out = _fitting(plan, results, latency_ms), timed_networks(plan, results, latency_ms, "held out")
    whole = network_latencies(held_out, results.timings)
    return {
        name: compare(agreement.calibrated_otherwise(name, fitting, held_out, results, latency_ms), whole)
        for name in agreement.CALIBRATIONS
    }


def _fitting(plan: Plan, results: Results, latency_ms: dict[str, float]) -> list[Network]:
    """The networks to fit by. Raises NasError for fewer than a calibration needs."""
    found = timed_networks(plan, results, latency_ms, "fit")
    if len(found) < LEAST_FIT:
        raise NasError(
            f"the calibration needs at least {LEAST_FIT} networks to fit by, but {len(found)} were measured whole"
        )
    return found


def _calibrated(calibration: Calibration, sums: Any) -> Any:
    return calibration.offset_ms + calibration.scale * sums


def _conditions(plan: Plan, results: Results) -> dict[str, Any]:
    machine, settings = results.header["machine"], results.header["settings"]
    cores = settings["cores"]
    return {
        "soc": machine["processor"],
        "cores": f"bound to {', '.join(map(str, cores))} of {machine['cores']}" if cores else f"{machine['cores']}",
        "threads": str(settings["threads"]),
        "governor": results.header["governor"],
        "runtime": "ONNX Runtime",
        "runtime_version": machine["onnxruntime"],
        "execution_provider": settings["provider"],
        "precision": settings["precision"],
        "date": time.strftime("%Y-%m-%d"),
        "protocol": (
            f"{agreement.PROTOCOL}: the lower decile of {settings['passes']} x {settings['rounds']} samples, "
            f"interleaved over {settings['group_size']} models, {settings['runs']} runs each; an empty run took "
            f"{results.overhead_ms * 1000:.1f} us; graph optimisation {settings['graph_optimization']}; "
            f"{results.disturbed} of {results.visits} visits disturbed, the sentinel drifted by {results.drift:.1%}, "
            f"{results.paused_s:.0f} s paused; {machine['system']}, Python {machine['python']}; kit "
            f"{results.header['kit']} of {plan.space}"
        ),
        "measurement": {
            "space": plan.space,
            "resolutions": list(plan.resolutions),
            "settings": dict(settings),
            "session": _session(plan, results),
        },
        "sources": {
            "measured": (
                Citation(
                    title=f"measured with nas.latency measure --space {plan.space}",
                    url="",
                    licence="of who measured it",
                    use="all rows, and the calibration",
                ),
            )
        },
    }


def _session(plan: Plan, results: Results) -> dict[str, Any]:
    """What a session costs besides its runs: made once, before the first of them."""
    loads = [results.timings[network.name].load_ms for network in plan.networks if network.name in results.timings]
    peak = results.peak_rss_bytes
    return {
        "load_ms": {"median": round(median(loads), 1), "least": round(min(loads), 1), "most": round(max(loads), 1)},
        "empty_run_ms": round(results.overhead_ms, 4),
        "peak_rss_mb": round(peak / 1e6, 1) if peak else "unknown",
        "models_at_once": min(results.header["settings"]["group_size"], len(results.timings)),
    }
