"""The operations of the blocks of ShuffleNetV1 and V2 and of Single Path One-Shot."""

from __future__ import annotations

from nas.errors import NasError
from nas.networks.architecture import Block
from nas.networks.operators.graph import Graph, Tensor


def shuffle_v1(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """ShuffleNetV1's unit (arXiv:1707.01083, figure 2b, c): 1×1, channel shuffle, depthwise k×k, 1×1, both in groups.

    The first 1×1 has `expand_groups`, the last one `groups`; the shuffle has `groups` too. The input is added where
    stride and channels allow. Else it is concatenated (after a 3×3 average pooling if the stride is 2), and the last
    1×1 makes the other channels of `out_channels`.
    """
    concatenates = not block.keeps_shape(x.channels)
    branch_channels = block.out_channels - x.channels if concatenates else block.out_channels
    if branch_channels < 1:
        raise NasError(
            "a shuffle_v1 block that changes stride or channels appends to its input, so its out_channels must be "
            f"more than the input's, but got {block.out_channels} and {x.channels}"
        )
    h = graph.conv(x, block.hidden_channels, groups=block.expand_groups, activation=block.activation)
    if block.groups > 1:
        h = graph.shuffle(h)
    h = graph.depthwise(h, block.kernel_size, block.stride)
    h = graph.conv(h, branch_channels, groups=block.groups)
    if not concatenates:
        return graph.add(h, x, activation=block.activation)
    shortcut = graph.window_pool(x, 3, block.stride) if block.stride > 1 else x
    return graph.concat(shortcut, h, activation=block.activation)


def shuffle_v2(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """ShuffleNetV2's unit (arXiv:1807.11164, figure 3c, d); its branch: 1×1, depthwise k×k, 1×1.

    Where stride and channels allow, half of the input goes through the branch, and the other half stays. Else all of it
    goes through the branch, and also through a depthwise k×k and a 1×1; each makes half of the output.
    `hidden_channels` are those within the branch.
    """

    def branch(h: Tensor) -> Tensor:
        h = graph.conv(h, block.hidden_channels, activation=block.activation)
        h = graph.depthwise(h, block.kernel_size, block.stride)
        return graph.conv(h, block.out_channels // 2, activation=block.activation)

    shortcut, h = _halves(graph, x, block)
    return graph.shuffle(graph.concat(shortcut, branch(h)))


def shuffle_xception(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """The fourth choice of Single Path One-Shot (arXiv:1904.00420): as `shuffle_v2`, but with a longer branch.

    The branch is three times a depthwise k×k (without activation) and a 1×1; the first depthwise has the stride. In
    blocks of stride 2 the shortcut has half of the output's channels, as in ShuffleNetV2; the paper's code gives it the
    input's.
    """

    def branch(h: Tensor) -> Tensor:
        for stride, channels in ((block.stride, block.hidden_channels), (1, block.hidden_channels)):
            h = graph.depthwise(h, block.kernel_size, stride)
            h = graph.conv(h, channels, activation=block.activation)
        h = graph.depthwise(h, block.kernel_size)
        return graph.conv(h, block.out_channels // 2, activation=block.activation)

    shortcut, h = _halves(graph, x, block)
    return graph.shuffle(graph.concat(shortcut, branch(h)))


def _halves(graph: Graph, x: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    """The half of the output that does not come from the branch, and the branch's input."""
    if block.out_channels % 2:
        raise NasError(f"out_channels of a {block.op} block must be even, but got {block.out_channels}")
    half = block.out_channels // 2
    if block.keeps_shape(x.channels):
        shortcut, h = graph.split(x, (half, half))
        return shortcut, h
    shortcut = graph.depthwise(x, block.kernel_size, block.stride)
    return graph.conv(shortcut, half, activation=block.activation), x
