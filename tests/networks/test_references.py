"""Are the published networks the published networks?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.operators import estimate_costs
from nas.networks.references import REFERENCES, find_network, reference
from nas.networks.references.mnasnet import mnasnet_a1
from nas.networks.references.mobilenet import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small

# Counted in torchvision 0.29 and, for the last two (tf_mobilenetv3_large_minimal_100, semnasnet_100), timm 1.0.
EXACT: list[tuple[Callable[..., Architecture], dict[str, object], int, int]] = [
    (mobilenet_v2, {}, 3_504_872, 300_774_272),
    (mobilenet_v2, {"width": 0.35}, 1_677_128, 59_285_808),
    (mobilenet_v2, {"width": 0.5}, 1_968_680, 97_131_840),
    (mobilenet_v2, {"width": 0.75}, 2_636_424, 209_069_792),
    (mobilenet_v2, {"width": 1.4}, 6_108_776, 582_195_824),
    (mobilenet_v3_large, {}, 5_483_032, 216_589_760),
    (mobilenet_v3_large, {"width": 0.75}, 3_377_576, 140_033_816),
    (mobilenet_v3_small, {}, 2_542_856, 56_510_400),
    (mobilenet_v3_large, {"minimalistic": True}, 3_924_288, 209_136_704),
    (mnasnet_a1, {}, 3_887_038, 311_579_072),
]


@pytest.mark.parametrize(("build", "options", "params", "macs"), EXACT)
def test_params_and_macs_are_exactly_the_published_ones(
    build: Callable[..., Architecture], options: dict[str, object], params: int, macs: int
) -> None:
    """Not one parameter more or less."""
    costs = estimate_costs(build(**options))
    assert (costs.params, costs.macs) == (params, macs)


def test_the_slim_reading_of_width_has_the_published_costs() -> None:
    """155 million MACs and 4.0 million parameters at 0.75, as the authors say; at width 1 both readings agree."""
    costs = estimate_costs(mobilenet_v3_large(width=0.75, slim=True))
    assert (round(costs.macs / 1e6), round(costs.params / 1e6, 1)) == (155, 4.0)
    for build in (mobilenet_v3_large, mobilenet_v3_small):
        assert build(slim=True) == build()


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_found_by_name_and_in_json_files(name: str, tmp_path: Path) -> None:
    """A file holds the architecture itself, or a pick with the architecture in it."""
    architecture = reference(name)
    for number, data in enumerate([architecture.to_json(), {"name": "pick", "architecture": architecture.to_json()}]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        assert find_network(str(path)) == architecture
    assert find_network(name) == architecture


def test_an_unknown_name_lists_those_that_exist() -> None:
    """Nearest first."""
    with pytest.raises(
        NasError, match=r"unknown reference network 'mobilenet_v4'\. Known: mobilenet_v2, mobilenet_v3_"
    ):
        reference("mobilenet_v4")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "malformed JSON"),
        (b"\xff\xfe", "cannot read"),
        (b"[1]", "not an architecture"),
        (b'{"architecture": {"resolution": 32, "classes": 2, "blocks": []}}', "at least one block"),
    ],
)
def test_a_file_that_holds_no_network_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(NasError, match=said) as caught:
        find_network(str(path))
    assert str(path) in str(caught.value)
