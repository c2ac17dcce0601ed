"""Draw a network as an SVG file.

As in ProxylessNAS (arXiv:1812.00332, figure 3) and MnasNet (arXiv:1807.11626, figure 7), blocks are bars from left to
right. The height of a bar is the block's output channels (on a logarithmic scale), its width the expansion, its colour
the kernel. The same network gives the same bytes, and the file refers to no other file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple
from xml.etree import ElementTree

from nas.networks.architecture import Architecture
from nas.networks.deployed import has_branches
from nas.networks.operators import Unit, estimate_costs, primitives, units
from nas.networks.operators.mixed import kernel_parts

# Colours of the fill and the text of a bar, by its largest kernel.
_KERNELS: Mapping[int, tuple[str, str]] = {
    1: ("#c6ccd6", "#1f2733"),
    3: ("#4a8fd0", "#ffffff"),
    5: ("#f0a33a", "#1f2733"),
    7: ("#cf4f5b", "#ffffff"),
}
_LARGER = ("#7d5ba6", "#ffffff")
_ATTENTION = ("#3b9a7a", "#ffffff")
_NO_KERNEL = ("#ffffff", "#1f2733")
_INK, _GREY, _GRID, _BAND = "#1f2733", "#68727f", "#dfe3e8", "#f5f7f9"
_FONT = "Helvetica, Arial, sans-serif"

_LEFT, _RIGHT, _TOP, _PLOT, _BOTTOM = 64, 24, 130, 300, 74
_LEAST_WIDTH = 900
_BAR_GAP, _STAGE_GAP = 4, 14
# Width of a bar without expansion, width added for each unit of expansion, and the largest expansion that is shown.
_BAR, _BAR_PER_EXPANSION, _MOST_EXPANSION = 15.0, 2.6, 8.0
_TRANSFORMER_WIDTH = 44.0
# The largest width of a letter in a bar's label.
_LETTER = 6.1

_NAMES = {
    "conv": "Conv",
    "max_pool": "MaxPool",
    "ds_conv": "DS",
    "mbconv": "MB",
    "fused_mbconv": "Fused",
    "fbnet": "FB",
    "uib": "UIB",
    "shuffle_v1": "Shuffle",
    "shuffle_v2": "Shuffle",
    "shuffle_xception": "Xception",
    "mixconv": "Mix",
    "ghost": "Ghost",
    "rep_ghost": "Ghost",
    "mobile_one": "One",
    "mobile_vit": "MobileViT",
    "lite_mla": "LiteMLA",
    "pool": "Pool",
    "linear": "FC",
}


@dataclass(frozen=True)
class _Bar:
    """A unit with the position `x` and the `width` of its bar, in pixels."""

    unit: Unit
    x: float
    width: float

    @property
    def middle(self) -> float:
        """The x of its label."""
        return self.x + self.width / 2


class _Scale(NamedTuple):
    """The scale from channels to pixels; `least` and `most` are powers of two around all channels."""

    least: int
    most: int

    def height(self, channels: int) -> float:
        """Height of a bar; the bar of the least channels is still high enough for a label."""
        share = math.log2(channels / self.least) / math.log2(self.most / self.least)
        return _PLOT * (0.34 + 0.66 * share)

    def y(self, channels: int) -> float:
        """The y of a bar's top."""
        return _TOP + _PLOT - self.height(channels)


def draw_network(architecture: Architecture, title: str) -> str:
    """The picture as an SVG document, at least 900 pixels wide, more if its blocks need it."""
    rows = units(architecture)
    bars = _place(rows)
    width = max(_LEAST_WIDTH, bars[-1].x + bars[-1].width + _RIGHT)
    height = _TOP + _PLOT + _BOTTOM
    svg = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": _number(width),
            "height": _number(height),
            "viewBox": f"0 0 {_number(width)} {_number(height)}",
            "font-family": _FONT,
            "role": "img",
        },
    )
    ElementTree.SubElement(svg, "title").text = title
    _rectangle(svg, 0, 0, width, height, "#ffffff")
    _heading(svg, architecture, title)
    channels = [unit.out_channels for unit in rows]
    least = 2 ** math.floor(math.log2(min(channels)))
    scale = _Scale(least, max(2 * least, 2 ** math.ceil(math.log2(max(channels)))))
    _bands(svg, bars)
    _grid(svg, scale, bars[-1].x + bars[-1].width)
    for before, bar in zip([None, *bars], bars, strict=False):
        _bar(svg, bar, scale, changes=before is None or before.unit.out_channels != bar.unit.out_channels)
    _legend(svg, rows, height - 22)
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _place(rows: Sequence[Unit]) -> list[_Bar]:
    """Bars side by side, with wider gaps where the resolution changes, and stretched if there are few."""
    widths = [_width(unit) for unit in rows]
    gaps = [0] + [_BAR_GAP if before.out_height == unit.out_height else _STAGE_GAP for before, unit in pairwise(rows)]
    room = _LEAST_WIDTH - _LEFT - _RIGHT - sum(gaps)
    stretch = min(1.8, max(1.0, room / sum(widths)))
    bars, x = [], float(_LEFT)
    for unit, width, gap in zip(rows, widths, gaps, strict=True):
        bars.append(_Bar(unit, x + gap, width * stretch))
        x += gap + width * stretch
    return bars


