"""The operations of GhostNet's and RepGhostNet's blocks."""

from __future__ import annotations

from dataclasses import replace

from nas.errors import NasError
from nas.networks.architecture import Block
from nas.networks.operators.graph import Graph, Tensor
from nas.networks.operators.mobile import squeezed

# Kernel of the cheap operations: d in the papers, which is 3 in all their networks.
CHEAP_KERNEL_SIZE = 3


def ghost(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """GhostNet's bottleneck (arXiv:1911.11907, figure 3): a ghost module expands, a second one reduces.

    A ghost module (figure 2b) makes half of its channels by a 1×1, and the other half from these by a depthwise 3×3.
    Between the two modules are a depthwise k×k (for stride 2) and squeeze-and-excitation. The input is added; where
    stride or channels change, it goes through a depthwise k×k and a 1×1 first. Where they do not change, nothing is
    k×k, and k must be 1.
    """
    _check_kernel(x, block)
    for name, channels in (("hidden_channels", block.hidden_channels), ("out_channels", block.out_channels)):
        if channels % 2:
            raise NasError(f"{name} of a ghost block must be even, but got {channels}")

    def module(h: Tensor, channels: int, activation: str) -> Tensor:
        primary = graph.conv(h, channels // 2, activation=activation)
        return graph.concat(primary, graph.depthwise(primary, CHEAP_KERNEL_SIZE, activation=activation))

    h = module(x, block.hidden_channels, block.activation)
    h = _strided(graph, h, block)
    h = module(h, block.out_channels, "none")
    return graph.add(h, _shortcut(graph, x, block))


def rep_ghost(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """RepGhostNet's bottleneck (arXiv:2211.06088, section 3): as `ghost`, but its modules add instead of concatenating.

    A module is a 1×1, then the sum of a depthwise 3×3 and of batch normalisation alone (`branches` 1, the training
    form). With `branches` 0 the sum is merged into one depthwise convolution with a bias.
    """
    if block.branches > 1:
        raise NasError(f"branches of a rep_ghost block must be 0 or 1, but got {block.branches}")
    _check_kernel(x, block)

    def module(h: Tensor, channels: int, activation: str) -> Tensor:
        primary = graph.conv(h, channels, activation=activation)
        if not block.branches:
            return graph.depthwise(primary, CHEAP_KERNEL_SIZE, activation=activation, norm=False)
        return graph.add(graph.norm(primary), graph.depthwise(primary, CHEAP_KERNEL_SIZE), activation=activation)

    h = module(x, block.hidden_channels, block.activation)
    h = _strided(graph, h, block)
    h = module(h, block.out_channels, "none")
    return graph.add(h, _shortcut(graph, x, block))


def without_unused_kernel(block: Block, in_channels: int) -> Block:
    """`block` with kernel_size 1 if it is a ghost block that has no k×k convolution on an input of `in_channels`.

    Other kernel sizes are refused there, because equal networks would have different fingerprints.
    """
    unused = block.op in ("ghost", "rep_ghost") and block.keeps_shape(in_channels)
    return replace(block, kernel_size=1) if unused else block


def _check_kernel(x: Tensor, block: Block) -> None:
    if without_unused_kernel(block, x.channels) != block:
        raise NasError(
            f"kernel_size of a {block.op} block that keeps stride and channels must be 1, because nothing in it has "
            f"that kernel, but got {block.kernel_size}"
        )


def _strided(graph: Graph, h: Tensor, block: Block) -> Tensor:
    """The operations between the two modules."""
    if block.stride > 1:
        h = graph.depthwise(h, block.kernel_size, block.stride)
    return squeezed(graph, h, block)


def _shortcut(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """The input, brought to the shape of the output."""
    if block.keeps_shape(x.channels):
        return x
    return graph.conv(graph.depthwise(x, block.kernel_size, block.stride), block.out_channels)
