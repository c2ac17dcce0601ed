"""How does a table get rows for units that nobody timed, from its own cost model?

The rows are `modelled` and say so. A table that was measured models them by its measured rows. Another without a model
is not extended, and a unit with an operation of a kind that the model was never fitted to (attention, for a model of
convolutions) is refused, not guessed.
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


def with_modelled(table: LatencyTable, wanted: Iterable[Unit]) -> LatencyTable:
    """`table` with a modelled row for each of `wanted` that it has none for; the rows that it has stay.

    Raises NasError, naming units and reasons, where the table has no model, or the model knows nothing about a unit or
    gives no latency above 0 for it.
    """
    by_key = {unit.key: unit for unit in wanted}
    missing = {key: by_key[key] for key in table.missing(by_key.values())}
    if not missing:
        return table
    if table.conditions.model is None and table.conditions.measurement:
        return with_estimated(table, measured_model_of(table), missing.values())
    model = cost_model_of(table)
    _refuse_unknown(table.name, model, list(missing.values()))
    modelled = {key: Row(_modelled_ms(table.name, model, unit), source="modelled") for key, unit in missing.items()}
    return replace(table, rows={**table.rows, **modelled})


def cost_model_of(table: LatencyTable) -> CostModel:
    """The model that a table's modelled rows were made by. Raises NasError where it has none that is known here."""
    stored = table.conditions.model
    if stored is None:
        raise NasError(
            f"the latency table {table.name} has no cost model to extend it by: its rows can only be measured, or made "
            "anew as latency_tables/README.md says"
        )
    wanted = {amount.name: amount.unit for amount in AMOUNTS}
    got = {name: coefficient.unit for name, coefficient in stored.coefficients.items()}
    if got != wanted:
        odd = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
        raise NasError(
            f"the cost model of the latency table {table.name} must have the coefficients {', '.join(wanted)}, but "
            f"differs in {', '.join(odd)}. Make the table again (latency_tables/README.md)."
        )
    if "modelled" not in table.conditions.sources:
        raise NasError(f"the latency table {table.name} must say under 'sources' what its modelled rows rest on")
    coefficients = tuple(stored.coefficients[amount.name].value for amount in AMOUNTS)
    return CostModel(coefficients, stored.scale_of_source, frozenset(stored.operations))


def _modelled_ms(name: str, model: CostModel, unit: Unit) -> float:
    latency_ms = model.estimate_ms([unit])
    if not latency_ms > 0:
        raise NasError(
            f"the cost model of the latency table {name} must give latencies above 0, but gives {latency_ms:g} ms for "
            f"{unit.key}: all that it has a coefficient above 0 for is 0 in this unit"
        )
    return latency_ms


def _refuse_unknown(name: str, model: CostModel, wanted: Sequence[Unit]) -> None:
    unknown = {unit.key: model.unknown_operations(unit) for unit in wanted}
    refused = [f"{key} ({', '.join(kinds)})" for key, kinds in unknown.items() if kinds]
    if refused:
        known = ", ".join(sorted(model.operations))
        more = f" and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
        raise NasError(
            f"the cost model of the latency table {name} cannot tell what {len(refused)} "
            f"{'unit costs' if len(refused) == 1 else 'units cost'}, because nothing that it was fitted to has the "
            f"operations in brackets: {', '.join(refused[:_MOST_NAMED])}{more}. It knows {known}."
        )
