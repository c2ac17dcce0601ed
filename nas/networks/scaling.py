"""Scale a network in depth, width and resolution by the rules of the papers.

Each function takes any `Architecture` and needs only its blocks, whose ratios are kept. A factor of 1 changes nothing.
Families whose own tables were scaled in the same way are reproduced block for block:

- EfficientNet-B0 to B7, EfficientNetV2-B0 to B2, MobileNetV1 and Once-for-all's MobileNetV3 at any width
- MobileNetV2 with `head="widen"`; MnasNet, MixNet and LCNet with `head="keep"`
- MobileNetV3 with `head="keep"`, except for its last convolution, which the authors make six times its rounded input
- GhostNet and RepGhostNet with `divisor=4, head="keep"` at 0.5, 1.5 and 2. At widths such as 1.3, which round the
  channels between blocks, some hidden channels differ, because the authors scale those separately.
- ShuffleNetV1 with `divisor=4` at 0.5 and 2; at 1.5 the stem differs, because the authors keep that of width 1

Not reproduced are widths that were chosen by hand (ShuffleNetV2, MobileOne), rounded to less than nine tenths
(EfficientNetV2-B3, ProxylessNAS-1.4), or not scaled throughout (EfficientNet-Lite and -EdgeTPU).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, get_args

from nas.errors import NasError
from nas.networks.architecture import Architecture, Block
from nas.networks.operators.ghost import without_unused_kernel
from nas.networks.operators.trace import trace
from nas.networks.operators.unit import INPUT_CHANNELS
from nas.networks.operators.vision_transformer import PATCH

DIVISOR = 8

# EfficientNet's published resolutions are multiples of 4.
RESOLUTION_MULTIPLE = 4

# Layers that no paper repeats (stems, heads, transitions), and MobileViT's block, whose inner layers are repeated.
_NEVER_REPEATED = frozenset({"conv", "max_pool", "pool", "linear", "mobile_vit"})
# Blocks whose hidden channels are in proportion to their output, not to their input.
_HIDDEN_OF_OUTPUT = frozenset({"shuffle_v1", "shuffle_v2", "shuffle_xception"})
# Blocks that split their channels into halves.
_HALVING = frozenset({"shuffle_v2", "shuffle_xception", "ghost"})
# Operators that are a depthwise convolution when groups = input channels = output channels.
_DEPTHWISE = frozenset({"conv", "mobile_one"})
# Before rounding up: 11.000000000000002 blocks are 11.
_ROUNDING = 1e-9

# How the width of the layer before the classifier is scaled.
Head = Literal["scale", "widen", "keep"]

# Far more than in any family, and small enough that the scaled network fits in memory.
_LARGEST_FACTOR = 10_000


def make_divisible(channels: float, divisor: int = DIVISOR, least: float = 0.9) -> int:
    """`channels` rounded to a multiple of `divisor`, at least `divisor` and at least the share `least` of `channels`.

    This is the rule of the MobileNets' reference code; the published parameter counts of MobileNetV2 and V3 follow it.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < least * channels else rounded


class Factors(NamedTuple):
    """Factors of a network's depth, width and resolution."""

    depth: float
    width: float
    resolution: float


class FamilySize(Protocol):
    """A row of a family's table, as `EFFICIENTNET_SIZES` has them."""

    @property
    def depth(self) -> float:
        """Factor of the number of blocks in each stage."""

    @property
    def width(self) -> float:
        """Factor of the number of channels."""

    @property
    def resolution(self) -> int:
        """Height and width of the images, in pixels."""


