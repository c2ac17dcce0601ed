"""The operations of MobileOne's block."""

from __future__ import annotations

from nas.networks.architecture import Block
from nas.networks.operators.graph import Graph, Tensor
from nas.networks.operators.mobile import squeezed


def mobile_one(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """MobileOne's block (arXiv:2206.04040, figure 3): the sum of parallel branches, then an activation.

    The training form has `branches` k×k convolutions, a 1×1 convolution if k is above 1, and batch normalisation alone
    where stride and channels allow. With `branches` 0 they are merged into one convolution with a bias.
    Squeeze-and-excitation (MobileOne-S4) comes before the activation.
    """
    if not block.branches and not block.se_channels:
        return _conv(graph, x, block, block.kernel_size, norm=False, activation=block.activation)
    h = _branches(graph, x, block) if block.branches else _conv(graph, x, block, block.kernel_size, norm=False)
    return graph.activation(squeezed(graph, h, block), block.activation)


def _branches(graph: Graph, x: Tensor, block: Block) -> Tensor:
    sizes = [block.kernel_size] * block.branches
    if block.kernel_size > 1:
        sizes.append(1)
    total = graph.norm(x) if block.keeps_shape(x.channels) else None
    for size in sizes:
        h = _conv(graph, x, block, size)
        total = h if total is None else graph.add(total, h)
    assert total is not None
    return total


def _conv(
    graph: Graph, x: Tensor, block: Block, kernel_size: int, *, norm: bool = True, activation: str = "none"
) -> Tensor:
    return graph.conv(
        x, block.out_channels, kernel_size, block.stride, groups=block.groups, activation=activation, norm=norm
    )
