"""Are published figures read as what they are?"""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import NasError
from nas.latency.published import (
    GOOGLE_MOBILENET_V3,
    GOOGLE_NETWORKS,
    NN_METER,
    SINGLE_PATH_NAS,
    google_mobilenet_v3,
    google_networks,
    hswish_ablation,
    nn_meter,
    single_path_nas,
    squeeze_excitation_pairs,
)
from nas.networks.operators import units
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


def test_pairs_tell_what_squeeze_and_excitation_adds(tmp_path: Path) -> None:
    """Only blocks that differ in nothing else; other devices are not read."""
    header = "device,op,hw,in_c,out_c,expand_ratio,stride,kernel,se,latency_ms,key\n"
    rows = (
        "pixel1,MB,56,24,24,3,1,3,0,2.0,a\npixel1,MB,56,24,24,3,1,3,1,2.5,b\npixel1,MB,56,24,24,3,1,5,1,9,c\n"
        "pixel4,MB,56,24,24,3,1,3,0,1.0,d\npixel1,firstconv,224,3,16,,2,3,0,1.0,e\n"
    )
    write(tmp_path, NN_METER, header + rows)
    blocks = nn_meter(tmp_path)
    assert [block.name for block in blocks] == ["a", "b", "c", "e"]
    (pair,) = squeeze_excitation_pairs(blocks)
    assert (pair.latency_ms, pair.scale_of, pair.family) == (0.5, "nn_meter", blocks[0].family)
    assert (pair.units, pair.without) == (blocks[1].units, blocks[0].units)


def test_the_ablation_differs_in_h_swish_alone() -> None:
    """0.9 and 2.9 ms, of networks with the same units but for the activation."""
    published, everywhere = hswish_ablation()
    assert (published.latency_ms, everywhere.latency_ms) == (pytest.approx(0.9), pytest.approx(2.9))
    for sample in (published, everywhere):
        assert [unit.macs for unit in sample.units] == [unit.macs for unit in sample.without]
        assert all(unit.block.activation != "hswish" for unit in sample.without)


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_a_file_in_another_layout_is_one_line(text: str | None, said: str, tmp_path: Path) -> None:
    """Missing, empty, without columns, with rows that make no sense."""
    if text is not None:
        write(tmp_path, GOOGLE_NETWORKS, text)
    with pytest.raises(NasError, match=said) as caught:
        google_networks(tmp_path)
    assert "\n" not in str(caught.value)
