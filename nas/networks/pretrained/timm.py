"""The layouts of timm's networks: its names for the layers of our blocks, as of timm 1.0.31."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas.networks.operators import Unit
from nas.networks.operators.mixed import kernel_parts
from nas.networks.pretrained.layout import (
    TORCH_EPSILON,
    Layout,
    Leaf,
    Leaves,
    misfit,
    parts,
    split,
    unknown_operator,
    usual_epsilon,
)
from nas.networks.references.mobilenet_v3 import mobilenet_v3_rw

_SQUEEZE = ("se.conv_reduce", "se.conv_expand")


def _efficientnet(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    """Most mobile networks, which timm builds as EfficientNet or MobileNetV3, with the same names.

    `conv_head` is the last convolution, or a linear layer before the classifier (in timm a 1×1 convolution).
    """
    blocks = _paired(units[1:])[: len(places)]
    _, end = split(units[1:], places, count=sum(map(len, blocks)))
    yield ["conv_stem", "bn1"]
    for block, place in zip(blocks, places, strict=True):
        if len(block) == 2:
            first, second = ("conv_dw", "conv_pw") if block[0].block.groups > 1 else ("conv_exp", "conv_pwl")
            yield _within(place, [first, "bn1"])
            yield _within(place, [second, "bn2"])
        else:
            yield _within(place, _efficientnet_block(block[0]))
    pooled = False
    for unit in end:
        if unit.block.op == "conv":
            yield ["conv_head", "norm_head" if pooled else "bn2"]
        elif unit.block.op == "linear":
            yield ["classifier" if unit is end[-1] else "conv_head"]
        else:
            pooled = True
            yield []


def _paired(units: Sequence[Unit]) -> list[Sequence[Unit]]:
    """Each unit alone, except pairs of convolutions that are one inverted residual without addition in timm.

    Only the second one of a pair has no activation.
    """
    blocks: list[Sequence[Unit]] = []
    for unit in units:
        projects = unit.block.op == "conv" and unit.block.activation == "none"
        if projects and blocks and len(blocks[-1]) == 1 and blocks[-1][0].block.op == "conv":
            blocks[-1] = (*blocks[-1], unit)
        else:
            blocks.append((unit,))
    return blocks


def _efficientnet_block(unit: Unit) -> Leaves:
    op = unit.block.op
    if op == "conv":
        return ["conv", "bn1"]
    if op == "uib":
        return _universal_inverted_bottleneck(unit)
    if op == "ghost":
        return _ghost(unit, ("primary_conv.0", "primary_conv.1", "cheap_operation.0", "cheap_operation.1"))
    if op == "rep_ghost" and unit.block.branches:
        return _ghost(
            unit, ("primary_conv.0", "primary_conv.1", "fusion_bn.0", "cheap_operation.0", "cheap_operation.1")
        )
    if op in ("ds_conv", "mbconv", "fbnet", "fused_mbconv", "mixconv"):
        return _inverted_residual(unit)
    raise unknown_operator(unit, "timm")


def _inverted_residual(unit: Unit) -> Leaves:
    """Convolutions are named for what they do, normalisations are numbered."""
    present = parts(unit)
    if present == ["spatial"]:
        return ["conv", "bn1"]
    # Without expansion timm has a depthwise separable convolution, whose 1×1 is conv_pw instead of conv_pwl.
    names = {"expand": "conv_pw", "depthwise": "conv_dw", "spatial": "conv_exp", "project": "conv_pwl"}
    if present[0] == "depthwise":
        names["project"] = "conv_pw"
    leaves: list[Leaf] = []
    norms = 0
    for part in present:
        if part == "squeeze":
            leaves += _SQUEEZE
            continue
        norms += 1
        leaves += [*_split_convolution(unit, part, names[part]), f"bn{norms}"]
    return leaves


def _split_convolution(unit: Unit, part: str, name: str) -> Leaves:
    """MixNet has a convolution for each group and each kernel in timm; here all groups are one convolution."""
    if unit.block.op != "mixconv":
        return [name]
    if part == "depthwise":
        kernels = len(kernel_parts(unit.block))
        return [f"{name}.{i}" for i in range(kernels)] if kernels > 1 else [name]
    groups = unit.block.expand_groups if part == "expand" else unit.block.groups
    return [tuple(f"{name}.{i}" for i in range(groups))] if groups > 1 else [name]


def _universal_inverted_bottleneck(unit: Unit) -> Leaves:
    start = ["dw_start"] if unit.block.start_kernel_size else []
    middle = ["dw_mid"] if unit.block.kernel_size else []
    return [f"{name}.{layer}" for name in (*start, "pw_exp", *middle, "pw_proj") for layer in ("conv", "bn")]


def _ghost(unit: Unit, module: tuple[str, ...]) -> Leaves:
    """Two ghost modules, the layers between them, and the shortcut."""
    depthwise = ["conv_dw", "bn_dw"] if unit.block.stride == 2 else []
    squeeze = _SQUEEZE if unit.block.se_channels else ()
    return [
        *(f"ghost1.{layer}" for layer in module),
        *depthwise,
        *squeeze,
        *(f"ghost2.{layer}" for layer in module),
        *(f"shortcut.{j}" for j in range(0 if unit.residual else 4)),
    ]


def _mobileone(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    body, end = split(units[1:], places)
    for unit, place in zip(units[: len(body) + 1], ("stem", *places), strict=True):
        yield _within(place, _mobileone_block(unit))
    yield []
    yield from (["head.fc"] for _ in end[1:])


def _mobileone_block(unit: Unit) -> Leaves:
    block = unit.block
    if block.op != "mobile_one" or not block.branches:
        raise unknown_operator(unit, "timm")
    identity = ["identity"] if block.stride == 1 and unit.in_channels == block.out_channels else []
    scale = ["conv_scale"] if block.kernel_size > 1 else []
    convolutions = [*(f"conv_kxk.{i}" for i in range(block.branches)), *scale]
    return [
        *identity,
        *(f"{name}.{layer}" for name in convolutions for layer in ("conv", "bn")),
        *(("attn.fc1", "attn.fc2") if block.se_channels else ()),
    ]


def _mobilevit(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    body, end = split(units[1:], places)
    yield ["stem.conv", "stem.bn"]
    for unit, place in zip(body, places, strict=True):
        yield _within(place, _mobilevit_block(unit))
    for unit in end:
        of_op: dict[str, Leaves] = {
            "conv": ["final_conv.conv", "final_conv.bn"],
            "pool": [],
            "linear": ["head.fc"],
        }
        yield of_op[unit.block.op]


def _mobilevit_block(unit: Unit) -> Leaves:
    if unit.block.op == "mbconv" and parts(unit) == ["expand", "depthwise", "project"]:
        return [f"{name}.{layer}" for name in ("conv1_1x1", "conv2_kxk", "conv3_1x1") for layer in ("conv", "bn")]
    if unit.block.op != "mobile_vit":
        raise unknown_operator(unit, "timm")
    layer = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    return [
        *("conv_kxk.conv", "conv_kxk.bn", "conv_1x1"),
        *(f"transformer.{i}.{name}" for i in range(unit.block.transformer_depth) for name in layer),
        *("norm", "conv_proj.conv", "conv_proj.bn", "conv_fusion.conv", "conv_fusion.bn"),
    ]


def _efficientvit(units: Sequence[Unit], places: Sequence[str]) -> Iterator[Leaves]:
    """Attention and the inverted residual after it are one block in timm; the stem's blocks are in no stage."""
    pool = [unit.block.op for unit in units].index("pool")
    body, linear = units[1 : pool - 1], units[pool + 1 :]
    in_stem = next((index for index, unit in enumerate(body) if unit.block.stride == 2), len(body))
    stages = body[in_stem:]
    after_attention = [index > 0 and stages[index - 1].block.op == "lite_mla" for index in range(len(stages))]
    if after_attention.count(False) != len(places):
        raise misfit(places)
    yield ["stem.in_conv.conv", "stem.in_conv.norm"]
    for j, unit in enumerate(body[:in_stem]):
        yield _within(f"stem.res{j}.main", _efficientvit_residual(unit))
    remaining_places = iter(places)
    place = ""
    for unit, follows in zip(stages, after_attention, strict=True):
        if follows:
            yield _within(f"{place}.local_module.main", _efficientvit_residual(unit))
            continue
        place = next(remaining_places)
        if unit.block.op == "lite_mla":
            yield _within(f"{place}.context_module.main", _LITE_MLA)
        else:
            yield _within(f"{place}.main", _efficientvit_residual(unit))
    yield ["head.in_conv.conv", "head.in_conv.norm"]
    yield []
    for unit in linear:
        yield ["head.classifier.4"] if unit is linear[-1] else ["head.classifier.0", "head.classifier.1"]


