"""The operations of a network and their costs: parameters, MACs, memory. No torch.

A network is a sequence of `Unit`s: a block with its input shape. Latency tables have a row for each unit, because
runtimes fuse operations inside a block. A unit is a small graph of `Primitive`s: single convolutions, poolings,
products. All costs are integer arithmetic on them.

A new operator is a function in one of the files of this folder, a row in `OPERATIONS` (trace.py) and in `OPERATORS`
(architecture.py), and a torch module in `nas.networks.blocks`.
"""

from nas.networks.operators.costs import (
    FLOAT_BYTES,
    PRECISIONS,
    Costs,
    DetailedCosts,
    estimate_costs,
    total_costs,
    unit_costs,
)
from nas.networks.operators.graph import Primitive
from nas.networks.operators.unit import INPUT_CHANNELS, Unit, operations_of, parse_unit, primitives, units

__all__ = [
    "FLOAT_BYTES",
    "INPUT_CHANNELS",
    "PRECISIONS",
    "Costs",
    "DetailedCosts",
    "Primitive",
    "Unit",
    "estimate_costs",
    "operations_of",
    "parse_unit",
    "primitives",
    "total_costs",
    "unit_costs",
    "units",
]
