"""Read the raw samples that a run of a kit has measured, leaving out visits in which the machine was slow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.latency.measuring import runner
from nas.latency.measuring.kit import EMPTY

Array = NDArray[np.float64]

# Other programs can only make a run slower, so the latency on an idle machine is near the lower end of the samples. The
# minimum would depend on a single sample. `compare_protocols` compares this percentile with the median.
PERCENTILE = 10.0

# At least this many visits of a group are used, however slow the machine was in them.
_LEAST_VISITS = 2


@dataclass(frozen=True)
class Timing:
    """All samples of a model in milliseconds (samples, runs); the runs of a sample are consecutive."""

    ms: Array
    load_ms: float

    def latency_ms(self, run: int = -1, percentile: float = PERCENTILE) -> float:
        """A percentile of the first (0) or the last (-1) runs: by default the latency on an idle machine."""
        return float(np.percentile(self.ms[:, run], percentile))

    def spread_ms(self, run: int = -1) -> float:
        """The median less the latency: small where the machine was idle."""
        return self.latency_ms(run, 50) - self.latency_ms(run)


@dataclass(frozen=True)
class Results:
    """The samples of a run by model, the models that failed with the reason, and how steady the machine was.

    `halves` are the same samples in two parts: the even and the odd visits of each group. `disturbed` is the number of
    visits in which the machine was slow; they are left out. `drift` is how much slower the sentinel was in the worst
    visit than in the best, as a share.
    """

    header: Mapping[str, Any]
    timings: Mapping[str, Timing]
    halves: tuple[Mapping[str, Timing], Mapping[str, Timing]]
    failed: Mapping[str, str]
    visits: int
    disturbed: int
    drift: float
    paused_s: float
    peak_rss_bytes: int | None

    @property
    def overhead_ms(self) -> float:
        """The latency of an empty run, which is the cost of calling ONNX Runtime."""
        return self.timings[EMPTY].latency_ms() if EMPTY in self.timings else 0.0


def read_results(path: Path, kit: str) -> Results:
    """Read the results in the file at `path`, which must be of the kit with the identity `kit`.

    Visits in which the machine was slow are left out, except for the two quietest of a group. The samples of those are
    divided by how many times slower the sentinel was than at its best. Raises NasError for a file that is damaged, has
    no samples, is not finished, or is of another kit.
    """
    try:
        lines = runner.read_lines(path)
    except OSError as error:
        raise NasError(f"cannot read the results in {path}: {error}") from error
    except runner.KitError as error:
        raise NasError(str(error)) from error
    if not lines:
        raise NasError(f"{path} is empty: run the kit again, and give the file that it writes")
    header, visits = lines[0], [line for line in lines[1:] if "visit" in line]
    if header["format"] != runner.FORMAT:
        raise NasError(f"results must be of format {runner.FORMAT}, but {path} is of format {header['format']}")
    if header["kit"] != kit:
        raise NasError(f"{path} holds results of the kit {header['kit']}, not of this one ({kit})")
    if not visits:
        raise NasError(f"{path} holds no samples yet: run the kit again, it goes on where it stopped")
    if "peak_rss_bytes" not in lines[-1]:
        raise NasError(f"{path} is not finished ({len(visits)} visits): run the kit again, it goes on where it stopped")
    levels = {visit["visit"]: runner.level(visit) for visit in visits}
    quiet = set(runner.quiet_visits(levels, header["settings"]["quiet_share"]))
    groups = _visits_to_use(levels, quiet)
    best = min(levels.values())
    slowness = {name: 1.0 if name in quiet else levels[name] / best for name in levels}
    by_name = {visit["visit"]: visit for visit in visits}
    first, second = (_timings([by_name[n] for group in groups for n in group[half::2]], slowness) for half in (0, 1))
    return Results(
        header=header,
        timings=_timings([by_name[name] for group in groups for name in group], slowness),
        halves=(first, second),
        failed={name: why for visit in visits for name, why in visit["failed"].items()},
        visits=len(visits),
        disturbed=len(levels) - len(quiet),
        drift=max(levels.values()) / best - 1,
        paused_s=float(sum(visit["paused_s"] for visit in visits)),
        peak_rss_bytes=next((line["peak_rss_bytes"] for line in reversed(lines) if "peak_rss_bytes" in line), None),
    )


def _visits_to_use(levels: Mapping[str, float], quiet: Collection[str]) -> list[list[str]]:
    """For each group its quiet visits, and always its two quietest, in the order in which they were made."""
    groups: dict[str, list[str]] = {}
    for name in levels:
        groups.setdefault(name.split(".")[1], []).append(name)
    used = []
    for names in groups.values():
        quietest = sorted(names, key=lambda name: levels[name])[:_LEAST_VISITS]
        used.append([name for name in names if name in quiet or name in quietest])
    return used


def _timings(visits: Sequence[Mapping[str, Any]], slowness: Mapping[str, float]) -> dict[str, Timing]:
    samples: dict[str, list[Array]] = {}
    loads: dict[str, list[float]] = {}
    for visit in visits:
        for name, nanoseconds in visit["samples_ns"].items():
            samples.setdefault(name, []).append(np.array(nanoseconds, float) / 1e6 / slowness[visit["visit"]])
            loads.setdefault(name, []).append(visit["load_ms"][name])
    return {name: Timing(np.concatenate(samples[name]), float(np.median(loads[name]))) for name in samples}