_LITE_MLA = ("qkv.conv", "aggreg.0.0", "aggreg.0.1", "proj.conv", "proj.norm")


def _efficientvit_residual(unit: Unit) -> Leaves:
    if unit.block.op != "mbconv" or unit.block.se_channels:
        raise unknown_operator(unit, "timm")
    names = {"expand": "inverted_conv", "depthwise": "depth_conv", "project": "point_conv"}
    leaves: list[Leaf] = []
    for part in parts(unit):
        normalised = part == "project" or unit.block.norm != "last"
        leaves += [f"{names[part]}.conv", *([f"{names[part]}.norm"] if normalised else [])]
    return leaves


def _within(place: str, leaves: Leaves) -> Leaves:
    """The leaves of a block with the block's name before them."""
    return [
        f"{place}.{leaf}" if isinstance(leaf, str) else tuple(f"{place}.{name}" for name in leaf) for leaf in leaves
    ]


def _efficientnet_epsilon(units: Sequence[Unit]) -> float:
    """timm/models/mobilenetv3.py: 1e-3 for mobilenetv3_rw, torch's for all others without `tf_`."""
    features = tuple(unit.block for unit in units[:-1])
    return 1e-3 if features == mobilenet_v3_rw().blocks[:-1] else TORCH_EPSILON


LAYOUTS = (
    Layout(
        "timm",
        "EfficientNet and its relatives",
        (r"conv_stem\.", r"blocks\.\d+\.\d+\."),
        "blocks.{}.{}",
        _efficientnet,
        _efficientnet_epsilon,
    ),
    Layout("timm", "MobileOne", (r"stem\.conv_kxk\.", r"head\.fc\."), "stages.{}.{}", _mobileone, usual_epsilon),
    Layout("timm", "MobileViT", (r"stem\.conv\.", r"final_conv\."), "stages.{}.{}", _mobilevit, usual_epsilon),
    Layout(
        "timm", "EfficientViT", (r"stem\.in_conv\.", r"stages\."), "stages.{}.blocks.{}", _efficientvit, usual_epsilon
    ),
)
