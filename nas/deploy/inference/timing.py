"""Time models side by side.

Every round runs each of them, in another order, so that a machine that gets warmer or busier slows all of them alike:
ratios are right to about a percent, where timing one model after the other can be wrong by ten.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

DEFAULT_RUNS = 100
_WARMUP = 5


@dataclass(frozen=True)
class Times:
    """Milliseconds of single runs, in the order in which they were made."""

    samples_ms: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of all runs."""
        return float(np.mean(self.samples_ms))

    @property
    def median(self) -> float:
        """The median of all runs."""
        return self.percentile(50)

    @property
    def least(self) -> float:
        """The fastest run."""
        return min(self.samples_ms)

    @property
    def most(self) -> float:
        """The slowest run."""
        return max(self.samples_ms)

    def percentile(self, share: float) -> float:
        """The time that `share` percent of the runs kept within."""
        return float(np.percentile(self.samples_ms, share))

    def to_json(self) -> dict[str, float | int]:
        """The figures that a benchmark's columns show."""
        return {
            "runs": len(self.samples_ms),
            "mean_ms": self.mean,
            "p50_ms": self.median,
            "p90_ms": self.percentile(90),
            "p99_ms": self.percentile(99),
            "min_ms": self.least,
            "max_ms": self.most,
        }


def measure_interleaved(
    models: Mapping[str, Callable[[], object]],
    *,
    runs: int = DEFAULT_RUNS,
    seed: int = 0,
    on_round: Callable[[int, int], None] | None = None,
) -> dict[str, Times]:
    """The times of `runs` runs of each model, in rounds; calling a value of `models` runs it once.

    A round runs each model twice and keeps the second time: the first run finds the caches as another model left them,
    which does not happen in a stream of frames.
    """
    for run in models.values():
        for _ in range(_WARMUP):
            run()
    samples: dict[str, list[float]] = {name: [] for name in models}
    order, rng = list(models), random.Random(seed)
    for number in range(runs):
        rng.shuffle(order)
        for name in order:
            models[name]()
            samples[name].append(_once(models[name]))
        if on_round is not None:
            on_round(number + 1, runs)
    return {name: Times(tuple(samples_ms)) for name, samples_ms in samples.items()}


def ratio_of(times: Times, base: Times) -> float:
    """A model's time / that of `base`: the median of the ratios of all rounds, which must be the same for both."""
    pairs = zip(times.samples_ms, base.samples_ms, strict=True)
    return float(np.median([one / other for one, other in pairs]))


def _once(run: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - began) / 1e6
