"""The block of MobileOne as a torch module.

`nas.networks.operators.mobile_one` cites the paper, under the same name.
"""

from __future__ import annotations

from torch import Tensor, nn

from nas.networks.blocks.layers import ACTIVATION_MODULES, ConvBnAct
from nas.networks.blocks.mobile import squeeze_excitation
from nas.networks.operators import Unit


class MobileOne(nn.Module):
    """The sum of `branches`, then squeeze-and-excitation, then the activation.

    A branch is a batch normalisation, alone or after a convolution. Where the unit's `branches` are 0, there is one
    branch, a convolution with a bias.
    """

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        block = unit.block
        kernel, trained = block.kernel_size, block.branches > 0
        branches: list[nn.Module] = []
        if trained and block.keeps_shape(unit.in_channels):
            branches.append(nn.BatchNorm2d(block.out_channels))
        for size in [kernel] * max(1, block.branches) + ([1] if trained and kernel > 1 else []):
            branches.append(
                ConvBnAct(unit.in_channels, block.out_channels, size, block.stride, block.groups, norm=trained)
            )
        self.branches = nn.ModuleList(branches)
        self.rest = nn.Sequential(*squeeze_excitation(unit, block.out_channels), ACTIVATION_MODULES[block.activation]())

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, ceil(h / stride), ceil(w / stride))."""
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        out: Tensor = self.rest(total)
        return out
