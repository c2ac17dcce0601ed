"""Model the latency of units that were not timed on a device, from the measured rows of its table.

latency = linear cost model (cost_model.py) · correction. The cost model is fitted to the measured rows. The correction
is the ratio measured / model of the units of the same kind, which differ in their channels alone. It is a Gaussian
process in the logarithms of the channels (Rasmussen and Williams, 2006, section 2.2): close to a measured unit it
follows that unit, and far from all of them it approaches 1.

Channels are rounded up to whole blocks, because ONNX Runtime computes whole blocks: of 16 channels with AVX-512, for
example. The block size is the one that fits the rows best.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.latency.modelling.cost_model import AMOUNTS, FitError, fit_error
from nas.latency.table import Citation, LatencyTable, Row
from nas.networks.architecture import Block
from nas.networks.operators import INPUT_CHANNELS, Primitive, Unit, operations_of, parse_unit, primitives

Array = NDArray[np.float64]
UnitKind = tuple[object, ...]

BLOCKS = (1, 4, 8, 16)
# Fields of a Block that units of one kind may differ in. Groups are compared by the operations instead.
_CHANNELS = frozenset({"out_channels", "hidden_channels", "se_channels", "groups"})
# Three rows for each coefficient: fewer are too few to fit a model to.
_LEAST_ROWS = 3 * len(AMOUNTS)
# _DEPARTURE: standard deviation of log(measured / model) within a kind (0.2: about 20 %). _REACH: length scale of the
# Gaussian process in logarithms of channels. _NOISE: relative error of a row. Chosen by `cross_validate` on two
# measured tables; the error hardly changes around these values.
_DEPARTURE, _REACH, _NOISE = 0.2, 2.0, 0.03
_MODELLED = Citation(
    title="a model of the measured rows (nas/latency/modelling/measured_model.py)",
    url="",
    licence="of who measured them",
    use="rows of units that were not timed",
)


@dataclass(frozen=True, eq=False)
class MeasuredModel:
    """A model of measured units. `coefficients` are those of AMOUNTS, with channels rounded up to blocks of `block`."""

    units: tuple[Unit, ...]
    latencies_ms: Array
    block: int
    coefficients: Array

    @cached_property
    def operations(self) -> frozenset[str]:
        """The kinds of operations in the measured units."""
        return frozenset(operations_of(self.units))

    def estimate_ms(self, unit: Unit) -> float:
        """The latency of one unit in milliseconds; above 0 where the linear cost model gives more than 0."""
        modelled = float(_amounts(unit, self.block) @ self.coefficients)
        correction = self._corrections.get(_unit_kind(unit))
        if correction is None:
            return modelled
        places, weights = correction
        return modelled * float(np.exp(_covariance(_place(unit, self.block)[None], places)[0] @ weights))

    @cached_property
    def _corrections(self) -> dict[UnitKind, tuple[Array, Array]]:
        """The Gaussian process of each kind: the places of its measured units (units, 3), and the weight of each."""
        rows = np.array([_amounts(unit, self.block) for unit in self.units])
        departures = np.log(self.latencies_ms / np.maximum(rows @ self.coefficients, 1e-9))
        members: dict[UnitKind, list[int]] = {}
        for index, unit in enumerate(self.units):
            members.setdefault(_unit_kind(unit), []).append(index)
        corrections: dict[UnitKind, tuple[Array, Array]] = {}
        for kind, indices in members.items():
            places = np.array([_place(self.units[index], self.block) for index in indices])
            noisy = _covariance(places, places) + _NOISE**2 * np.eye(len(indices))
            corrections[kind] = places, np.asarray(np.linalg.solve(noisy, departures[indices]), np.float64)
        return corrections


def fit_measured_model(latency_ms: Mapping[str, float]) -> MeasuredModel:
    """Fit the model to measured rows: latencies in milliseconds by unit key. Raises NasError for too few rows."""
    if len(latency_ms) < _LEAST_ROWS:
        raise NasError(f"a model needs at least {_LEAST_ROWS} measured rows, but there are {len(latency_ms)}")
    units = tuple(parse_unit(key) for key in latency_ms)
    latencies = np.array(list(latency_ms.values()))
    return min((_fit(units, latencies, block) for block in BLOCKS), key=lambda fitted: fitted[1])[0]


def measured_model_of(table: LatencyTable) -> MeasuredModel:
    """The model fitted to a table's measured rows. Fitted models are cached."""
    return _fitted(tuple((key, row.latency_ms) for key, row in table.rows.items() if row.source == "measured"))


