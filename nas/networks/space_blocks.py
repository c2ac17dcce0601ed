"""How do the settings of a stage become a block?

One function for each operator, in `BUILDERS`. Channel counts are rounded here; what the operators do with them stands
in `nas.networks.operators`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nas.networks.architecture import Block
from nas.networks.operators.ghost import without_unused_kernel
from nas.networks.scaling import make_divisible
from nas.networks.space_format import LayerFormat, StageFormat

Choice = int | float | str


@dataclass(frozen=True)
class Draft:
    """What is known of a block of `stage`: its settings by the stage's keys, and where it stands."""

    stage: StageFormat
    settings: Mapping[str, Any]
    width: float
    divisor: int
    in_channels: int
    first: bool

    @property
    def out_channels(self) -> int:
        """`out` at the space's width."""
        return scaled(self.settings["out"], self.width, self.divisor, self.stage.scale)

    @property
    def stride(self) -> int:
        """The stage's stride belongs to its first block."""
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
        """Those of the first 1×1: by default as many as the last has."""
        return int(self.settings["expand_groups"] or self.settings["groups"])

    def branch_channels(self, usual: float) -> int:
        """The output's channels times `hidden`, which is `usual` by default."""
        return self._hidden(self.out_channels, self.settings["hidden"] or usual)

    def squeezed(self, channels: int) -> dict[str, Any]:
        """The fields of squeeze-and-excitation of `channels`, if the block has it.

        A share of them or of the block's input channels, rounded: MobileNetV3 takes a quarter of the hidden channels,
        EfficientNet of the input's.
        """
        share = self.settings["se"]
        if not share:
            return {}
        of = channels if self.stage.se_of == "expanded" else self.in_channels
        return {
            "se_channels": make_divisible(of * share, self.stage.se_divisor or self.divisor),
            "se_gate": self.stage.gate,
            # relu is the default, which is written by leaving it out.
            "se_activation": "" if self.stage.se_act == "relu" else self.stage.se_act,
        }

    def fields(self, *names: str) -> dict[str, Any]:
        """The fields of the block that are settings as they stand."""
        return {_FIELDS[name]: self.settings[name] for name in names}

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


def build_block(draft: Draft) -> Block:
    """The block that a draft describes. Raises NasError where its settings do not go together."""
    return BUILDERS[draft.settings["op"]](draft)


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
    """`channels` times `width`, rounded; with `scale` "up" only widths above 1 change it, with False none does."""
    if scale is False or (scale == "up" and width <= 1):
        return channels
    return make_divisible(channels * width, divisor)


def _conv(draft: Draft) -> Block:
    return Block("conv", draft.out_channels, stride=draft.stride, **draft.fields("kernel", "groups", "act"))


def _ds_conv(draft: Draft) -> Block:
    return Block(
        "ds_conv",
        draft.out_channels,
        stride=draft.stride,
        **draft.fields("kernel", "act"),
        **draft.squeezed(draft.in_channels),
    )


def _mbconv(draft: Draft) -> Block:
    return Block(
        "mbconv",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.expanded_channels,
        norm="last" if draft.stage.norm == "last" else "",
        **draft.fields("kernel", "act"),
        **draft.squeezed(draft.expanded_channels),
    )


def _fused_mbconv(draft: Draft) -> Block:
    return Block(
        "fused_mbconv",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.expanded_channels,
        **draft.fields("kernel", "groups", "act"),
        **draft.squeezed(draft.expanded_channels),
    )


def _fbnet(draft: Draft) -> Block:
    return Block(
        "fbnet",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.expanded_channels,
        **draft.fields("kernel", "groups", "act"),
    )


def _uib(draft: Draft) -> Block:
    return Block(
        "uib",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.expanded_channels,
        **draft.fields("start_kernel", "kernel", "act"),
    )


def _shuffle_v1(draft: Draft) -> Block:
    """A bottleneck of a quarter of the output's channels, as in the paper's section 3.2."""
    return Block(
        "shuffle_v1",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.branch_channels(0.25),
        expand_groups=draft.expand_groups,
        **draft.fields("kernel", "groups", "act"),
    )


def _shuffle_v2(draft: Draft) -> Block:
    return Block(
        "shuffle_v2",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.branch_channels(0.5),
        **draft.fields("kernel", "act"),
    )


def _shuffle_xception(draft: Draft) -> Block:
    return Block(
        "shuffle_xception",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.branch_channels(0.5),
        **draft.fields("kernel", "act"),
    )


def _mixconv(draft: Draft) -> Block:
    expands = draft.expanded_channels != draft.in_channels
    return Block(
        "mixconv",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.expanded_channels,
        expand_groups=draft.expand_groups if expands else 1,
        **draft.fields("kernel", "groups", "act"),
        **draft.squeezed(draft.expanded_channels),
    )


def _ghost(draft: Draft) -> Block:
    block = Block(
        "ghost",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.expanded_channels,
        **draft.fields("kernel", "act"),
        **draft.squeezed(draft.expanded_channels),
    )
    return without_unused_kernel(block, draft.in_channels)


def _rep_ghost(draft: Draft) -> Block:
    block = Block(
        "rep_ghost",
        draft.out_channels,
        stride=draft.stride,
        hidden_channels=draft.expanded_channels,
        **draft.fields("kernel", "branches", "act"),
        **draft.squeezed(draft.expanded_channels),
    )
    return without_unused_kernel(block, draft.in_channels)


def _mobile_one(draft: Draft) -> Block:
    return Block(
        "mobile_one",
        draft.out_channels,
        stride=draft.stride,
        **draft.fields("kernel", "groups", "branches", "act"),
        **draft.squeezed(draft.out_channels),
    )


def _mobile_vit(draft: Draft) -> Block:
    return Block(
        "mobile_vit",
        draft.out_channels,
        hidden_channels=draft.transformer_hidden_channels,
        **draft.fields("kernel", "transformer", "transformer_depth", "heads", "act"),
    )


def _lite_mla(draft: Draft) -> Block:
    return Block("lite_mla", draft.out_channels, **draft.fields("kernel", "transformer", "heads"))


BUILDERS: Mapping[str, Callable[[Draft], Block]] = {
    "conv": _conv,
    "ds_conv": _ds_conv,
    "mbconv": _mbconv,
    "fused_mbconv": _fused_mbconv,
    "fbnet": _fbnet,
    "uib": _uib,
    "shuffle_v1": _shuffle_v1,
    "shuffle_v2": _shuffle_v2,
    "shuffle_xception": _shuffle_xception,
    "mixconv": _mixconv,
    "ghost": _ghost,
    "rep_ghost": _rep_ghost,
    "mobile_one": _mobile_one,
    "mobile_vit": _mobile_vit,
    "lite_mla": _lite_mla,
}
