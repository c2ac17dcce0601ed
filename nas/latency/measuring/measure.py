"""Measure a latency table: prepare the kit, build the table from the results, and validate it on whole networks.

Every unit of a space is timed in ONNX Runtime, interleaved with whole networks. Some of the networks calibrate the sum
of units, the others check the table. All raw samples are kept in the folder of the measurement (results.jsonl).
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
from nas.files import write_bytes
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
# Limits that a table must meet on held-out networks to pass.
MOST_MAPE = 0.05
LEAST_SPEARMAN = 0.97
# Largest mean difference between the two halves of a run, measured on the same networks. More means a busy machine.
MOST_NOISE = 0.05

# Models that every kit also holds: the sentinel, which notices a slow machine, and an empty run.
WATCHES = {
    SENTINEL: Unit(Block("conv", 64, 3, activation="relu"), 64, 28, 28),
    EMPTY: Unit(Block("pool"), 1, 1, 1),
}


def prepare(plan: Plan, settings: RunSettings, folder: Path, say: Callable[[int, int], None] = lambda *_: None) -> str:
    """Write the kit and the plan of a measurement into `folder`, unless they exist; returns the kit's identity.

    `say` is called with the number of models exported, and their number in all. A damaged kit is written again. Raises
    NasError, naming what differs, where the folder holds another measurement.
    """
    from nas.latency.measuring.onnx_models import unit_model

    if (folder / PLAN).exists():
        existing_kit = _prepared_kit(plan, settings, folder)
        if existing_kit is not None:
            return existing_kit
        shutil.rmtree(folder / KIT, ignore_errors=True)  # safe: a plan is only ever written after its kit
    folder.mkdir(parents=True, exist_ok=True)
    units_by_name = [(network.name, network.units) for network in plan.networks]
    units_by_name += [(unit.key, (unit,)) for unit in plan.units]

    def models() -> Iterator[KitModel]:
        # These are float32, whatever the precision of the others.
        for name, unit in WATCHES.items():
            yield unit_model(name, (unit,))
        for number, (name, units) in enumerate(units_by_name, start=1):
            yield unit_model(name, units, settings.precision)
            say(number, len(units_by_name))

    identity = write_kit(models(), settings, folder / KIT)
    save_plan(plan, folder / PLAN)
    return identity


def _prepared_kit(plan: Plan, settings: RunSettings, folder: Path) -> str | None:
    """The identity of the kit in `folder`; None where it is damaged. Raises NasError for another measurement's kit."""
    try:
        manifest = runner.read_manifest(folder / KIT)
    except runner.KitError:
        return None
    existing = {"settings": manifest["settings"], "plan": load_plan(folder / PLAN).to_json()}
    new = {"settings": json.loads(json.dumps(asdict(settings))), "plan": plan.to_json()}
    for part in ("settings", "plan"):
        unlike = runner.differences(existing[part], new[part], part)
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
    """Copy results that were carried here into the folder of their measurement, where all raw samples are kept.

    Raises NasError where the folder holds other results, which are never overwritten.
    """
    kept, content = folder / RESULTS, carried.read_bytes()
    there = kept.read_bytes() if kept.exists() else b""
    # The folder may hold the beginning of the same run.
    if not content.startswith(there.rstrip(b"\n")):
        raise NasError(f"{kept} holds other samples than {carried}: move it away, or give another --work")
    if there != content:
        write_bytes(kept, content)


def build_table(name: str, plan: Plan, results: Results, device: dict[str, Any]) -> LatencyTable:
    """Make the table of a measurement, calibrated and validated.

    `device` holds conditions that only the user knows: device, soc, power and other fields of TableFormat. Raises
    NasError where too few networks were measured to fit the calibration.
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
    """The agreement of the calibrated sums with held-out networks, and the noise of the measurement, for the .yaml."""
    held_out = timed_networks(plan, results, latency_ms, "held out")
    if not held_out:
        return {"verdict": "not validated: no network was measured whole"}
    held_out_result = held_out_agreement(plan, results, latency_ms, calibration)
    noise = noise_floor(plan, results)
    data: dict[str, Any] = {
        "verdict": verdict(held_out_result, noise),
        "protocol": "networks drawn evenly over the space's range of MACs, timed whole in the same run, none of them "
        "fitted to; the noise is the same networks' latencies in one half of the run's visits against the other",
        "held out": held_out_result.to_json(),
        "noise": noise.to_json(),
        "range_ms": _range_ms(held_out, results),
    }
    references = timed_networks(plan, results, latency_ms, "reference")
    if references:
        sums_ms = _calibrated(calibration, unit_sums(references, latency_ms))
        latencies_ms = network_latencies(references, results.timings)
        data["references"] = compare(sums_ms, latencies_ms).to_json()
        for network, table_ms, measured_ms in zip(references, sums_ms, latencies_ms, strict=True):
            data[network.name] = {
                "measured_ms": round(float(measured_ms), 3),
                "table_ms": round(float(table_ms), 3),
                "difference": f"{table_ms / measured_ms - 1:+.1%}",
                "checked": _checked(measured_ms, data["range_ms"]),
            }
    return data


def _range_ms(networks: Sequence[Network], results: Results) -> list[float]:
    """The lowest and the highest latency of these networks."""
    latencies = network_latencies(networks, results.timings)
    return [round(float(latencies.min()), 3), round(float(latencies.max()), 3)]


def _checked(latency_ms: float, range_ms: Sequence[float]) -> str:
    """Whether the latency of a network is within the range of the networks that the calibration was checked on.

    Outside of this range the error is unknown: small networks fit into caches that larger ones do not fit into.
    """
    inside = range_ms[0] <= latency_ms <= range_ms[1]
    return "within the range" if inside else f"outside the range of {range_ms[0]:g} to {range_ms[1]:g} ms"


def validate(table: LatencyTable, plan: Plan, results: Results) -> LatencyTable:
    """`table` with the validation by another run, on the networks of `plan`. Nothing is fitted.

    Raises NasError, naming them, where the conditions of the two runs differ, and where a unit of a network has no row.
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
    """The agreement of the calibrated sums with the held-out networks."""
    networks = timed_networks(plan, results, latency_ms, "held out")
    sums_ms = _calibrated(calibration, unit_sums(networks, latency_ms))
    return compare(sums_ms, network_latencies(networks, results.timings))