@dataclass(frozen=True)
class CompoundScaling:
    """Depth alpha^phi, width beta^phi and resolution gamma^phi (arXiv:1905.11946, equation 3).

    Raises NasError for a base below 1, with which a larger phi would make a smaller network.
    """

    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta), ("gamma", self.gamma)):
            if not (math.isfinite(value) and value >= 1):
                raise NasError(f"{name} must be a number of at least 1, but got {value}")

    def factors(self, phi: float) -> Factors:
        """The three factors at `phi`: 0 changes nothing, a negative number shrinks the network.

        Raises NasError for a `phi` that is not finite, or so large that a factor is not finite.
        """
        if not math.isfinite(phi):
            raise NasError(f"phi must be a finite number, but got {phi}")
        try:
            return Factors(self.alpha**phi, self.beta**phi, self.gamma**phi)
        except OverflowError as error:
            raise NasError(f"phi = {phi:g} is too large for {self}") from error

    def __str__(self) -> str:
        return f"alpha {self.alpha:.4g}, beta {self.beta:.4g}, gamma {self.gamma:.4g}"


# The result of the authors' grid search for EfficientNet-B0 (section 4.2), by FLOPs. Its powers only approximate the
# published B1 to B7: phi = 1 gives B2's blocks, for 256 pixels instead of 260, and no whole phi gives another's. The
# published sizes are rows of EFFICIENTNET_SIZES, which `scale_to_size` follows exactly.
EFFICIENTNET_SCALING = CompoundScaling(alpha=1.2, beta=1.1, gamma=1.15)


def compound_scale(
    architecture: Architecture,
    scaling: CompoundScaling,
    phi: float,
    *,
    divisor: int = DIVISOR,
    multiple: int | None = None,
    head: Head = "scale",
) -> Architecture:
    """`architecture` scaled by the factors of `scaling` at `phi`; options as for `scale`."""
    return scale(architecture, scaling.factors(phi), divisor=divisor, multiple=multiple, head=head)


def scale_to_size(
    architecture: Architecture, size: FamilySize, *, divisor: int = DIVISOR, head: Head = "scale"
) -> Architecture:
    """`architecture` scaled by a row of a family's table, whose first network it is.

    With B0 and EFFICIENTNET_SIZES["b3"] (nas/networks/references/efficientnet.py) this is EfficientNet-B3.
    """
    factors = Factors(size.depth, size.width, size.resolution / architecture.resolution)
    return scale(architecture, factors, divisor=divisor, multiple=1, head=head)


def scale(
    architecture: Architecture,
    factors: Factors,
    *,
    divisor: int = DIVISOR,
    multiple: int | None = None,
    head: Head = "scale",
) -> Architecture:
    """`architecture` scaled by three factors; the options are those of `scale_depth`, `_width` and `_resolution`."""
    deeper = scale_depth(architecture, factors.depth, divisor)
    wider = scale_width(deeper, factors.width, divisor, head=head)
    return scale_resolution(wider, factors.resolution, multiple)


def scale_resolution(architecture: Architecture, factor: float, multiple: int | None = None) -> Architecture:
    """`architecture` for images `factor` times as large, rounded to the nearest multiple of `multiple` pixels.

    The default multiple is 4. For MobileViT, whose feature maps must divide into patches of 2×2, it is 2 times the
    stride of the smallest of these maps.
    """
    _check_factor(factor)
    if factor == 1:
        return architecture
    if multiple is None:
        multiple = _default_multiple(architecture)
    if multiple < 1:
        raise NasError(f"the multiple of a resolution must be at least 1, but got {multiple}")
    resolution = multiple * max(1, math.floor(architecture.resolution * factor / multiple + 0.5))
    return replace(architecture, resolution=resolution)


