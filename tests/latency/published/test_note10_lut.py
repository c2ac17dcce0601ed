"""latency_tables/note10_lut has all units of once-for-all's space, and says which rows are modelled."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from nas.latency.published.note10_lut import SPACE_RESOLUTIONS, SPACE_WIDTHS
from nas.latency.published.ofa_note10 import OFA_NOTE10, RESOLUTIONS, WIDTH
from nas.latency.table import load_table
from nas.networks.operators import Unit, units
from nas.networks.references.ofa import ofa_mobilenet_v3
from nas.networks.space.search_space import load_space
from nas.networks.space.table import SpaceTable

TABLE = load_table("note10_lut")


def test_it_has_exactly_the_units_of_the_space() -> None:
    """All widths and resolutions of ofa_mbv3."""
    space = load_space("ofa_mbv3")
    assert set(TABLE.rows) == {unit.key for unit in space.units()}


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_width_12_is_published_from_160_pixels_up(resolution: int) -> None:
    """The largest network rests on published rows alone, that of width 1.0 on modelled ones."""
    largest = TABLE.estimate(ofa_mobilenet_v3(width=WIDTH, resolution=resolution))
    assert largest.share("published") == 1
    assert TABLE.estimate(ofa_mobilenet_v3(resolution=resolution)).share("published") == 0


@pytest.mark.parametrize("resolution", [r for r in SPACE_RESOLUTIONS if r < RESOLUTIONS[0]])
def test_small_resolutions_are_modelled(resolution: int) -> None:
    """Except units that do not depend on the resolution, or whose side occurs at a larger one."""
    assert TABLE.estimate(ofa_mobilenet_v3(width=WIDTH, resolution=resolution)).share("modelled") > 0.4


def test_rows_are_as_published() -> None:
    """Mean, standard deviation and runs; two of them in the files of one resolution alone."""
    row = TABLE.rows["mbconv_112x112_i24_o32_h144_k7_s2_se0_relu"]
    assert (row.latency_ms, row.spread_ms, row.runs, row.source) == (9.15391, 0.314, 54, "published")
    row = TABLE.rows["conv_160x160_i3_o24_k3_s2_hswish"]
    assert (row.latency_ms, row.spread_ms, row.runs, row.source) == (0.495562, 0.01024, 498, "published")


def test_the_smallest_network_is_the_sum_of_its_published_blocks() -> None:
    """At 160 pixels, as the figures of that resolution add up."""
    published = [0.495562, 0.848719, 1.186679, 0.930975, 0.541509, 0.532742, 0.381894, 0.467068, 0.554269, 0.86918]
    published += [0.606019, 0.617714, 0.445681, 0.008483, 0.747412, 0.656441]
    smallest = ofa_mobilenet_v3(depth=2, kernel_size=3, expand_ratio=3, width=WIDTH, resolution=160)
    assert TABLE.estimate(smallest).latency_ms == pytest.approx(sum(published), rel=0.002)


def test_latency_grows_with_width_and_resolution() -> None:
    """Modelled rows beside published ones: no step back in the largest and the smallest network.

    Channels of width 1.0 are 0.83 times those of 1.2, so that MACs are about 0.7 times as many.
    """
    for choice in ((4, 7, 6), (2, 3, 3)):
        depth, kernel_size, expand_ratio = choice
        latencies = {
            (width, resolution): TABLE.estimate(
                ofa_mobilenet_v3(
                    depth=depth, kernel_size=kernel_size, expand_ratio=expand_ratio, width=width, resolution=resolution
                )
            ).latency_ms
            for width in SPACE_WIDTHS
            for resolution in SPACE_RESOLUTIONS
        }
        for resolution in SPACE_RESOLUTIONS:
            assert 0.6 < latencies[1.0, resolution] / latencies[WIDTH, resolution] < 0.8
        for width in SPACE_WIDTHS:
            assert (np.diff([latencies[width, resolution] for resolution in SPACE_RESOLUTIONS]) > 0).all()


def test_errors_of_the_modelled_rows_are_told() -> None:
    """In the .yaml: whole networks at a resolution, and a stage, that the figures were held out of."""
    checks = TABLE.conditions.validation
    networks = checks["resolution_160_from_200_and_more"]["networks"]
    assert networks["count"] == 27
    assert float(networks["mean_absolute"].rstrip("%")) <= 3
    assert "Modelled: width 1.0" in TABLE.conditions.protocol


def test_sums_are_those_of_the_published_file(published: Path) -> None:
    """Random networks of width 1.2, added up by the file's own figures for their resolution."""
    figures: dict[str, dict[str, float]] = {}
    with (published / OFA_NOTE10).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            figures.setdefault(row["resolution"], {})[row["key"]] = float(row["mean_ms"])
    networks = [
        network
        for network in SpaceTable(load_space("ofa_mbv3")).sample(300, np.random.default_rng(0))
        if network.resolution >= RESOLUTIONS[0] and network.blocks[0].out_channels == 24
    ]
    assert len(networks) > 50
    for network in networks:
        by_key = figures[str(network.resolution)]
        expected = sum(by_key[published_key(unit)] for unit in units(network))
        # Blocks that stand in the files of several resolutions have the mean of their figures.
        assert TABLE.estimate(network).latency_ms == pytest.approx(expected, rel=0.005)


def published_key(unit: Unit) -> str:
    """What the source calls a unit of ofa_mbv3."""
    block = unit.block
    ins, outs = f"{unit.height}x{unit.width}x{unit.in_channels}", f"{unit.out_height}x{unit.out_width}x"
    if block.op == "mbconv":
        flags = (int(unit.residual), int(block.se_channels > 0), int(block.activation == "hswish"))
        return (
            f"expanded_conv-input:{ins}-output:{outs}{block.out_channels}-expand:{block.hidden_channels}"
            f"-kernel:{block.kernel_size}-stride:{block.stride}-idskip:{flags[0]}-se:{flags[1]}-hs:{flags[2]}"
        )
    if block.op == "linear" and block.bias:
        return f"Logits-input:{ins}-output:1000"
    name = {"pool": "AvgPool2D", "linear": "Conv_2", "conv": "Conv" if block.kernel_size == 3 else "Conv_1"}[block.op]
    return f"{name}-input:{ins}-output:{outs}{unit.out_channels}"