def cross_validate(latency_ms: Mapping[str, float], folds: int = 10) -> FitError:
    """The error of the model on held-out rows. Units of the same input and output shape are held out together.

    The model is thus tested on widths that no unit of the kind was measured with.
    """
    block = fit_measured_model(latency_ms).block
    units = tuple(parse_unit(key) for key in latency_ms)
    latencies = np.array(list(latency_ms.values()))
    ends = [(u.block.op, u.height, u.width, u.in_channels, u.out_channels) for u in units]
    numbers = {end: number for number, end in enumerate(sorted(set(ends)))}
    fold = np.array([numbers[end] % folds for end in ends])
    ratios = np.ones(len(units))
    for held_out in range(folds):
        fitting = np.flatnonzero(fold != held_out).tolist()
        model, _ = _fit(tuple(units[i] for i in fitting), latencies[fitting], block)
        for i in np.flatnonzero(fold == held_out).tolist():
            ratios[i] = model.estimate_ms(units[i]) / latencies[i]
    return fit_error(ratios)


def with_estimated(table: LatencyTable, model: MeasuredModel, units: Iterable[Unit]) -> LatencyTable:
    """`table` with a `modelled` row for each of `units` that it lacks.

    Raises NasError for an operation that no measured unit has.
    """
    missing_units = {unit.key: unit for unit in units if unit.key not in table.rows}
    for key, unit in missing_units.items():
        unknown = sorted(set(operations_of([unit])) - model.operations)
        if unknown:
            raise NasError(
                f"the measured rows of the latency table {table.name} cannot tell the latency of {key}, because none "
                f"of them has {', '.join(unknown)}. They have {', '.join(sorted(model.operations))}."
            )
    if not missing_units:
        return table
    rows = {key: Row(model.estimate_ms(unit), source="modelled") for key, unit in missing_units.items()}
    sources = {"modelled": (_MODELLED,), **table.conditions.sources}
    return replace(
        table, rows={**table.rows, **rows}, conditions=table.conditions.model_copy(update={"sources": sources})
    )


@lru_cache(maxsize=8)
def _fitted(rows: tuple[tuple[str, float], ...]) -> MeasuredModel:
    return fit_measured_model(dict(rows))


def _fit(units: Sequence[Unit], latencies_ms: Array, block: int) -> tuple[MeasuredModel, float]:
    """The model with channels in blocks of `block`, and its squared relative error."""
    # Imported here: reading a table does not need it.
    from scipy.optimize import nnls

    rows = np.array([_amounts(unit, block) for unit in units]) / latencies_ms[:, None]
    coefficients, residual = nnls(rows, np.ones(len(units)))
    return MeasuredModel(tuple(units), latencies_ms, block, coefficients), float(residual)


@lru_cache(maxsize=50_000)
def _amounts(unit: Unit, block: int) -> Array:
    """The totals of AMOUNTS, with channels rounded up to whole blocks. Cached, because each fit needs them again."""
    whole = [_in_blocks(primitive, block) for primitive in primitives(unit)]
    return np.array([sum(map(amount.of, whole)) for amount in AMOUNTS])


def _in_blocks(primitive: Primitive, block: int) -> Primitive:
    """`primitive` with its channels rounded up to whole blocks, except those of an image."""
    if block == 1:
        return primitive
    in_channels, out_channels = _whole(primitive.in_channels, block), _whole(primitive.out_channels, block)
    groups = in_channels if primitive.kind == "depthwise" else primitive.groups
    return replace(primitive, in_channels=in_channels, out_channels=out_channels, groups=groups)


def _whole(channels: int, block: int) -> int:
    return channels if channels == INPUT_CHANNELS else -(-channels // block) * block


def _unit_kind(unit: Unit) -> UnitKind:
    """Equal for units that differ in their channels alone."""
    same = tuple(getattr(unit.block, field.name) for field in fields(Block) if field.name not in _CHANNELS)
    return *same, unit.block.se_channels > 0, unit.height, unit.width


def _place(unit: Unit, block: int) -> Array:
    widths = (unit.in_channels, unit.block.hidden_channels, unit.out_channels)
    return np.log([max(1, _whole(width, block)) for width in widths])


def _covariance(places: Array, other_places: Array) -> Array:
    squares = ((places[:, None] - other_places[None]) ** 2).sum(axis=-1)
    return np.asarray(_DEPARTURE**2 * np.exp(-squares / (2 * _REACH**2)))