def noise_floor(plan: Plan, results: Results) -> LatencyAgreement:
    """The agreement of the two halves of a run on the same networks: its even visits and its odd visits."""
    networks = [n for n in plan.networks if all(n.name in half for half in results.halves)]
    return compare(*(network_latencies(networks, half) for half in results.halves))


def verdict(held_out: LatencyAgreement, noise: LatencyAgreement) -> str:
    """Whether a table meets the limits on held-out networks: `passed`, or FAILED with the reasons."""
    problems = []
    if held_out.mape > MOST_MAPE:
        problems.append(f"the mean error is {held_out.mape:.1%}, more than {MOST_MAPE:.0%}")
    if not held_out.spearman >= LEAST_SPEARMAN:
        problems.append(f"the rank correlation is {held_out.spearman:.3f}, less than {LEAST_SPEARMAN}")
    if noise.mape > MOST_NOISE:
        problems.append(
            f"two measurements of one network differ by {noise.mape:.1%}: the machine was busy; close other programs, "
            "fix the clock rate (governor performance), or give more passes"
        )
    return f"FAILED: {'; '.join(problems)}" if problems else PASSED


def compare_protocols(plan: Plan, results: Results) -> dict[str, tuple[float, Calibration, LatencyAgreement]]:
    """For each of PROTOCOLS: the mean of sum / network before calibration, the calibration, and the agreement."""
    compared = {}
    for protocol in agreement.PROTOCOLS:
        latency_ms = unit_latencies(plan, results, protocol)
        fitting = _fitting(plan, results, latency_ms)
        sums = unit_sums(fitting, latency_ms)
        whole = network_latencies(fitting, results.timings)
        calibration = fit_calibration(sums, whole)
        held_out = held_out_agreement(plan, results, latency_ms, calibration)
        compared[protocol] = (float((sums / whole).mean()), calibration, held_out)
    return compared


def compare_calibrations(plan: Plan, results: Results) -> dict[str, LatencyAgreement]:
    """For each of CALIBRATIONS: the agreement on held-out networks, with units timed by the usual protocol."""
    latency_ms = unit_latencies(plan, results)
    fitting, held_out = _fitting(plan, results, latency_ms), timed_networks(plan, results, latency_ms, "held out")
    whole = network_latencies(held_out, results.timings)
    return {
        name: compare(agreement.calibrated_otherwise(name, fitting, held_out, results, latency_ms), whole)
        for name in agreement.CALIBRATIONS
    }


def _fitting(plan: Plan, results: Results, latency_ms: dict[str, float]) -> list[Network]:
    """The measured networks that the calibration is fitted to. Raises NasError for fewer than LEAST_FIT."""
    networks = timed_networks(plan, results, latency_ms, "fit")
    if len(networks) < LEAST_FIT:
        raise NasError(
            f"the calibration needs at least {LEAST_FIT} networks to fit by, but {len(networks)} were measured whole"
        )
    return networks


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
    """The costs of a session besides its runs: loading the model, calling ONNX Runtime, and memory."""
    loads = [results.timings[network.name].load_ms for network in plan.networks if network.name in results.timings]
    peak = results.peak_rss_bytes
    return {
        "load_ms": {"median": round(median(loads), 1), "least": round(min(loads), 1), "most": round(max(loads), 1)},
        "empty_run_ms": round(results.overhead_ms, 4),
        "peak_rss_mb": round(peak / 1e6, 1) if peak else "unknown",
        "models_at_once": min(results.header["settings"]["group_size"], len(results.timings)),
    }
