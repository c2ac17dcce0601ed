"""The one-line description of a network has its stages, kernels, expansions and activations."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from nas.networks.architecture import Architecture, Block
from nas.networks.describe import describe
from nas.networks.references import reference
from nas.networks.space.search_space import load_space


def test_mobilenet_v3_large_reads_as_in_the_paper() -> None:
    """The stages, kernels, expansions, SE and activations of MobileNetV3's table 1."""
    assert describe(reference("mobilenet_v3_large")) == (
        "224px · conv16 k3 s2 hswish | 16 ×1 k3 e1 relu | 24 ×2 s2 k3 e4-3 relu | 40 ×3 s2 k5 e3 SE relu"
        " | 80 ×4 s2 k3 e6-2.5-2.3-2.3 hswish | 112 ×2 k3 e6 SE hswish | 160 ×3 s2 k5 e6 SE hswish"
        " | conv960 hswish | pool | fc1280 hswish | fc1000"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "mobilenet_v1",
            "224px · conv32 k3 s2 relu6 | ds_conv 64 ×1 k3 relu6 | ds_conv 128 ×2 s2 k3 relu6 | ds_conv 256 ×2 s2 k3"
            " relu6 | ds_conv 512 ×6 s2 k3 relu6 | ds_conv 1024 ×2 s2 k3 relu6 | pool | fc1000",
        ),
        (
            "mobilenet_v4_conv_small",
            "224px · conv32 k3 s2 relu | conv32 k3 s2 relu | conv32 relu | conv96 k3 s2 relu | conv64 relu"
            " | uib 96 ×6 s2 k5+5-3-3-3-3-3+0 e3-2-2-2-2-4 relu | uib 128 ×6 s2 k3+3-5+5-5-5-3-3 e6-4-4-3-4-4 relu"
            " | conv960 relu | pool | conv1280 relu | fc1000",
        ),
        (
            "efficientnet_v2_s",
            "384px · conv24 k3 s2 silu | fused_mbconv 24 ×2 k3 e1 silu | fused_mbconv 48 ×4 s2 k3 e4 silu"
            " | fused_mbconv 64 ×4 s2 k3 e4 silu | 128 ×6 s2 k3 e4 SE silu | 160 ×9 k3 e6 SE silu"
            " | 256 ×15 s2 k3 e6 SE silu | conv1280 silu | pool | fc1000",
        ),
        (
            "fbnet_c",
            "224px · conv16 k3 s2 relu | fbnet 16 ×1 k3 e1 relu | fbnet 24 ×3 s2 k3 e6-1-1 relu"
            " | fbnet 32 ×4 s2 k5-5-5-3 e6-3-6-6 relu | fbnet 64 ×4 s2 k5 e6-3-6-6 relu | fbnet 112 ×4 k5 e6-6-6-3 relu"
            " | fbnet 184 ×4 s2 k5 e6 relu | fbnet 352 ×1 k3 e6 relu | conv1984 relu | pool | fc1000",
        ),
        (
            "mixnet_s",
            "224px · conv16 k3 s2 relu | 16 ×1 k3 e1 relu | mixconv 24 ×2 s2 k3 e6-3 g2 relu"
            " | mixconv 40 ×4 s2 k3..7-3..5-3..5-3..5 e6 g1-2-2-2 SE silu"
            " | mixconv 80 ×3 s2 k3..7-3..5-3..5 e6 g2 SE silu"
            " | mixconv 120 ×3 k3..7-3..9-3..9 e6-3-3 g2 SE silu | mixconv 200 ×3 s2 k3..11-3..9-3..9 e6 g1-2-2 SE silu"
            " | conv1536 relu | pool | fc1000",
        ),
        (
            "shufflenet_v1_g3",
            "224px · conv24 k3 s2 relu | max_pool k3 s2 | shuffle_v1 240 ×4 s2 k3 g3 relu"
            " | shuffle_v1 480 ×8 s2 k3 g3 relu | shuffle_v1 960 ×4 s2 k3 g3 relu | pool | fc1000",
        ),
        (
            "repghostnet_100",
            "224px · conv16 k3 s2 relu | rep_ghost 16 ×1 e0.5 b1 relu | rep_ghost 24 ×2 s2 k3 e1.5 b1 relu"
            " | rep_ghost 40 ×2 s2 k5 e1.5 b1 SE relu | rep_ghost 80 ×4 s2 k3 e3-1.25-1.5-1.5 b1 relu"
            " | rep_ghost 112 ×2 k3 e3 b1 SE relu | rep_ghost 160 ×5 s2 k5 e3 b1 SE(1,3,5) relu"
            " | conv960 relu | pool | fc1280 relu | fc1000",
        ),
        (
            "mobileone_s0",
            "224px · mobile_one 48 ×1 s2 k3 b1 relu | mobile_one 48 ×2 s2 k3 b4 relu | mobile_one 128 ×8 s2 k3 b4 relu"
            " | mobile_one 256 ×10 s2 k3 b4 relu | mobile_one 1024 ×1 s2 k3 b4 relu | pool | fc1000",
        ),
        (
            "mobilevit_xxs",
            "256px · conv16 k3 s2 silu | 16 ×1 k3 e2 silu | 24 ×3 s2 k3 e2 silu | 48 ×1 s2 k3 e2 silu"
            " | mobile_vit48 k3 t64×2 silu | 64 ×1 s2 k3 e2 silu | mobile_vit64 k3 t80×4 silu | 80 ×1 s2 k3 e2 silu"
            " | mobile_vit80 k3 t96×3 silu | conv320 silu | pool | fc1000",
        ),
        (
            "efficientvit_b0",
            "224px · conv8 k3 s2 hswish | 8 ×1 k3 e1 hswish | 16 ×2 s2 k3 e4 hswish | 32 ×2 s2 k3 e4 hswish"
            " | 64 ×1 s2 k3 e4 hswish | lite_mla64 k5 t64 | 64 ×1 k3 e4 hswish | lite_mla64 k5 t64 | 64 ×1 k3 e4 hswish"
            " | 128 ×1 s2 k3 e4 hswish | lite_mla128 k5 t128 | 128 ×1 k3 e4 hswish | lite_mla128 k5 t128"
            " | 128 ×1 k3 e4 hswish | conv1024 hswish | pool | fc1280 hswish | fc1000",
        ),
    ],
)
def test_each_familys_blocks_read_as_in_its_paper(name: str, line: str) -> None:
    """Blocks but inverted residuals are named; repetitions, kernels, groups and branches are those of the tables."""
    assert describe(reference(name)) == line


