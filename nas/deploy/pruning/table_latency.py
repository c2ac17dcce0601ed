"""The latency by a table of many networks that differ in a few blocks, quickly."""

from __future__ import annotations

import hashlib
import json

from nas.latency.modelling.extend import with_modelled
from nas.latency.table import LatencyTable
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import units


class TableLatency:
    """The latency of networks, as they are deployed, by a table; units without a row are modelled.

    Each unit is looked up or modelled once.
    """

    def __init__(self, table: LatencyTable) -> None:
        self.table = table
        self._by_key: dict[str, float] = {}

    @property
    def identity(self) -> str:
        """The table's name, and a hash of all that its latencies depend on: rows, calibration and cost model."""
        conditions = self.table.conditions
        facts = [
            sorted((key, row.latency_ms) for key, row in self.table.rows.items()),
            conditions.calibration.model_dump(mode="json", exclude={"held_out_error"}),
            conditions.model and conditions.model.model_dump(mode="json", exclude={"cross_validated"}),
        ]
        digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8)
        return f"{self.table.name} {digest.hexdigest()}"

    def __call__(self, architecture: Architecture) -> float:
        """Milliseconds. Raises NasError where the table has neither rows nor a cost model for a unit."""
        rows = units(deployed(architecture))
        missing = [unit for unit in rows if unit.key not in self._by_key]
        if missing:
            extended = with_modelled(self.table, missing)
            self._by_key |= {unit.key: extended.unit_latency_ms(unit) for unit in missing}
        calibration = self.table.conditions.calibration
        return calibration.offset_ms + calibration.scale * sum(self._by_key[unit.key] for unit in rows)
