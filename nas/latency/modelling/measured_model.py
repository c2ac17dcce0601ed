"""What would a unit cost that was not timed, on a device on which many units like it were?

The rows of a table that was measured are the samples. A unit's latency is that of the linear cost model (cost_model.py)
fitted to them, times what the measured units of its kind, with other channels, take over what the model says of them.
That ratio is a Gaussian process in the logarithms of the channels (Rasmussen and Williams, 2006, section 2.2), so that
a unit that hardly differs from a measured one takes hardly longer or shorter, and one far from all takes what the model
says.

Channels count as the runtime computes them: ONNX Runtime keeps them in blocks, of 16 with AVX-512, and computes whole
blocks. Which block a device has, the rows tell.
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
Kind = tuple[object, ...]

BLOCKS = (1, 4, 8, 16)
# What of a block its channels decide; groups are told apart by the operations.
_CHANNELS = frozenset({"out_channels", "hidden_channels", "se_channels", "groups"})
# With fewer rows than this for each coefficient there is nothing to tell a model from.
_LEAST_ROWS = 3 * len(AMOUNTS)
# How far units of a kind are from the model (0.2: some 20 %), over how many e-folds of channels that changes, and how
# exact a row is. Chosen by `cross_validate` on two tables that were measured here, flat around these values.
_DEPARTURE, _REACH, _NOISE = 0.2, 2.0, 0.03
_MODELLED = Citation(
    title="a model of the measured rows (nas/latency/modelling/measured_model.py)",
    url="",
    licence="of who measured them",
    use="rows of units that were not timed",
)


@dataclass(frozen=True, eq=False)
class MeasuredModel:
    """A cost model of measured units. `coefficients` are those of AMOUNTS for channels in whole blocks of `block`."""

    units: tuple[Unit, ...]
    latencies_ms: Array
    block: int
    coefficients: Array

    @cached_property
    def operations(self) -> frozenset[str]:
        """The kinds of operations that were measured."""
        return frozenset(operations_of(self.units))

    def estimate_ms(self, unit: Unit) -> float:
        """The latency of one unit in milliseconds, above 0 wherever the model's amounts are."""
        modelled = float(_amounts(unit, self.block) @ self.coefficients)
        alike = self._alike.get(_kind(unit))
        if alike is None:
            return modelled
        places, weights = alike
        return modelled * float(np.exp(_covariance(_place(unit, self.block)[None], places)[0] @ weights))

    @cached_property
    def _alike(self) -> dict[Kind, tuple[Array, Array]]:
        """By kind, where its measured units are, and how much each counts."""
        rows = np.array([_amounts(unit, self.block) for unit in self.units])
        departures = np.log(self.latencies_ms / np.maximum(rows @ self.coefficients, 1e-9))
        members: dict[Kind, list[int]] = {}
        for index, unit in enumerate(self.units):
            members.setdefault(_kind(unit), []).append(index)
        alike: dict[Kind, tuple[Array, Array]] = {}
        for kind, indices in members.items():
            places = np.array([_place(self.units[index], self.block) for index in indices])
            noisy = _covariance(places, places) + _NOISE**2 * np.eye(len(indices))
            alike[kind] = places, np.asarray(np.linalg.solve(noisy, departures[indices]), np.float64)
        return alike


def fit_measured_model(latency_ms: Mapping[str, float]) -> MeasuredModel:
    """The model of measured rows, given by the keys of their units. Raises NasError for too few of them."""
    if len(latency_ms) < _LEAST_ROWS:
        raise NasError(f"a model needs at least {_LEAST_ROWS} measured rows, but there are {len(latency_ms)}")
    units = tuple(parse_unit(key) for key in latency_ms)
    latencies = np.array(list(latency_ms.values()))
    return min((_fit(units, latencies, block) for block in BLOCKS), key=lambda fitted: fitted[1])[0]


def measured_model_of(table: LatencyTable) -> MeasuredModel:
    """The model of a table's measured rows; fitted once, however often it is asked for."""
    return _fitted(tuple((key, row.latency_ms) for key, row in table.rows.items() if row.source == "measured"))


