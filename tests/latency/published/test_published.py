"""Tests of the readers of published figures in `nas.latency.published`."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.latency.published.files import PublishedUnit, published_rows, read_published
from nas.latency.published.google import (
    GOOGLE_MOBILENET_V3,
    GOOGLE_NETWORKS,
    google_mobilenet_v3,
    google_networks,
    hswish_ablation,
)
from nas.latency.published.hw_nas_bench import HELP_FBNET, build_fbnet32
from nas.latency.published.nn_meter import NN_METER, build_early_stages, nn_meter, squeeze_excitation_pairs
from nas.latency.published.ofa_note10 import OFA_NOTE10, ofa_note10
from nas.latency.published.single_path_nas import SINGLE_PATH_NAS, single_path_nas
from nas.latency.published.tf_nas import TF_NAS, build_tf_nas
from nas.latency.table import Row
from nas.networks.operators import parse_unit, units
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large


def write(folder: Path, name: str, text: str) -> Path:
    """A published file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_networks_are_those_that_were_measured(tmp_path: Path) -> None:
    """Family, width and resolution; all resolutions of a network are one family."""
    rows = "mobilenet_v2,1.0,224.0,73.8\nmobilenet_v2,1.0,192.0,55.1\nmnasnet_a1,0.5,224,1\n"
    write(tmp_path, GOOGLE_NETWORKS, "family,width,res,pixel1_ms\n" + rows)
    first, second, third = google_networks(tmp_path)
    assert (first.units, first.latency_ms) == (units(mobilenet_v2()), 73.8)
    assert first.family == second.family != third.family
    write(tmp_path, GOOGLE_MOBILENET_V3, "model,pixel1_ms\nmobilenet_v3 Large dm=0.75 (float),39.8\nother,1\n")
    (large,) = google_mobilenet_v3(tmp_path)
    assert large.units == units(mobilenet_v3_large(width=0.75, slim=True))


def test_layers_of_one_shape_are_one_family(tmp_path: Path) -> None:
    """Layers 2 to 4 of Single-path NAS are the same unit, measured in three places; layers 0 and 21 are left out."""
    rows = "".join(f"{layer},{choice},1.5\n" for layer in range(22) for choice in range(4))
    write(tmp_path, SINGLE_PATH_NAS, "layer,choice,latency_ms\n" + rows)
    samples = single_path_nas(tmp_path)
    assert len(samples) == 80
    family_of = {sample.units[0]: sample.family for sample in samples}
    assert all(family_of[sample.units[0]] == sample.family for sample in samples)
    assert len(set(family_of.values())) == 10
    assert {unit.block.kernel_size for unit in family_of} == {3, 5}


NN_METER_HEADER = "device,op,hw,in_c,out_c,expand_ratio,stride,kernel,se,latency_ms,key\n"


def test_pairs_tell_what_squeeze_and_excitation_adds(tmp_path: Path) -> None:
    """Only blocks that differ in nothing else; other devices are not read."""
    rows = (
        "pixel1,MB,56,24,24,3,1,3,0,2.0,a\npixel1,MB,56,24,24,3,1,3,1,2.5,b\npixel1,MB,56,24,24,3,1,5,1,9,c\n"
        "pixel4,MB,56,24,24,3,1,3,0,1.0,d\npixel1,firstconv,224,3,16,,2,3,0,1.0,e\n"
    )
    write(tmp_path, NN_METER, NN_METER_HEADER + rows)
    blocks = nn_meter(tmp_path)
    assert [block.name for block in blocks] == ["a", "b", "c", "e"]
    assert blocks[1].units[0].block.se_channels == 18
    (pair,) = squeeze_excitation_pairs(blocks)
    assert (pair.latency_ms, pair.scale_of, pair.family) == (0.5, "nn_meter", blocks[0].family)
    assert (pair.units, pair.without) == (blocks[1].units, blocks[0].units)


def test_blocks_with_a_shortcut_that_no_unit_has_are_left_out(tmp_path: Path) -> None:
    """nn-Meter's add their input even where the channels change."""
    rows = "pixel4,MB,56,24,32,3,2,3,0,2.0,a\npixel4,MB,56,24,24,1,1,3,0,0.5,b\npixel6,MB,56,24,24,3,1,3,0,9,c\n"
    write(tmp_path, NN_METER, NN_METER_HEADER + rows)
    table = build_early_stages("pixel4_early", tmp_path)
    assert dict(table.rows) == {
        "mbconv_56x56_i24_o24_h24_k3_s1_se0_hswish": Row(0.5, runs=1, source="published"),
    }


def test_tf_nas_blocks_that_were_never_timed_are_left_out(tmp_path: Path) -> None:
    """Of fewer hidden channels than input channels, negative or not; every eighth of the others is kept, unzipped."""
    key = "MBInvertedResBlock_14_80_160_112_k5_s1_swish"
    lines = [f"titan_rtx_bs32,{key},{hidden}.0,{hidden - 72.5}" for hidden in (72, 80, 84, 88)]
    lines += ["titan_rtx_bs32,base,,1.9", f"xeon_gold6130_bs1,{key},88.0,7"]
    path = tmp_path / TF_NAS
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress("\n".join(["device,key,mid_c,latency_ms", *lines]).encode()))
    table = build_tf_nas("titan_rtx_tfnas", tmp_path)
    tail = "k5_s1_se160_silu_sigmoid_squeezesilu"
    assert {key: row.latency_ms for key, row in table.rows.items()} == {
        f"mbconv_14x14_i80_o112_h80_{tail}": 7.5,
        f"mbconv_14x14_i80_o112_h88_{tail}": 15.5,
    }
    assert "a batch of 32 images" in table.conditions.protocol
    path.write_bytes(b"no gzip")
    with pytest.raises(NasError, match="cannot read the published latencies"):
        build_tf_nas("titan_rtx_tfnas", tmp_path)