def scale_depth(architecture: Architecture, factor: float, divisor: int = DIVISOR) -> Architecture:
    """`architecture` with `factor` times as many blocks in each stage, rounded up, as EfficientNet does.

    A stage is a run of blocks of one operator and one number of output channels, begun by a stride of 2 or a change
    of either. A deeper stage repeats its last block with stride 1. Where that block's input and output have different
    channels, the copies' input has the output's, with hidden and squeezed channels in proportion (rounded with
    `divisor` as in `scale_width`). A shallower stage loses its last blocks. The first block and plain convolutions are
    never repeated; the layers inside a MobileViT block are a stage of their own. A depthwise block of MobileOne and an
    attention block of EfficientViT count as one with the block after them.
    """
    _check_factor(factor)
    _check_divisor(divisor)
    if factor == 1:
        return architecture
    first, *others = _placed(architecture.blocks)
    rules = _rules(architecture.blocks, divisor)
    blocks = [first.block]
    for stage in _stages(_modules(others)):
        repeats = stage[0][0].block.op not in _NEVER_REPEATED
        count = math.ceil(len(stage) * factor - _ROUNDING) if repeats else len(stage)
        blocks += [placed.block for module in stage[:count] for placed in module]
        blocks += _repeated(stage[-1], rules) * (count - len(stage))
    return replace(architecture, blocks=tuple(_with_layers(block, factor) for block in blocks))


def scale_width(
    architecture: Architecture, factor: float, divisor: int = DIVISOR, *, head: Head = "scale"
) -> Architecture:
    """`architecture` with `factor` times as many channels, rounded by `make_divisible` to multiples of `divisor`.

    Hidden channels keep their ratio to the block's input, or to its output in ShuffleNet's blocks. Squeezed channels
    follow the first of these rules that fits all blocks of the network: a share of the input's channels, rounded down
    (EfficientNet); a share of the channels that are squeezed, rounded to multiples of 8 (MobileNetV3, MobileOne) or 4
    (GhostNet) or down (timm's first MobileNetV3); in proportion. Groups stay, so the channels around them are rounded
    to multiples of them too; depthwise convolutions stay depthwise. MobileViT's attention keeps its number of heads,
    EfficientViT's the width of its heads. The classifier stays.
    `head` is for the layer before it: EfficientNet scales it as all others, MobileNetV2 only widens it, and
    MobileNetV3's authors and MnasNet keep it. With factors close to 1, rounding may move channels the other way.
    """
    _check_factor(factor)
    _check_divisor(divisor)
    if head not in get_args(Head):
        raise NasError(f"head must be one of {', '.join(get_args(Head))}, but got {head!r}")
    if factor == 1:
        return architecture
    rules = _rules(architecture.blocks, divisor)
    head_index = _head_index(architecture.blocks)
    head_factor = {"scale": factor, "widen": max(1.0, factor), "keep": 1.0}[head]
    blocks: list[Block] = []
    in_channels = INPUT_CHANNELS
    for index, placed in enumerate(_placed(architecture.blocks[:-1])):
        own_factor = head_factor if index == head_index else factor
        out_channels = rules.scaled(placed.block.out_channels, own_factor)
        blocks.append(_resized(placed, in_channels, out_channels, own_factor, rules))
        in_channels = blocks[-1].out_channels or in_channels
    return replace(architecture, blocks=(*blocks, architecture.blocks[-1]))


class _Placed(NamedTuple):
    """A block with the channels of its input."""

    block: Block
    in_channels: int

    @property
    def depthwise(self) -> bool:
        """Whether it is a depthwise convolution, whose channels are those of its input.

        On the image, which always has three channels, it counts as an ordinary convolution in three groups.
        """
        own = self.block.groups == self.in_channels == self.block.out_channels
        return own and self.block.op in _DEPTHWISE and self.in_channels not in (1, INPUT_CHANNELS)

    @property
    def parts(self) -> int:
        """The number that its channels must be multiples of."""
        groups = 1 if self.depthwise else math.lcm(self.block.groups, self.block.expand_groups)
        return math.lcm(groups, 2 if self.block.op in _HALVING else 1)


class _SqueezeRule(NamedTuple):
    """A rule for squeezed channels: a share of `of`, rounded to multiples of `divisor` (1: rounded down)."""

    of: Literal["input", "squeezed"]
    divisor: int

    def channels(self, placed: _Placed, share: float) -> int:
        """The squeezed channels of a block by this rule, with this share."""
        whole = placed.in_channels if self.of == "input" else _squeezed(placed)
        return max(1, int(whole * share)) if self.divisor == 1 else make_divisible(whole * share, self.divisor)


