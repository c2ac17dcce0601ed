"""Turn the settings of a stage or layer into a `Block`, with channels scaled and rounded.

`STAGE_OPERATORS` lists the settings of each operator, and `nas.networks.operators` what the operators compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.networks.architecture import Block
from nas.networks.operators.ghost import without_unused_kernel
from nas.networks.scaling import make_divisible
from nas.networks.space.format import LayerFormat, StageFormat
from nas.networks.space.keys import STAGE_OPERATORS

Choice = int | float | str


@dataclass(frozen=True)
class Draft:
    """A block of `stage` before it is built: its settings by the stage's keys, and its input. `first`: of its stage."""

    stage: StageFormat
    settings: Mapping[str, Any]
    width: float
    divisor: int
    in_channels: int
    first: bool

    @property
    def out_channels(self) -> int:
        """`out` scaled by the width."""
        return scaled(self.settings["out"], self.width, self.divisor, self.stage.scale)

    @property
    def stride(self) -> int:
        """The stage's stride for its first block, else 1."""
        return self.stage.stride if self.first else 1

    @property
    def expanded_channels(self) -> int:
        """The input's channels times `expand`."""
        return self._hidden(self.in_channels, self.settings["expand"])

    @property
    def transformer_hidden_channels(self) -> int:
        """The transformer's channels times `expand`."""
        return self._hidden(self.settings["transformer"], self.settings["expand"])

    @property
    def expand_groups(self) -> int:
        """Groups of the first 1×1: by default those of the last one."""
        return int(self.settings["expand_groups"] or self.settings["groups"])

    def branch_channels(self, usual: float) -> int:
        """The output's channels times `hidden`, or times `usual` where it is not set."""
        return self._hidden(self.out_channels, self.settings["hidden"] or usual)

    def squeezed(self, channels: int) -> dict[str, Any]:
        """The fields of a squeeze-and-excitation that scales `channels`; none if the block has none.

        Its squeezed channels are a share of `channels` or of the block's input channels, rounded: MobileNetV3 takes a
        quarter of the hidden channels, EfficientNet of the input's.
        """
        share = self.settings["se"]
        if not share:
            return {}
        of = channels if self.stage.se_of == "expanded" else self.in_channels
        return {
            "se_channels": make_divisible(of * share, self.stage.se_divisor or self.divisor),
            "se_gate": self.stage.gate,
            # A block spells relu, the default, as an empty text.
            "se_activation": "" if self.stage.se_act == "relu" else self.stage.se_act,
        }

    def _hidden(self, channels: int, factor: float) -> int:
        return channels if factor == 1 else make_divisible(channels * factor, self.stage.hidden_divisor or self.divisor)


_FIELDS = {
    "act": "activation",
    "branches": "branches",
    "groups": "groups",
    "heads": "heads",
    "kernel": "kernel_size",
    "start_kernel": "start_kernel_size",
    "transformer": "transformer_channels",
    "transformer_depth": "transformer_depth",
}


# Default of `hidden`, the hidden channels as a share of the output's, from the papers (ShuffleNetV1, section 3.2: a
# quarter).
_USUAL_BRANCH = {"shuffle_v1": 0.25, "shuffle_v2": 0.5, "shuffle_xception": 0.5}


def build_block(draft: Draft) -> Block:
    """The block that a draft describes. Raises NasError for settings that do not fit together."""
    op = draft.settings["op"]
    keys = STAGE_OPERATORS[op]
    fields: dict[str, Any] = {field: draft.settings[key] for key, field in _FIELDS.items() if key in keys}
    if "stride" in keys:
        fields["stride"] = draft.stride
    if "transformer" in keys and "expand" in keys:
        fields["hidden_channels"] = draft.transformer_hidden_channels
    elif "expand" in keys:
        fields["hidden_channels"] = draft.expanded_channels
    elif "hidden" in keys:
        fields["hidden_channels"] = draft.branch_channels(_USUAL_BRANCH[op])
    if "expand_groups" in keys:
        # A block without expansion has no first 1×1.
        expands = "expand" not in keys or draft.expanded_channels != draft.in_channels
        fields["expand_groups"] = draft.expand_groups if expands else 1
    if "norm" in keys:
        fields["norm"] = "last" if draft.stage.norm == "last" else ""
    if "se" in keys:
        fields |= draft.squeezed(_squeezed_channels(draft, fields))
    return without_unused_kernel(Block(op, draft.out_channels, **fields), draft.in_channels)


def _squeezed_channels(draft: Draft, fields: Mapping[str, Any]) -> int:
    """The channels that squeeze-and-excitation scales: the hidden ones, or without them the input's or the output's."""
    if "hidden_channels" in fields:
        return int(fields["hidden_channels"])
    return draft.in_channels if draft.settings["op"] == "ds_conv" else draft.out_channels


def build_layer(layer: LayerFormat, width: float, divisor: int, classes: int) -> Block:
    """A layer of the stem or the head."""
    if layer.op == "pool":
        return Block("pool")
    if layer.op == "max_pool":
        return Block("max_pool", kernel_size=layer.kernel, stride=layer.stride)
    if layer.out == "classes":
        return Block("linear", classes, activation=layer.act, bias=layer.bias)
    assert isinstance(layer.out, int)
    out_channels = scaled(layer.out, width, divisor, layer.scale)
    if layer.op == "linear":
        return Block("linear", out_channels, activation=layer.act, bias=layer.bias)
    return Block("conv", out_channels, layer.kernel, layer.stride, activation=layer.act, groups=layer.groups)


def scaled(channels: int, width: float, divisor: int, scale: bool | str) -> int:
    """`channels` times `width`, rounded; unchanged if `scale` is False, or if it is "up" and `width` is at most 1."""
    if scale is False or (scale == "up" and width <= 1):
        return channels
    return make_divisible(channels * width, divisor)