def _width(unit: Unit) -> float:
    if unit.block.transformer_channels:
        return _TRANSFORMER_WIDTH
    return _BAR + _BAR_PER_EXPANSION * min(_MOST_EXPANSION, _expansion(unit))


def _expansion(unit: Unit) -> float:
    """Hidden channels divided by input channels; 1 for blocks without hidden channels."""
    return unit.block.hidden_channels / unit.in_channels if unit.block.hidden_channels else 1


def _heading(svg: ElementTree.Element, architecture: Architecture, title: str) -> None:
    costs = estimate_costs(architecture)
    _text(svg, _LEFT, 34, title, size=20, weight="bold", anchor="start")
    facts = (
        f"{architecture.resolution}×{architecture.resolution} pixels, {architecture.classes} classes · "
        f"{costs.params / 1e6:.2f} M parameters · {costs.macs / 1e6:,.0f} M MACs · "
        f"{costs.peak_activation_bytes / 1e6:.2f} MB peak of activations (float32)"
        f"{' · as it is trained' if has_branches(architecture) else ''}"
    )
    _text(svg, _LEFT, 56, facts, size=12.5, anchor="start", fill=_GREY)


def _bands(svg: ElementTree.Element, bars: Sequence[_Bar]) -> None:
    """The resolutions above their blocks, and a grey band behind every second one."""
    stages = [list(stage) for _, stage in groupby(bars, key=lambda bar: bar.unit.out_height)]
    for number, stage in enumerate(stages):
        left, right = stage[0].x - _STAGE_GAP / 2, stage[-1].x + stage[-1].width + _STAGE_GAP / 2
        if number % 2 == 0:
            _rectangle(svg, left, _TOP - 52, right - left, _PLOT + 52 + 18, _BAND, rounded=4)
        side = stage[0].unit.out_height
        text = f"{side}×{side}"
        wide = right - left >= _LETTER * len(text) + 4
        _text(svg, (left + right) / 2, _TOP - 37, text if wide else f"{side}²", size=11, fill=_GREY)


def _grid(svg: ElementTree.Element, scale: _Scale, right: float) -> None:
    channels = scale.least
    while channels <= scale.most:
        y = scale.y(channels)
        ElementTree.SubElement(
            svg, "path", {"d": f"M{_number(_LEFT - 6)} {_number(y)}H{_number(right)}", "stroke": _GRID}
        )
        _text(svg, _LEFT - 12, y + 4, str(channels), size=11, anchor="end", fill=_GREY)
        channels *= 2
    _text(svg, 14, _TOP + _PLOT / 2, "output channels", size=11, fill=_GREY, turned=True)
    base = _TOP + _PLOT
    ElementTree.SubElement(svg, "path", {"d": f"M{_LEFT - 6} {base}H{_number(right)}", "stroke": _GREY})


def _bar(svg: ElementTree.Element, bar: _Bar, scale: _Scale, *, changes: bool) -> None:
    """A unit's bar, its label, its channels if they change, and the marks of SE and of an added input."""
    unit, base = bar.unit, _TOP + _PLOT
    fill, ink = _colours(unit)
    top = scale.y(unit.out_channels)
    group = ElementTree.SubElement(svg, "g")
    ElementTree.SubElement(group, "title").text = unit.key
    outline = _GREY if fill == _NO_KERNEL[0] else ""
    _rectangle(group, bar.x, top, bar.width, base - top, fill, rounded=3, outline=outline)
    if unit.block.se_channels:
        _circle(group, bar.middle, base - 10, ink)
    _text(group, bar.middle + 3.8, base - 20, _label(unit), size=10.5, anchor="start", fill=ink, turned=True)
    if changes:
        _text(group, bar.middle + 3.6, top - 5, str(unit.out_channels), size=10, anchor="start", turned=True)
    if unit.residual:
        ElementTree.SubElement(group, "path", _arc(bar.x, bar.x + bar.width, base))


def _colours(unit: Unit) -> tuple[str, str]:
    """Colours of a bar's fill and text."""
    if unit.block.op in ("pool", "max_pool", "linear"):
        return _NO_KERNEL
    if unit.block.transformer_channels:
        return _ATTENTION
    return _KERNELS.get(_kernel(unit), _LARGER)