class _Rules(NamedTuple):
    """The rounding rules of a network. Tensors of `c` channels are rounded to multiples of `divisors[c]`."""

    divisor: int
    divisors: Mapping[int, int]
    squeeze: _SqueezeRule | None

    def scaled(self, channels: int, factor: float) -> int:
        """`channels` times `factor`, rounded; equal channels stay equal, so that tensors can still be added."""
        if factor == 1 or not channels:
            return channels
        return make_divisible(channels * factor, self.divisors.get(channels, self.divisor))


_SQUEEZE_RULES = (
    _SqueezeRule("input", 1),
    _SqueezeRule("squeezed", 8),
    _SqueezeRule("squeezed", 4),
    _SqueezeRule("squeezed", 1),
)
# The shares that squeeze-and-excitation uses, the most usual first.
_SHARES = (1 / 4, 1 / 2, 1 / 8, 1 / 16)


def _check_factor(factor: float) -> None:
    if not 1 / _LARGEST_FACTOR <= factor <= _LARGEST_FACTOR:
        raise NasError(
            f"a network can be scaled by a number from {1 / _LARGEST_FACTOR:g} to {_LARGEST_FACTOR}, "
            f"but not by {factor:g}"
        )


def _check_divisor(divisor: int) -> None:
    if divisor < 1:
        raise NasError(f"the divisor of channels must be at least 1, but got {divisor}")


def _placed(blocks: Iterable[Block]) -> Iterator[_Placed]:
    in_channels = INPUT_CHANNELS
    for block in blocks:
        yield _Placed(block, in_channels)
        in_channels = block.out_channels or in_channels


def _head_index(blocks: Sequence[Block]) -> int | None:
    """The layer before the classifier, if there is one: a linear layer, or a 1×1 convolution before the pooling."""
    index = len(blocks) - 2
    while blocks[index].op == "pool":
        index -= 1
    block = blocks[index]
    return index if block.op == "linear" or (block.op == "conv" and block.kernel_size == 1) else None


def _modules(blocks: Iterable[_Placed]) -> Iterator[tuple[_Placed, ...]]:
    """Groups of blocks that are repeated together."""
    module: list[_Placed] = []
    for placed in blocks:
        module.append(placed)
        if not (placed.block.op == "lite_mla" or (placed.block.op == "mobile_one" and placed.depthwise)):
            yield tuple(module)
            module = []
    if module:
        yield tuple(module)


def _stages(modules: Iterable[tuple[_Placed, ...]]) -> Iterator[list[tuple[_Placed, ...]]]:
    stage: list[tuple[_Placed, ...]] = []
    for module in modules:
        if stage and not _continues(stage[-1], module):
            yield stage
            stage = []
        stage.append(module)
    if stage:
        yield stage


def _continues(before: tuple[_Placed, ...], module: tuple[_Placed, ...]) -> bool:
    """Whether `module` belongs to the stage that `before` is in."""
    same = [placed.block.op for placed in before] == [placed.block.op for placed in module]
    strided = any(placed.block.stride == 2 for placed in module)
    return same and not strided and before[-1].block.out_channels == module[-1].block.out_channels


def _repeated(module: tuple[_Placed, ...], rules: _Rules) -> list[Block]:
    """`module` once more, after itself."""
    out_channels = module[-1].block.out_channels
    once = [placed._replace(block=replace(placed.block, stride=1)) for placed in module]
    # The blocks before the last one have its input's channels, which here are the output's.
    return [_resized(placed, out_channels, out_channels, 1.0, rules) for placed in once]


def _with_layers(block: Block, depth: float) -> Block:
    """`block` with `depth` times as many transformer layers, if it has any."""
    if not block.transformer_depth:
        return block
    return replace(block, transformer_depth=math.ceil(block.transformer_depth * depth - _ROUNDING))


