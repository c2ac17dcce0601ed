"""What did a run of a kit measure?"""

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

# Other programs only ever make a run slower, so its latency on a machine left alone is at the lower end of its samples.
# The fastest of all would be the sample of one lucky moment. `compare_protocols` has the comparison with the median.
PERCENTILE = 10.0

# So many visits of a group are kept, however slow the machine was in them.
_LEAST_VISITS = 2


@dataclass(frozen=True)
class Timing:
    """All samples of a model in milliseconds: (samples, runs), the runs of a sample being right after one another."""

    ms: Array
    load_ms: float

    def latency_ms(self, run: int = -1, percentile: float = PERCENTILE) -> float:
        """A percentile of the first (0) or the last (-1) runs: by default what they take on a machine left alone."""
        return float(np.percentile(self.ms[:, run], percentile))

    def spread_ms(self, run: int = -1) -> float:
        """How far the median lies above the latency: little on a machine that was left alone."""
        return self.latency_ms(run, 50) - self.latency_ms(run)


@dataclass(frozen=True)
class Results:
    """The samples of a run by model, the models that failed and why, and how steady the machine was.

    `halves` are the same samples apart: those of every other visit of a group. `disturbed` visits, in which the machine
    was slow, are left out. `drift` is how much slower the sentinel was in the worst visit than in the best.
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
        """What a run takes that computes next to nothing: the cost of calling ONNX Runtime."""
        return self.timings[EMPTY].latency_ms() if EMPTY in self.timings else 0.0


def read_results(path: Path, kit: str) -> Results:
    """The results in the file at `path`, which must be of the kit with the identity `kit`.

    Visits in which the machine was slow are left out, but for the two quietest of a group, whose samples are made
    shorter by as much as the sentinel was slow. Raises NasError for a file that is damaged, has no samples, is not
    finished, or is of another kit.
    """
    try:
        lines = runner.read_lines(path)
    except OSError as error:
        raise NasError(f"cannot read the results in {path}: {error}") from error
    except runner.KitError as error:
        raise NasError(str(error)) from error
    if not lines:
        raise NasError(f"{path} is empty: run the kit again, and give what it writes")
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
    groups = _kept(levels, quiet)
    best = min(levels.values())
    slowness = {name: 1.0 if name in quiet else levels[name] / best for name in levels}
    by_name = {visit["visit"]: visit for visit in visits}
    first, second = (_timings([by_name[n] for kept in groups for n in kept[half::2]], slowness) for half in (0, 1))
    return Results(
        header=header,
        timings=_timings([by_name[name] for kept in groups for name in kept], slowness),
        halves=(first, second),
        failed={name: why for visit in visits for name, why in visit["failed"].items()},
        visits=len(visits),
        disturbed=len(levels) - len(quiet),
        drift=max(levels.values()) / best - 1,
        paused_s=float(sum(visit["paused_s"] for visit in visits)),
        peak_rss_bytes=next((line["peak_rss_bytes"] for line in reversed(lines) if "peak_rss_bytes" in line), None),
    )


def _kept(levels: Mapping[str, float], quiet: Collection[str]) -> list[list[str]]:
    """For each group its quiet visits, or its two quietest, in the order in which they were made."""
    groups: dict[str, list[str]] = {}
    for name in levels:
        groups.setdefault(name.split(".")[1], []).append(name)
    kept = []
    for names in groups.values():
        quietest = sorted(names, key=lambda name: levels[name])[:_LEAST_VISITS]
        kept.append([name for name in names if name in quiet or name in quietest])
    return kept


def _timings(visits: Sequence[Mapping[str, Any]], slowness: Mapping[str, float]) -> dict[str, Timing]:
    samples: dict[str, list[Array]] = {}
    loads: dict[str, list[float]] = {}
    for visit in visits:
        for name, nanoseconds in visit["samples_ns"].items():
            samples.setdefault(name, []).append(np.array(nanoseconds, float) / 1e6 / slowness[visit["visit"]])
            loads.setdefault(name, []).append(visit["load_ms"][name])
    return {name: Timing(np.concatenate(samples[name]), float(np.median(loads[name]))) for name in samples}
