"""The operations of plain layers: convolution, pooling, linear."""

from __future__ import annotations

from nas.networks.architecture import Block
from nas.networks.operators.graph import Graph, Tensor


def conv(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """Convolution, batch normalisation, activation."""
    return graph.conv(
        x, block.out_channels, block.kernel_size, block.stride, groups=block.groups, activation=block.activation
    )


def max_pool(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """The maximum over k×k windows."""
    return graph.window_pool(x, block.kernel_size, block.stride)


def pool(graph: Graph, x: Tensor, block: Block) -> Tensor:  # noqa: ARG001 - all operators have one signature
    """Global average pooling."""
    return graph.pool(x)


def linear(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """A fully connected layer, layer normalisation if the block's `norm` is set, and an activation."""
    if not block.norm:
        return graph.conv(x, block.out_channels, norm=False, bias=block.bias, activation=block.activation)
    h = graph.conv(x, block.out_channels, norm=False, bias=block.bias)
    return graph.activation(graph.norm(h), block.activation)