def _resized(placed: _Placed, in_channels: int, out_channels: int, factor: float, rules: _Rules) -> Block:
    """The block for other input and output channels, with its inner channels in proportion.

    `factor` scales those that depend on neither input nor output (a transformer's).
    """
    block = placed.block
    if factor == 1 and (in_channels, out_channels) == (placed.in_channels, block.out_channels):
        return without_unused_kernel(block, in_channels)
    changes: dict[str, int] = {"out_channels": out_channels}
    if placed.depthwise:
        changes = {"groups": in_channels, "out_channels": in_channels}
    if block.op == "lite_mla":
        size = block.transformer_channels // block.heads
        heads = max(1, in_channels * block.heads // placed.in_channels)
        changes |= {"heads": heads, "transformer_channels": heads * size}
    elif block.transformer_channels:
        divisor = math.lcm(rules.divisor, block.heads)
        changes["transformer_channels"] = make_divisible(block.transformer_channels * factor, divisor)
    if block.hidden_channels:
        changes["hidden_channels"] = _hidden_channels(placed, in_channels, changes, rules)
    # A ghost block whose input and output are now equal (a copy, or by rounding) has no k×k convolution any more.
    changed = replace(block, **changes)  # type: ignore[arg-type] # all of them are numbers
    resized = without_unused_kernel(changed, in_channels)
    if not block.se_channels:
        return resized
    return replace(resized, se_channels=_se_channels(placed, _Placed(resized, in_channels), rules))


def _hidden_channels(placed: _Placed, in_channels: int, changes: Mapping[str, int], rules: _Rules) -> int:
    """Hidden channels in the same ratio as before to the input, the output or the transformer's channels."""
    block = placed.block
    if block.op in _HIDDEN_OF_OUTPUT:
        groups = math.lcm(block.groups, block.expand_groups)
        return make_divisible(changes["out_channels"] * block.hidden_channels / block.out_channels, groups)
    if block.transformer_channels:
        return make_divisible(changes["transformer_channels"] * block.hidden_channels / block.transformer_channels, 1)
    if block.hidden_channels == placed.in_channels:
        return in_channels
    divisor = math.lcm(rules.divisor, placed.parts)
    return make_divisible(in_channels * block.hidden_channels / placed.in_channels, divisor)


def _se_channels(before: _Placed, after: _Placed, rules: _Rules) -> int:
    rule = rules.squeeze
    if rule is None:
        return max(1, math.floor(before.block.se_channels * _squeezed(after) / _squeezed(before) + 0.5))
    share = _share(rule, before)
    assert share is not None, before
    return rule.channels(after, share)


def _squeezed(placed: _Placed) -> int:
    """The number of channels that squeeze-and-excitation scales."""
    graph = trace(placed.block, placed.in_channels, 1, 1).primitives
    return next(primitive.out_channels for primitive in graph if primitive.kind == "gate")


def _rules(blocks: Sequence[Block], divisor: int) -> _Rules:
    placed = list(_placed(blocks))
    divisors: dict[int, int] = {}
    for one in placed:
        for channels in (one.in_channels, one.block.out_channels):
            divisors[channels] = math.lcm(divisors.get(channels, divisor), one.parts)
    squeezing = [one for one in placed if one.block.se_channels]
    fitting = (rule for rule in _SQUEEZE_RULES if all(_share(rule, one) is not None for one in squeezing))
    return _Rules(divisor, divisors, next(fitting, None))


def _share(rule: _SqueezeRule, placed: _Placed) -> float | None:
    """The share with which `rule` gives the block's squeezed channels, or None."""
    return next((s for s in _SHARES if rule.channels(placed, s) == placed.block.se_channels), None)


def _default_multiple(architecture: Architecture) -> int:
    folding = [index for index, block in enumerate(architecture.blocks) if block.op == "mobile_vit"]
    if not folding:
        return RESOLUTION_MULTIPLE
    return PATCH * math.prod(block.stride for block in architecture.blocks[: folding[-1]])