def test_fbnet_layers_that_change_the_shape_are_left_out(tmp_path: Path) -> None:
    """Skipping those costs something; equal layers are one unit."""
    lines = ["device,layer,op,delta_ms_vs_skip", "pixel3,-1,all_skip_constant,2.8", "pixel3,1,k3_e1,0.2"]
    lines += ["pixel3,2,k3_e1_g2,0.5", "pixel3,3,k3_e1_g2,0.5", "pixel3,3,skip,0.0", "raspi4,2,k3_e1,1.0"]
    write(tmp_path, HELP_FBNET, "\n".join(lines))
    table = build_fbnet32("pixel3_fbnet32", tmp_path)
    unit = "fbnet_32x32_i24_o24_h24_k3_s1_g2_relu"
    assert dict(table.rows) == {unit: Row(0.5, runs=2, source="published")}
    write(tmp_path, HELP_FBNET, "\n".join([*lines, "pixel3,2,k7_e1,0.5"]))
    with pytest.raises(NasError, match=r"'k7_e1' is none of FBNet's blocks.*csv:8"):
        build_fbnet32("pixel3_fbnet32", tmp_path)


def test_note10_layers_are_units(tmp_path: Path) -> None:
    """With the squeezed channels of once-for-all, standard deviation and runs."""
    header = "op,in_h,in_c,out_c,kernel,stride,idskip,se,hs,hidden,count,mean_ms,std_ms\n"
    rows = "expanded_conv,14,136,136,7,1,1,1,1,408,100,0.9,0.01\nConv_2,1,1152,1536,,,,,,,498,0.7,0.1\n"
    write(tmp_path, OFA_NOTE10, header + rows)
    assert ofa_note10(tmp_path) == [
        PublishedUnit(parse_unit("mbconv_14x14_i136_o136_h408_k7_s1_se104_hswish"), 0.9, 0.01, 100),
        PublishedUnit(parse_unit("linear_1x1_i1152_o1536_hswish_nobias"), 0.7, 0.1, 498),
    ]
    write(tmp_path, OFA_NOTE10, header + rows.replace("7,1,1,1,1,408", "7,1,0,1,1,408"))
    with pytest.raises(NasError, match=r"idskip is 0, which mbconv_\S+ is not.*csv:2"):
        ofa_note10(tmp_path)


def test_figures_for_one_unit_are_one_row() -> None:
    """The mean over all runs, with the largest spread."""
    unit = parse_unit("pool_7x7_i960")
    rows = published_rows([PublishedUnit(unit, 1.0, 0.1, 30), PublishedUnit(unit, 2.0, 0.3, 10)])
    assert rows == {unit.key: Row(1.25, 0.3, 40, "published")}


def test_figures_that_are_not_wanted_are_not_checked(tmp_path: Path) -> None:
    """A negative figure in a row that is left out is no problem; in another row it is an error that names the line."""
    path = write(tmp_path, "x.csv", "latency_ms\n-1\n2\n")
    unit = parse_unit("pool_7x7_i960")
    figures = read_published(
        path, ["latency_ms"], lambda row: PublishedUnit(unit, 2.0) if row["latency_ms"] == "2" else None
    )
    assert [figure.latency_ms for figure in figures] == [2.0]
    with pytest.raises(NasError, match=r"must be a number above 0, but is -1 .*x\.csv:2"):
        read_published(path, ["latency_ms"], lambda row: PublishedUnit(unit, float(row["latency_ms"])))


def test_the_ablation_differs_in_h_swish_alone() -> None:
    """0.9 and 2.9 ms, of networks with the same units but for the activation."""
    published, everywhere = hswish_ablation()
    assert (published.latency_ms, everywhere.latency_ms) == (pytest.approx(0.9), pytest.approx(2.9))
    for sample in (published, everywhere):
        assert [unit.macs for unit in sample.units] == [unit.macs for unit in sample.without]
        assert all(unit.block.activation != "hswish" for unit in sample.without)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"cannot read the published latencies in .*latency_tables/README\.md says where to get them"),
        ("", r"must have the columns family, width, res, pixel1_ms too, but has none"),
        ("family,width\nx,1\n", r"must have the columns res, pixel1_ms too, but has family, width"),
        ("family,width,res,pixel1_ms\nmobilenet_v9,1,224,5\n", r"not a published latency: .*mobilenet_v9.*csv:2\)"),
        ("family,width,res,pixel1_ms\nmobilenet_v2,wide,224,5\n", r"not a published latency: .*wide.*csv:2\)"),
        ("family,width,res,pixel1_ms\nmobilenet_v2,1\n", r"not a published latency: .*csv:2\)"),
        (
            "family,width,res,pixel1_ms\nmobilenet_v2,1,224,nan\n",
            r"a latency must be a number above 0, but is nan .*:2",
        ),
        ("family,width,res,pixel1_ms\nmobilenet_v2,1,224,0\n", r"a latency must be a number above 0, but is 0 .*:2"),
    ],
)
def test_a_file_in_another_layout_is_one_line(text: str | None, message: str, tmp_path: Path) -> None:
    """Missing, empty, without columns, with rows that make no sense."""
    if text is not None:
        write(tmp_path, GOOGLE_NETWORKS, text)
    with pytest.raises(NasError, match=message) as caught:
        google_networks(tmp_path)
    assert "\n" not in str(caught.value)
