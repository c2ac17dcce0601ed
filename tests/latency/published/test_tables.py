"""Tables made from published figures are what their commands make, and say what they do not cover."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import NasError
from nas.latency.__main__ import main
from nas.latency.published import pixel_lut
from nas.latency.published.build import BUILDERS, build_table
from nas.latency.table import load_table
from nas.networks.operators import parse_unit
from nas.networks.references import reference

TABLES = Path(__file__).parents[3] / "latency_tables"
BUILT = (pixel_lut.NAME, *BUILDERS)
BLOCKS = [name for name in BUILDERS if name != "note10_lut"]
# The licences under which figures of others may be handed on.
LICENCES = {"MIT", "Apache-2.0"}


@pytest.mark.parametrize("name", BUILT)
def test_the_command_writes_the_shipped_bytes_again(name: str, published: Path, tmp_path: Path) -> None:
    """From the published files."""
    assert main(["build", name, "--published", str(published), "--out", str(tmp_path)]) == 0
    for file in (f"{name}.csv", f"{name}.yaml"):
        assert (tmp_path / file).read_bytes() == (TABLES / file).read_bytes()


@pytest.mark.parametrize("name", BUILT)
def test_published_rows_may_be_handed_on(name: str) -> None:
    """Each source has a licence that allows it, a version and an address."""
    for citation in load_table(name).conditions.sources["published"]:
        assert citation.licence in LICENCES
        assert citation.version
        assert citation.url.startswith("https://")


@pytest.mark.parametrize("name", BLOCKS)
def test_tables_of_blocks_are_published_throughout_and_cost_no_network(name: str) -> None:
    """They say so, and refuse one."""
    table = load_table(name)
    assert {row.source for row in table.rows.values()} == {"published"}
    assert "Covers" in table.conditions.protocol
    assert "whole network" in table.conditions.protocol
    assert table.conditions.model is None
    with pytest.raises(NasError, match=f"the latency table {name} has no row for"):
        table.estimate(reference("mobilenet_v3_large"))


@pytest.mark.parametrize(
    ("name", "unit", "latency_ms"),
    [
        ("pixel4_early", "conv_224x224_i3_o16_k3_s2_hswish", 0.620558),
        ("pixel4_early", "mbconv_56x56_i24_o24_h72_k3_s1_se0_hswish", 1.17025),
        ("pixel6_early", "mbconv_112x112_i16_o16_h16_k3_s1_se0_hswish", 0.466159),
        ("titan_rtx_tfnas", "mbconv_112x112_i16_o24_h128_k3_s2_se0_relu", 3.00572),
        ("xeon_6130_tfnas", "mbconv_7x7_i192_o320_h1536_k5_s1_se384_silu_sigmoid_squeezesilu", 9.58368),
        ("pixel3_fbnet32", "fbnet_32x32_i16_o16_h16_k3_s1_relu", 0.239281),
        ("raspi4_fbnet32", "fbnet_8x8_i64_o64_h384_k5_s1_relu", 1.3257),
        ("eyeriss_fbnet32", "fbnet_8x8_i112_o112_h112_k3_s1_g2_relu", 0.0394240),
        ("fpga_fbnet32", "fbnet_4x4_i184_o184_h1104_k5_s1_relu", 3.3984),
    ],
)
def test_rows_are_as_published(name: str, unit: str, latency_ms: float) -> None:
    """One figure of each shape, as in its source."""
    row = load_table(name).rows[unit]
    assert row.latency_ms == pytest.approx(latency_ms, rel=1e-4)


def test_a_figure_of_tf_nas_is_of_a_block_that_was_built() -> None:
    """At least as many hidden channels as input channels: all others are extrapolated, some of them below zero."""
    for name in ("titan_rtx_tfnas", "xeon_6130_tfnas"):
        for unit in map(parse_unit, load_table(name).rows):
            assert unit.block.hidden_channels >= unit.in_channels


def test_early_stages_of_nn_meter_keep_their_channels() -> None:
    """All others have a shortcut that no unit has."""
    for unit in map(parse_unit, load_table("xiaomi11_early").rows):
        assert unit.block.op == "conv" or unit.in_channels == unit.out_channels


def test_names_and_spaces_that_make_no_sense_are_refused() -> None:
    """Listing what there is."""
    with pytest.raises(NasError, match=r"unknown table of published figures 'note9_lut'\. Known: note10_lut, "):
        build_table("note9_lut", Path())
    with pytest.raises(NasError, match="the units of note10_lut are those of the published figures: leave out --space"):
        build_table("note10_lut", Path(), ["mbv3"])
