"""Model the latency of units that were not measured: a linear cost model fitted to published latencies.

latency = Σ coefficient · amount, with coefficients of at least 0. An amount is what the primitive operations of a unit
compute or move, such as million MACs. Rows of this model are `modelled`, never `measured`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.networks.operators import Primitive, Unit, operations_of, primitives

Array = NDArray[np.float64]
_MILLION = 1e6


@dataclass(frozen=True)
class PublishedSample:
    """A published latency of a block or of a whole network: latency = Σ units − Σ without.

    `without` is for a published difference between two networks. `group` is the source. Samples of one `family` are
    never split between fitting and checking. `scale_of` names the source whose scale the figure shares, where that is
    not `group`.
    """

    name: str
    group: str
    family: str
    units: tuple[Unit, ...]
    latency_ms: float
    without: tuple[Unit, ...] = ()
    scale_of: str = ""


@dataclass(frozen=True)
class Amount:
    """One term of the cost model: `of` gives its amount in a primitive operation, `unit` is that of its coefficient."""

    name: str
    unit: str
    of: Callable[[Primitive], float]


def _moved(p: Primitive) -> int:
    return p.in_elements + p.out_elements


# assumption: SiLU costs the same as h-swish. It may cost more: h-swish replaced it because a sigmoid is slow on phones
# (arXiv:1905.02244, section 5.2). No sample has SiLU.
_SWISHES = frozenset({"hswish", "silu"})

# assumption: tensors of more than 2 MB (500,000 float32) do not fit into a phone's caches, so moving them costs extra.
CACHE_ELEMENTS = 500_000

AMOUNTS: tuple[Amount, ...] = (
    # One coefficient for 1×1 convolutions, larger ones and linear layers: the only larger convolution of most networks
    # is the stem, which is too little to fit a coefficient of its own.
    Amount("conv_macs", "ms per million MACs", lambda p: p.macs * (p.kind == "conv") / _MILLION),
    Amount("depthwise_macs", "ms per million MACs", lambda p: p.macs * (p.kind == "depthwise") / _MILLION),
    Amount("depthwise_read", "ms per million elements", lambda p: p.in_elements * (p.kind == "depthwise") / _MILLION),
    Amount(
        "depthwise_written", "ms per million elements", lambda p: p.out_elements * (p.kind == "depthwise") / _MILLION
    ),
    Amount(
        "uncached_moved",
        "ms per million elements",
        lambda p: max(0, _moved(p) - CACHE_ELEMENTS) * (p.weights > 0) / _MILLION,
    ),
    Amount("squeezed", "ms per million elements", lambda p: p.in_elements * (p.kind in ("pool", "gate")) / _MILLION),
    Amount("hswish", "ms per million elements", lambda p: p.out_elements * (p.activation in _SWISHES) / _MILLION),
    Amount("operations", "ms each", lambda _: 1.0),
)


@dataclass(frozen=True)
class CostModel:
    """Coefficients of AMOUNTS; `scales` says how many times slower (above 1) the device or runtime of a source was.

    `operations` are the kinds of operations in the samples (`operations_of`). The model holds for no others.
    """

    coefficients: tuple[float, ...]
    scales: Mapping[str, float]
    operations: frozenset[str]

    def unknown_operations(self, unit: Unit) -> tuple[str, ...]:
        """The kinds of operations in the unit that no sample had, each once."""
        return tuple(name for name in operations_of([unit]) if name not in self.operations)

    def estimate_ms(self, units: Iterable[Unit]) -> float:
        """The modelled latency of `units` together, in milliseconds, at a scale of 1."""
        return float(amounts(units) @ np.array(self.coefficients))


@dataclass(frozen=True)
class FitError:
    """Errors of a model on `count` latencies that it was not fitted to, each error being model / published - 1.

    `bias` is the mean error, `mape` the mean absolute error, `worst` the largest absolute error.
    """

    count: int
    bias: float
    mape: float
    worst: float


def amounts(units: Iterable[Unit]) -> Array:
    """The totals of AMOUNTS over `units`."""
    row = np.zeros(len(AMOUNTS))
    for unit in units:
        for primitive in primitives(unit):
            row += [amount.of(primitive) for amount in AMOUNTS]
    return row


def fit_cost_model(
    samples: Sequence[PublishedSample],
    *,
    free: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
    rounds: int = 20,
) -> CostModel:
    """Fit the model with the least squared relative error.

    Every source counts the same, however many samples it has, times the square of its weight in `weights`. Sources in
    `free` may differ from the others by a constant factor, as for another runtime on the same device. Their factors and
    the coefficients are fitted in turns, `rounds` times.
    """
    return _fit(samples, _rows(samples), free, weights or {}, rounds)


def cross_validate(
    samples: Sequence[PublishedSample],
    *,
    free: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
    folds: int = 10,
) -> dict[str, FitError]:
    """The error of each source on held-out families; families are assigned to folds in the order of their names.

    Raises ValueError for fewer than two folds or families, and where a fold leaves a source without samples to fit.
    """
    rows = _rows(samples)
    families = sorted({sample.family for sample in samples})
    folds = min(folds, len(families))
    if folds < 2:
        raise ValueError("cross-validation needs at least two families and two folds")
    fold_of = {family: index % folds for index, family in enumerate(families)}
    fold = np.array([fold_of[sample.family] for sample in samples])
    ratios = np.zeros(len(samples))
    for held_out in range(folds):
        fitting = np.flatnonzero(fold != held_out).tolist()
        model = _fit([samples[i] for i in fitting], rows[fitting], free, weights or {}, rounds=20)
        for i in np.flatnonzero(fold == held_out).tolist():
            scale = model.scales.get(_scale_name(samples[i]), 1.0)
            ratios[i] = scale * (rows[i] @ np.array(model.coefficients)) / samples[i].latency_ms
    groups = np.array([sample.group for sample in samples])
    return {str(group): fit_error(ratios[groups == group]) for group in sorted(set(groups))}


def predict_without(
    samples: Sequence[PublishedSample],
    group: str,
    *,
    also: Sequence[str] = (),
    free: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
) -> Array:
    """Predict the latencies of source `group`, in milliseconds, by a model fitted without it and the sources in `also`.

    At a scale of 1: without the source its own scale cannot be fitted.
    """
    fitting = [sample for sample in samples if sample.group not in (group, *also)]
    model = fit_cost_model(fitting, free=free, weights=weights)
    return np.array([model.estimate_ms(sample.units) for sample in samples if sample.group == group])


def fit_error(ratios: Array) -> FitError:
    """The errors of predictions, from the ratios predicted / published."""
    error = ratios - 1
    return FitError(len(error), float(error.mean()), float(np.abs(error).mean()), float(np.abs(error).max()))


def _rows(samples: Sequence[PublishedSample]) -> Array:
    return np.array([amounts(sample.units) - amounts(sample.without) for sample in samples])


def _fit(
    samples: Sequence[PublishedSample], rows: Array, free: Sequence[str], weights: Mapping[str, float], rounds: int
) -> CostModel:
    # Imported here: estimates by a fitted model do not need it.
    from scipy.optimize import nnls

    groups = np.array([sample.group for sample in samples])
    if not set(free) <= set(groups):
        raise ValueError(f"no sample fits the scale of {', '.join(sorted(set(free) - set(groups)))}")
    published = np.array([sample.latency_ms for sample in samples])
    importance = np.array([weights.get(group, 1.0) / np.sqrt((groups == group).sum()) for group in groups])
    scales = dict.fromkeys(free, 1.0)
    for _ in range(rounds if free else 1):
        target = published / np.array([scales.get(_scale_name(sample), 1.0) for sample in samples])
        weight = importance / target
        coefficients, _ = nnls(rows * weight[:, None], target * weight)
        for group in free:
            inside = groups == group
            scales[group] = float(np.exp(np.mean(np.log(published[inside] / (rows[inside] @ coefficients)))))
    operations = {name for sample in samples for name in operations_of(sample.units)}
    return CostModel(tuple(_short(value) for value in coefficients), scales, frozenset(operations))


def _short(value: float) -> float:
    """`value` with ten significant digits: more than a fit is accurate to, and the same on every machine."""
    return float(f"{value:.10g}")


def _scale_name(sample: PublishedSample) -> str:
    return sample.scale_of or sample.group
