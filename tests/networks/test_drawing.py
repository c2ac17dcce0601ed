"""The picture of a network is complete, readable and always the same."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given

from nas.networks.architecture import Architecture, Block
from nas.networks.drawing import draw_network
from nas.networks.references import REFERENCES, reference
from tests.strategies import architectures

SVG = "{http://www.w3.org/2000/svg}"


def bars(svg: ElementTree.Element) -> list[ElementTree.Element]:
    """The rectangles of the units, from left to right."""
    return [group[1] for group in svg.iter(f"{SVG}g")]


def number(element: ElementTree.Element, name: str) -> float:
    """An attribute in pixels."""
    return float(element.attrib[name])


@pytest.mark.parametrize("name", REFERENCES)
def test_every_published_network_is_drawn_with_a_bar_for_each_unit(name: str) -> None:
    """Valid XML, bars that do not overlap and lie inside the picture, as have all texts their place."""
    architecture = reference(name)
    svg = ElementTree.fromstring(draw_network(architecture, name))
    drawn = bars(svg)
    assert len(drawn) == len(architecture.blocks)
    right = 0.0
    for bar in drawn:
        assert number(bar, "x") >= right
        assert number(bar, "width") >= 15
        assert number(bar, "height") >= 85
        right = number(bar, "x") + number(bar, "width")
    assert right < number(svg, "width") < 3000
    for text in svg.iter(f"{SVG}text"):
        assert 0 < number(text, "x") < number(svg, "width")
        assert 0 < number(text, "y") < number(svg, "height")


@pytest.mark.parametrize("name", REFERENCES)
def test_labels_fit_their_bars(name: str) -> None:
    """At 6.1 pixels a letter, from 20 pixels above the base, below the number of channels."""
    svg = ElementTree.fromstring(draw_network(reference(name), name))
    for group in svg.iter(f"{SVG}g"):
        label = group.find(f"{SVG}text")
        assert label is not None
        assert 20 + 6.1 * len(label.text or "") <= number(group[1], "height")


def test_the_picture_of_mobilenet_v3_large_says_what_its_table_says() -> None:
    """The resolutions, the channels where they change, the kernels' colours, squeeze-and-excitation, residuals."""
    svg = ElementTree.fromstring(draw_network(reference("mobilenet_v3_large"), "MobileNetV3-Large"))
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert texts[0] == "MobileNetV3-Large"
    assert "5.48 M parameters" in (texts[1] or "")
    resolutions = [text for text in texts if text and re.fullmatch(r"(\d+)×\1", text)]
    assert resolutions[:6] == ["112×112", "56×56", "28×28", "14×14", "7×7", "1×1"]
    groups = list(svg.iter(f"{SVG}g"))
    numbers = [group.findall(f"{SVG}text")[1].text for group in groups if len(group.findall(f"{SVG}text")) > 1]
    assert numbers == ["16", "24", "40", "80", "112", "160", "960", "1280", "1000"]
    squeezed = [index for index, group in enumerate(groups) if group.find(f"{SVG}circle") is not None]
    assert squeezed == [4, 5, 6, 11, 12, 13, 14, 15]
    added = [index for index, group in enumerate(groups) if group.find(f"{SVG}path") is not None]
    assert added == [1, 3, 5, 6, 8, 9, 10, 12, 14, 15]
    fills = [bar.attrib["fill"] for bar in bars(svg)]
    assert len(set(fills[:4] + fills[7:13])) == 1, "3×3"
    assert len(set(fills[4:7] + fills[13:16])) == 1, "5×5"
    assert fills[0] != fills[4]


def test_wide_expansions_are_wide_bars_and_many_channels_high_ones() -> None:
    """MobileNetV2: the expansion of 6 beside the first block without any, 320 channels beside 16."""
    drawn = bars(ElementTree.fromstring(draw_network(reference("mobilenet_v2"), "x")))
    assert number(drawn[2], "width") > 1.5 * number(drawn[1], "width")
    heights = [number(bar, "height") for bar in drawn[1:18]]
    assert heights == sorted(heights)
    assert heights[-1] > 2 * heights[0]


def test_the_bytes_are_the_same_in_every_process() -> None:
    """No time, no random name, no order of a hash."""
    code = (
        "from nas.networks.drawing import draw_network; from nas.networks.references import reference;"
        "print(draw_network(reference('efficientvit_b0'), 'a & <b>'), end='')"
    )
    drawn = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert drawn == {draw_network(reference("efficientvit_b0"), "a & <b>").encode()}


@given(architectures())
def test_any_network_is_drawn(architecture: Architecture) -> None:
    """One pixel, one channel, one class: the picture stands on its own, without a link to anything."""
    text = draw_network(architecture, "any")
    svg = ElementTree.fromstring(text)
    assert len(bars(svg)) == len(architecture.blocks)
    assert "href" not in text
    assert "nan" not in text


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_a_network_of_equal_channels_is_drawn(channels: int) -> None:
    """Also where they are a power of two, which is then the least and the most."""
    blocks = (Block("conv", channels), Block("pool"), Block("linear", channels))
    svg = ElementTree.fromstring(draw_network(Architecture(8, channels, blocks), "equal"))
    assert len({number(bar, "height") for bar in bars(svg)}) == 1
    assert all(0 < number(text, "y") < number(svg, "height") for text in svg.iter(f"{SVG}text"))


def test_a_network_with_branches_is_drawn_as_it_is_trained() -> None:
    """And the picture says so; of others there is nothing to say."""
    assert "as it is trained" in draw_network(reference("mobileone_s0"), "x")
    assert "as it is trained" not in draw_network(reference("mobilenet_v2"), "x")


def test_a_label_names_the_kernel_that_is_there() -> None:
    """GhostNet's blocks without a k×k convolution have the 3×3 of their modules; a pooling has no weights."""
    blocks = (
        Block("conv", 8),
        Block("max_pool", kernel_size=3, stride=2),
        Block("ghost", 8, 1, 1, 16, activation="relu"),
        Block("ghost", 8, 5, 2, 16, activation="relu"),
        Block("uib", 8, 0, 1, 16, start_kernel_size=3, activation="relu"),
        Block("mixconv", 8, 7, 1, 16, activation="relu"),
        Block("pool"),
        Block("linear", 2),
    )
    svg = ElementTree.fromstring(draw_network(Architecture(16, 2, blocks), "x"))
    labels = [group.findtext(f"{SVG}text") for group in svg.iter(f"{SVG}g")]
    assert labels == ["Conv 1×1", "MaxPool 3×3", "Ghost2 3×3", "Ghost2 5×5", "Next2 3×3", "Mix2 3–7", "Pool", "FC"]
