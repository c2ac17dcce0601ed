"""Can an architect read what a network is?"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from nas.networks.architecture import Architecture, Block
from nas.networks.describe import describe
from nas.networks.references import reference
from nas.networks.space import load_space


def test_mobilenet_v3_large_reads_as_in_the_paper() -> None:
    """The stages, kernels, expansions, SE and activations of MobileNetV3's table 1."""
    assert describe(reference("mobilenet_v3_large")) == (
        "224px · conv16 k3 s2 hswish | 16 ×1 k3 e1 relu | 24 ×2 s2 k3 e4-3 relu | 40 ×3 s2 k5 e3 SE relu"
        " | 80 ×4 s2 k3 e6-2.5-2.3-2.3 hswish | 112 ×2 k3 e6 SE hswish | 160 ×3 s2 k5 e6 SE hswish"
        " | conv960 hswish | pool | fc1280 hswish | fc1000"
    )


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
        architecture = space.sample(np.random.default_rng(seed))
        text = describe(architecture)
        assert "\n" not in text
        counted = sum(int(word[1:]) for word in text.split() if word.startswith("×"))
        assert counted == sum(block.op == "mbconv" for block in architecture.blocks)


def test_describing_needs_no_torch() -> None:
    """The description can be printed by a command that starts at once."""
    code = "import sys, nas.networks.describe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
