"""Tables of stages become the blocks that the papers mean."""

from __future__ import annotations

from nas.networks.architecture import Block
from nas.networks.references.stages import Stage, deepened, mbconv_stages

FUSED = Stage(channels=16, repeats=1, stride=2, kernel_size=3, expand_ratio=4, op="fused_mbconv")
SQUEEZED = Stage(channels=24, repeats=2, stride=2, kernel_size=5, expand_ratio=6, se_ratio=0.25)


def test_only_the_first_block_of_a_stage_has_its_stride_and_its_input() -> None:
    """Hidden and squeezed channels follow from the block's own input."""
    squeeze = {"se_gate": "sigmoid", "se_activation": "silu", "activation": "silu"}
    blocks = mbconv_stages([FUSED, SQUEEZED], 8, activation="silu", se_activation="silu")
    assert list(blocks) == [
        Block("fused_mbconv", 16, kernel_size=3, stride=2, hidden_channels=32, activation="silu"),
        Block("mbconv", 24, kernel_size=5, stride=2, hidden_channels=96, se_channels=4, **squeeze),
        Block("mbconv", 24, kernel_size=5, stride=1, hidden_channels=144, se_channels=6, **squeeze),
    ]


def test_rounding_can_be_another() -> None:
    """Of channels (given after scaling) and of squeezed channels (given as a share of the input)."""
    blocks = mbconv_stages(
        [SQUEEZED],
        8,
        width=1.3,
        activation="relu",
        round_channels=lambda c: int(c),
        round_squeeze=lambda c: 10 * int(c),
    )
    assert [(block.out_channels, block.se_channels) for block in blocks] == [(31, 20), (31, 70)]


def test_depth_rounds_up() -> None:
    """As in EfficientNet: a little more depth is one more block in every stage."""
    assert [stage.repeats for stage in deepened([FUSED, SQUEEZED], 1.1)] == [2, 3]
    assert [stage.repeats for stage in deepened([FUSED, SQUEEZED], 2.5)] == [3, 5]
    assert deepened([FUSED, SQUEEZED], 1.0) == (FUSED, SQUEEZED)
    # 100 × 1.1² is 121.00000000000001 in floating point.
    assert deepened([FUSED._replace(repeats=100)], 1.1**2)[0].repeats == 121