def _kernel(unit: Unit) -> int:
    """The largest kernel of a block."""
    return max((p.kernel_size for p in primitives(unit) if p.weights), default=1)


def _label(unit: Unit) -> str:
    """A short name of the block that fits into its bar: `MB6 5×5`."""
    block = unit.block
    name = _NAMES[block.op]
    if block.op in ("pool", "linear", "mobile_vit"):
        return name
    if block.op == "uib":
        name, kernels = _uib(block.start_kernel_size, block.kernel_size)
    elif block.op == "mixconv":
        sizes = [size for size, _ in kernel_parts(block)]
        kernels = f"{sizes[0]}–{sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}×{sizes[0]}"
    else:
        # GhostNet's blocks without a k×k convolution have the 3×3 of their modules.
        size = block.kernel_size if block.op == "max_pool" else _kernel(unit)
        kernels = f"{size}×{size}"
    expansion = f"{_expansion(unit):.2g}" if block.hidden_channels and "Shuffle" not in name else ""
    return f"{name}{expansion} {kernels}".strip()


def _uib(start: int, middle: int) -> tuple[str, str]:
    """MobileNetV4's name of a universal inverted bottleneck with these depthwise kernels, and the kernels as text."""
    if start and middle:
        return "Extra", f"{start}·{middle}"
    if start:
        return "Next", f"{start}×{start}"
    return ("IB", f"{middle}×{middle}") if middle else ("FFN", "")


def _legend(svg: ElementTree.Element, rows: Sequence[Unit], y: float) -> None:
    """The legend of the colours and marks that the network has."""
    x = float(_LEFT)
    fills = {_colours(unit)[0] for unit in rows}
    shown = [(f"{kernel}×{kernel}", fill) for kernel, (fill, _) in _KERNELS.items()]
    shown += [(f"larger than {max(_KERNELS)}×{max(_KERNELS)}", _LARGER[0]), ("attention", _ATTENTION[0])]
    shown = [(text, fill) for text, fill in shown if fill in fills]
    for text, fill in shown:
        _rectangle(svg, x, y - 10, 14, 12, fill, rounded=2)
        _text(svg, x + 20, y, text, size=12, anchor="start")
        x += 28 + _LETTER * len(text) + 14
    if any(unit.block.se_channels for unit in rows):
        _circle(svg, x + 6, y - 4, _INK)
        x = _note(svg, x + 16, y, "squeeze-and-excitation")
    if any(unit.residual for unit in rows):
        ElementTree.SubElement(svg, "path", _arc(x, x + 16, y - 8))
        x = _note(svg, x + 22, y, "input is added")
    if any(unit.block.hidden_channels for unit in rows):
        _note(svg, x, y, "wider bar: more expansion")


def _note(svg: ElementTree.Element, x: float, y: float, text: str) -> float:
    """Write a text of the legend; returns the x of the next one."""
    _text(svg, x, y, text, size=12, anchor="start")
    return x + _LETTER * len(text) + 20


def _arc(left: float, right: float, y: float) -> dict[str, str]:
    inset = 2
    start, end = left + inset, right - inset
    middle = (start + end) / 2
    path = f"M{_number(start)} {_number(y + 3)}Q{_number(middle)} {_number(y + 15)} {_number(end)} {_number(y + 3)}"
    return {"d": path, "fill": "none", "stroke": _GREY, "stroke-width": "1.4"}


def _circle(parent: ElementTree.Element, x: float, y: float, fill: str) -> None:
    ElementTree.SubElement(parent, "circle", {"cx": _number(x), "cy": _number(y), "r": "4", "fill": fill})


def _rectangle(
    parent: ElementTree.Element,
    x: float,
    y: float,
    width: float,
    height: float,
    fill: str,
    *,
    rounded: int = 0,
    outline: str = "",
) -> None:
    values = {"x": x, "y": y, "width": width, "height": height}
    attributes = {name: _number(value) for name, value in values.items()} | {"fill": fill}
    if rounded:
        attributes["rx"] = str(rounded)
    if outline:
        attributes["stroke"] = outline
    ElementTree.SubElement(parent, "rect", attributes)


def _text(
    parent: ElementTree.Element,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    anchor: str = "middle",
    fill: str = _INK,
    weight: str = "",
    turned: bool = False,
) -> None:
    attributes = {"x": _number(x), "y": _number(y), "font-size": _number(size), "text-anchor": anchor, "fill": fill}
    if weight:
        attributes["font-weight"] = weight
    if turned:
        attributes["transform"] = f"rotate(-90 {_number(x)} {_number(y)})"
    ElementTree.SubElement(parent, "text", attributes).text = text


def _number(value: float) -> str:
    """At most two decimals, the same on every machine."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
