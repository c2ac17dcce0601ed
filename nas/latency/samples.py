"""What did a run of a kit measure?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.latency import runner
from nas.latency.kit import EMPTY

Array = NDArray[np.float64]

# Other programs only ever make a run slower, so its latency on a machine left alone is at the lower end of its samples.
# The fastest of all would be the sample of one lucky moment. `compare_protocols` has the comparison with the median.
PERCENTILE = 10.0

# A visit whose sentinel took so much longer than in the best one was disturbed.
DISTURBED = 1.15
# So many visits of a model are kept even so.
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

    `halves` are the same samples apart: those of the first and of the second half of the passes.
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

    Visits in which the machine was disturbed are left out where at least two others saw the same models. Raises
    NasError for a file that is damaged, has no samples, is not finished, or is of another kit.
    """
    try:
        lines = runner.read_lines(path)
    except (OSError, runner.KitError) as error:
        raise NasError(f"cannot read the results in {path}: {error}") from error
    if not lines or lines[0].get("format") != runner.FORMAT:
        raise NasError(f"{path} holds no results of a kit")
    header, visits = lines[0], [line for line in lines[1:] if "visit" in line]
    if header["kit"] != kit:
        raise NasError(f"{path} holds results of the kit {header['kit']}, not of this one ({kit})")
    sentinels = np.array([np.median(visit["sentinel_ns"]) for visit in visits])
    if not len(sentinels):
        raise NasError(f"{path} holds no samples yet: run the kit again, it goes on where it stopped")
    if "peak_rss_bytes" not in lines[-1]:
        raise NasError(f"{path} is not finished ({len(visits)} visits): run the kit again, it goes on where it stopped")
    disturbed = sentinels > DISTURBED * sentinels.min()
    half = header["settings"]["passes"] / 2
    late = np.array([int(visit["visit"].split(".")[0]) >= half for visit in visits])
    everything = _timings(visits, disturbed)
    return Results(
        header=header,
        timings=everything,
        halves=(_timings(_chosen(visits, ~late), disturbed[~late]), _timings(_chosen(visits, late), disturbed[late])),
        failed={name: why for visit in visits for name, why in visit["failed"].items()},
        visits=len(visits),
        disturbed=int(disturbed.sum()),
        drift=float(sentinels.max() / sentinels.min() - 1),
        paused_s=float(sum(visit["paused_s"] for visit in visits)),
        peak_rss_bytes=next((line["peak_rss_bytes"] for line in reversed(lines) if "peak_rss_bytes" in line), None),
    )


def _chosen(visits: list[dict[str, Any]], which: NDArray[np.bool_]) -> list[dict[str, Any]]:
    return [visit for visit, chosen in zip(visits, which, strict=True) if chosen]


def _timings(visits: list[dict[str, Any]], disturbed: NDArray[np.bool_]) -> dict[str, Timing]:
    quiet: dict[str, list[Array]] = {}
    other: dict[str, list[Array]] = {}
    loads: dict[str, list[float]] = {}
    for visit, noisy in zip(visits, disturbed, strict=True):
        for name, samples in visit["samples_ns"].items():
            (other if noisy else quiet).setdefault(name, []).append(np.array(samples, float) / 1e6)
            loads.setdefault(name, []).append(visit["load_ms"][name])
    found = {}
    for name in loads:
        kept = quiet.get(name, [])
        if len(kept) < _LEAST_VISITS:
            kept = kept + other.get(name, [])
        found[name] = Timing(np.concatenate(kept), float(np.median(loads[name])))
    return found
