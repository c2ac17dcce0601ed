"""Add `modelled` rows to a table for units that were not timed; refuse units that its model was not fitted to.

A table of published figures uses the cost model in its .yaml. A measured table fits a model to its measured rows. Any
other table cannot be extended. A unit with an operation that no sample of the model had is an error: attention, for
example, where the model was fitted to convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nas.errors import NasError
from nas.latency.modelling.cost_model import AMOUNTS, CostModel
from nas.latency.modelling.measured_model import measured_model_of, with_estimated
from nas.latency.table import LatencyTable, Row
from nas.networks.operators import Unit

_MOST_NAMED = 5


def with_modelled(table: LatencyTable, units: Iterable[Unit]) -> LatencyTable:
    """`table` with a modelled row for each of `units` that it lacks; existing rows stay as they are.

    Raises NasError, naming units and reasons, where the table has no model, where a unit has an operation that the
    model was not fitted to, and where the model gives no latency above 0.
    """
    by_key = {unit.key: unit for unit in units}
    missing_units = {key: by_key[key] for key in table.missing(by_key.values())}
    if not missing_units:
        return table
    if table.conditions.model is None and table.conditions.measurement:
        return with_estimated(table, measured_model_of(table), missing_units.values())
    model = cost_model_of(table)
    _refuse_unknown_operations(table.name, model, list(missing_units.values()))
    modelled_rows = {
        key: Row(_modelled_ms(table.name, model, unit), source="modelled") for key, unit in missing_units.items()
    }
    return replace(table, rows={**table.rows, **modelled_rows})


def cost_model_of(table: LatencyTable) -> CostModel:
    """The cost model in a table's .yaml. Raises NasError where there is none, or one with other coefficients."""
    stored = table.conditions.model
    if stored is None:
        raise NasError(
            f"the latency table {table.name} has no cost model to extend it by: measure the missing units, or make the "
            "table anew (latency_tables/README.md)"
        )
    expected_units = {amount.name: amount.unit for amount in AMOUNTS}
    stored_units = {name: coefficient.unit for name, coefficient in stored.coefficients.items()}
    if stored_units != expected_units:
        names = expected_units.keys() | stored_units.keys()
        differing = sorted(name for name in names if expected_units.get(name) != stored_units.get(name))
        raise NasError(
            f"the cost model of the latency table {table.name} must have the coefficients {', '.join(expected_units)}, "
            f"but differs in {', '.join(differing)}. Make the table again (latency_tables/README.md)."
        )
    if "modelled" not in table.conditions.sources:
        raise NasError(
            f"the .yaml of the latency table {table.name} must name the sources of its modelled rows under "
            "'sources: modelled'"
        )
    coefficients = tuple(stored.coefficients[amount.name].value for amount in AMOUNTS)
    return CostModel(coefficients, stored.scale_of_source, frozenset(stored.operations))


def _modelled_ms(name: str, model: CostModel, unit: Unit) -> float:
    latency_ms = model.estimate_ms([unit])
    if not latency_ms > 0:
        raise NasError(
            f"the cost model of the latency table {name} must give latencies above 0, but gives {latency_ms:g} ms for "
            f"{unit.key}: every amount with a coefficient above 0 is 0 in this unit"
        )
    return latency_ms


def _refuse_unknown_operations(name: str, model: CostModel, units: Sequence[Unit]) -> None:
    unknown = {unit.key: model.unknown_operations(unit) for unit in units}
    refused = [f"{key} ({', '.join(kinds)})" for key, kinds in unknown.items() if kinds]
    if refused:
        fitted = ", ".join(sorted(model.operations))
        more = f" and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
        raise NasError(
            f"the cost model of the latency table {name} cannot tell the latency of {len(refused)} "
            f"{'unit' if len(refused) == 1 else 'units'}, because it was not fitted to the operations in brackets: "
            f"{', '.join(refused[:_MOST_NAMED])}{more}. It was fitted to {fitted}."
        )
