"""The operations of the blocks of MobileNetV1 to V4, MnasNet, FBNet and EfficientNet."""

from __future__ import annotations

from nas.networks.architecture import Block
from nas.networks.operators.graph import Graph, Tensor


def ds_conv(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """Depthwise separable convolution (MobileNetV1, arXiv:1704.04861, figure 3): both parts have an activation.

    PP-LCNet (arXiv:2109.15099, figure 2) has squeeze-and-excitation between them. The input is never added.
    """
    h = graph.depthwise(x, block.kernel_size, block.stride, activation=block.activation)
    h = squeezed(graph, h, block)
    return graph.conv(h, block.out_channels, activation=block.activation)


def mbconv(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """The inverted residual of MobileNetV2 (arXiv:1801.04381, figure 4d) and V3 (arXiv:1905.02244, figure 4).

    1×1 expansion (left out where `hidden_channels` equal the input's), depthwise k×k, squeeze-and-excitation, 1×1
    projection without activation; the input is added where the stride is 1 and the channels are equal. With norm "last"
    (EfficientViT, arXiv:2205.14756) only the projection is normalised.
    """
    norm = block.norm != "last"
    h = x
    if block.hidden_channels != x.channels:
        h = graph.conv(h, block.hidden_channels, activation=block.activation, norm=norm)
    h = graph.depthwise(h, block.kernel_size, block.stride, activation=block.activation, norm=norm)
    h = squeezed(graph, h, block)
    h = graph.conv(h, block.out_channels)
    return added(graph, x, h, block)


def fused_mbconv(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """EfficientNetV2's Fused-MBConv (arXiv:2104.00298, figure 2): a k×k convolution expands, a 1×1 projects.

    Where `hidden_channels` equal the input's it is one k×k convolution with activation. `groups` are those of the k×k.
    """
    if block.hidden_channels == x.channels and not block.se_channels:
        h = graph.conv(
            x, block.out_channels, block.kernel_size, block.stride, groups=block.groups, activation=block.activation
        )
        return added(graph, x, h, block)
    h = graph.conv(
        x, block.hidden_channels, block.kernel_size, block.stride, groups=block.groups, activation=block.activation
    )
    h = squeezed(graph, h, block)
    h = graph.conv(h, block.out_channels)
    return added(graph, x, h, block)


def fbnet(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """FBNet's block (arXiv:1812.03443, figure 3): as mbconv, but with an expansion always, and groups in the 1×1s.

    With groups, channels are shuffled after the expansion.
    """
    h = graph.conv(x, block.hidden_channels, groups=block.groups, activation=block.activation)
    if block.groups > 1:
        h = graph.shuffle(h)
    h = graph.depthwise(h, block.kernel_size, block.stride, activation=block.activation)
    h = graph.conv(h, block.out_channels, groups=block.groups)
    return added(graph, x, h, block)


def uib(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """The universal inverted bottleneck of MobileNetV4 (arXiv:2404.10518, figure 4).

    A depthwise convolution before the expansion (`start_kernel_size`, no activation) and one after it (`kernel_size`),
    each left out where 0. Both make ExtraDW, the second alone an inverted bottleneck, the first alone ConvNext-like,
    none a feed-forward network. The second has the stride, or without it the first.
    """
    h = x
    if block.start_kernel_size:
        h = graph.depthwise(h, block.start_kernel_size, 1 if block.kernel_size else block.stride)
    h = graph.conv(h, block.hidden_channels, activation=block.activation)
    if block.kernel_size:
        h = graph.depthwise(h, block.kernel_size, block.stride, activation=block.activation)
    h = graph.conv(h, block.out_channels)
    return added(graph, x, h, block)


def squeezed(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """`x` after the block's squeeze-and-excitation; `x` itself if it has none."""
    if not block.se_channels:
        return x
    return graph.squeeze_excitation(x, block.se_channels, block.se_gate, block.se_activation or "relu")


def added(graph: Graph, x: Tensor, h: Tensor, block: Block) -> Tensor:
    """`h`, plus the block's input where stride and channels allow."""
    return graph.add(h, x) if block.keeps_shape(x.channels) else h