def cross_validate(latency_ms: Mapping[str, float], folds: int = 10) -> FitError:
    """How far modelled rows are from measured ones: all units with the same input and output are held out together.

    So widths are judged that were measured in no unit of the kind.
    """
    block = fit_measured_model(latency_ms).block
    units = tuple(parse_unit(key) for key in latency_ms)
    latencies = np.array(list(latency_ms.values()))
    ends = [(u.block.op, u.height, u.width, u.in_channels, u.out_channels) for u in units]
    numbers = {end: number for number, end in enumerate(sorted(set(ends)))}
    fold = np.array([numbers[end] % folds for end in ends])
    ratios = np.ones(len(units))
    for held_out in range(folds):
        kept = np.flatnonzero(fold != held_out).tolist()
        model, _ = _fit(tuple(units[i] for i in kept), latencies[kept], block)
        for i in np.flatnonzero(fold == held_out).tolist():
            ratios[i] = model.estimate_ms(units[i]) / latencies[i]
    return fit_error(ratios)


def with_estimated(table: LatencyTable, model: MeasuredModel, wanted: Iterable[Unit]) -> LatencyTable:
    """`table` with a row for each of `wanted` that it has none for, which is `modelled` and says so.

    Raises NasError for an operation that no measured unit has.
    """
    missing = {unit.key: unit for unit in wanted if unit.key not in table.rows}
    for key, unit in missing.items():
        unknown = sorted(set(operations_of([unit])) - model.operations)
        if unknown:
            raise NasError(
                f"the rows of the latency table {table.name} cannot tell what {key} costs, because none of them has "
                f"{', '.join(unknown)}. They have {', '.join(sorted(model.operations))}."
            )
    if not missing:
        return table
    rows = {key: Row(model.estimate_ms(unit), source="modelled") for key, unit in missing.items()}
    sources = {"modelled": (_MODELLED,), **table.conditions.sources}
    return replace(
        table, rows={**table.rows, **rows}, conditions=table.conditions.model_copy(update={"sources": sources})
    )


@lru_cache(maxsize=8)
def _fitted(rows: tuple[tuple[str, float], ...]) -> MeasuredModel:
    return fit_measured_model(dict(rows))


def _fit(units: Sequence[Unit], latencies_ms: Array, block: int) -> tuple[MeasuredModel, float]:
    """The model for blocks of so many channels, and its squared relative error."""
    # Imported here: a table is read without it.
    from scipy.optimize import nnls

    rows = np.array([_amounts(unit, block) for unit in units]) / latencies_ms[:, None]
    coefficients, residual = nnls(rows, np.ones(len(units)))
    return MeasuredModel(tuple(units), latencies_ms, block, coefficients), float(residual)


@lru_cache(maxsize=50_000)
def _amounts(unit: Unit, block: int) -> Array:
    """The totals of AMOUNTS, channels filled up to whole blocks. Kept, because fits and checks want them again."""
    whole = [_in_blocks(primitive, block) for primitive in primitives(unit)]
    return np.array([sum(map(amount.of, whole)) for amount in AMOUNTS])


def _in_blocks(primitive: Primitive, block: int) -> Primitive:
    """`primitive` with its channels filled up to whole blocks; an image keeps its own."""
    if block == 1:
        return primitive
    given, made = (_whole(channels, block) for channels in (primitive.in_channels, primitive.out_channels))
    groups = given if primitive.kind == "depthwise" else primitive.groups
    return replace(primitive, in_channels=given, out_channels=made, groups=groups)


def _whole(channels: int, block: int) -> int:
    return channels if channels == INPUT_CHANNELS else -(-channels // block) * block


def _kind(unit: Unit) -> Kind:
    """What units have in common that differ in their channels alone."""
    same = tuple(getattr(unit.block, field.name) for field in fields(Block) if field.name not in _CHANNELS)
    return *same, unit.block.se_channels > 0, unit.height, unit.width


def _place(unit: Unit, block: int) -> Array:
    widths = (unit.in_channels, unit.block.hidden_channels, unit.out_channels)
    return np.log([max(1, _whole(width, block)) for width in widths])


def _covariance(ours: Array, theirs: Array) -> Array:
    squares = ((ours[:, None] - theirs[None]) ** 2).sum(axis=-1)
    return np.asarray(_DEPARTURE**2 * np.exp(-squares / (2 * _REACH**2)))