def test_what_differs_within_a_stage_is_written_block_by_block() -> None:
    """Kernels, expansions, SE and activations that differ are listed; equal ones are written once."""
    blocks = (
        Block("conv", 8, kernel_size=3, stride=2, groups=1, activation="relu"),
        Block("mbconv", 8, 3, 2, 24, activation="relu"),
        Block("mbconv", 8, 5, 1, 24, se_channels=8, se_gate="hsigmoid", activation="hswish"),
        Block("mbconv", 8, 3, 2, 24, activation="relu"),
        Block("conv", 16, groups=8),
        Block("pool"),
        Block("linear", 5),
    )
    assert describe(Architecture(64, 5, blocks)) == (
        "64px · conv8 k3 s2 relu | 8 ×2 s2 k3-5 e3 SE(2) relu-hswish | 8 ×1 s2 k3 e3 relu | conv16 g8 | pool | fc5"
    )


def test_every_member_of_mbv3_is_one_line_with_all_its_blocks() -> None:
    """One line, and the repetitions add up to the blocks."""
    space = load_space("mbv3")
    for seed in range(30):
        architecture = space.sample_member(np.random.default_rng(seed))
        text = describe(architecture)
        assert "\n" not in text
        counted = sum(int(word[1:]) for word in text.split() if word.startswith("×"))
        assert counted == sum(block.op == "mbconv" for block in architecture.blocks)


def test_describing_needs_no_torch() -> None:
    """Describing a network loads no heavy library, so that a command with it starts fast."""
    code = "import sys, nas.networks.describe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
