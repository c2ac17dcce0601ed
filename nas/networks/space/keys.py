"""The keys that a search space's file can have for each operator.

Plain tables, which can be imported without pydantic and the checks of format.py and values.py.
"""

from __future__ import annotations

from collections.abc import Mapping

LAYER_OPERATORS = ("conv", "max_pool", "pool", "linear")

_COMMON = frozenset({"op", "variants", "out", "depth", "scale", "per_block"})
SQUEEZE_KEYS = frozenset({"se", "se_of", "se_divisor", "gate", "se_act"})
_EXPANSION = frozenset({"expand", "hidden_divisor"})
_BRANCH = frozenset({"hidden", "hidden_divisor"})
# The keys of a stage that each operator uses, besides those that all use.
STAGE_OPERATORS: Mapping[str, frozenset[str]] = {
    "conv": frozenset({"kernel", "stride", "groups", "act"}),
    "ds_conv": frozenset({"kernel", "stride", "act"}) | SQUEEZE_KEYS,
    "mbconv": frozenset({"kernel", "stride", "act", "norm"}) | _EXPANSION | SQUEEZE_KEYS,
    "fused_mbconv": frozenset({"kernel", "stride", "groups", "act"}) | _EXPANSION | SQUEEZE_KEYS,
    "fbnet": frozenset({"kernel", "stride", "groups", "act"}) | _EXPANSION,
    "uib": frozenset({"start_kernel", "kernel", "stride", "act"}) | _EXPANSION,
    "shuffle_v1": frozenset({"kernel", "stride", "groups", "expand_groups", "act"}) | _BRANCH,
    "shuffle_v2": frozenset({"kernel", "stride", "act"}) | _BRANCH,
    "shuffle_xception": frozenset({"kernel", "stride", "act"}) | _BRANCH,
    "mixconv": frozenset({"kernel", "stride", "groups", "expand_groups", "act"}) | _EXPANSION | SQUEEZE_KEYS,
    "ghost": frozenset({"kernel", "stride", "act"}) | _EXPANSION | SQUEEZE_KEYS,
    "rep_ghost": frozenset({"kernel", "stride", "branches", "act"}) | _EXPANSION | SQUEEZE_KEYS,
    "mobile_one": frozenset({"kernel", "stride", "groups", "branches", "act"}) | SQUEEZE_KEYS,
    "mobile_vit": frozenset({"kernel", "transformer", "transformer_depth", "heads", "act"}) | _EXPANSION,
    "lite_mla": frozenset({"kernel", "transformer", "heads"}),
}
# The keys that can be chosen for each block, in the order of the parameters; a variant can set all but "variant".
BLOCK_KEYS = (
    "variant",
    "op",
    "start_kernel",
    "kernel",
    "expand",
    "hidden",
    "groups",
    "expand_groups",
    "branches",
    "transformer",
    "transformer_depth",
    "heads",
    "se",
    "act",
)
# Height and width of the images, in pixels.
LEAST_RESOLUTION, MOST_RESOLUTION = 8, 4096
