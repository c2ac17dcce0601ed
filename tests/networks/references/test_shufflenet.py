"""ShuffleNetV1, which no library has, is the published network."""

from __future__ import annotations

import pytest

from nas.errors import NasError
from nas.networks.operators import estimate_costs
from nas.networks.references.shufflenet import shufflenet_v1, shufflenet_v2


def hand_count(groups: int, stage2: int, stem: int, width: float = 1) -> int:
    """MACs at 224×224, from tables 1 and the text of section 3.3 of arXiv:1707.01083, with channels that divide."""
    macs = 3 * 3 * 3 * stem * 112**2
    before, side = stem, 56
    for stage, repeats in ((2, 3), (3, 7), (4, 3)):
        channels = int(stage2 * 2 ** (stage - 2) * width)
        narrow = channels // 4
        # Stride 2: the input is appended, so the last 1×1 makes the rest. Stage 2 begins without groups.
        macs += before * narrow // (1 if stage == 2 else groups) * side**2
        side //= 2
        macs += (9 * narrow + narrow * (channels - before) // groups) * side**2
        macs += repeats * (9 * narrow + 2 * narrow * channels // groups) * side**2
        before = channels
    return macs + before * 1000


@pytest.mark.parametrize(("groups", "stage2"), [(1, 144), (2, 200), (3, 240), (4, 272), (8, 384)])
def test_macs_are_those_of_the_table_by_hand(groups: int, stage2: int) -> None:
    """And about 140 million for every number of groups (table 2)."""
    macs = estimate_costs(shufflenet_v1(groups)).macs
    assert macs == hand_count(groups, stage2, stem=24)
    assert macs == pytest.approx(140e6, rel=0.05)


@pytest.mark.parametrize(
    ("groups", "width", "stem", "million_macs", "million_params"),
    [
        (3, 0.5, 12, 38, 0.7),
        (8, 0.5, 16, 40, 1.0),
        (3, 1.0, 24, 138, 1.9),
        (8, 1.0, 24, 138, 2.4),
        (3, 1.5, 24, 292, 3.4),
        (8, 1.5, 24, 290, 4.3),
        (3, 2.0, 48, 524, 5.4),
        (8, 2.0, 48, 522, 6.5),
    ],
)
def test_widths_have_the_costs_that_the_authors_publish(
    groups: int, width: float, stem: int, million_macs: int, million_params: float
) -> None:
    """The figures beside their code (github.com/megvii-model/ShuffleNet-Series), in its rounding, up or down."""
    architecture = shufflenet_v1(groups, width=width)
    costs = estimate_costs(architecture)
    assert architecture.blocks[0].out_channels == stem
    assert costs.macs == hand_count(groups, {3: 240, 8: 384}[groups], stem, width)
    assert abs(costs.macs / 1e6 - million_macs) < 0.6
    assert abs(costs.params / 1e6 - million_params) < 0.06


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("width", "million_macs"), [(0.5, 38), (0.25, 13)])
def test_small_widths_cost_about_what_the_paper_says(groups: int, width: float, million_macs: int) -> None:
    """One complexity stands for all groups (table 2); channels that the groups do not divide are rounded up."""
    macs = estimate_costs(shufflenet_v1(groups, width=width)).macs
    assert macs == pytest.approx(million_macs * 1e6, rel=0.16)


def test_what_the_papers_do_not_have_is_refused() -> None:
    """With what they have."""
    with pytest.raises(NasError, match="groups of ShuffleNetV1 must be one of 1, 2, 3, 4, 8, but got 5"):
        shufflenet_v1(5)
    with pytest.raises(NasError, match=r"width of ShuffleNetV2 must be one of 0\.5, 1\.0, 1\.5, 2\.0, but got 0\.75"):
        shufflenet_v2(width=0.75)
