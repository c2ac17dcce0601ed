"""The operations of MixNet's block."""

from __future__ import annotations

from nas.errors import NasError
from nas.networks.architecture import Block
from nas.networks.operators.graph import Graph, Tensor
from nas.networks.operators.mobile import added, squeezed


def mixconv(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """MixNet's block (arXiv:1907.09595, section 3): an inverted residual with depthwise kernels of several sizes.

    The hidden channels are cut into equal parts (see `kernel_parts`), one for each kernel size, and normalised
    together. The 1×1s can have groups: `expand_groups` those of the expansion (left out where `hidden_channels` equal
    the input's), `groups` those of the projection.
    """
    h = x
    if block.hidden_channels != x.channels:
        h = graph.conv(h, block.hidden_channels, groups=block.expand_groups, activation=block.activation)
    elif block.expand_groups > 1:
        raise NasError(f"a mixconv block that does not expand must have expand_groups 1, but got {block.expand_groups}")
    parts = kernel_parts(block)
    if len(parts) == 1:
        h = graph.depthwise(h, block.kernel_size, block.stride, activation=block.activation)
    else:
        tensors = graph.split(h, [channels for _, channels in parts])
        h = graph.concat(
            *(
                graph.conv(part, channels, size, block.stride, groups=channels, norm=False, bias=False)
                for part, (size, channels) in zip(tensors, parts, strict=True)
            )
        )
        h = graph.activation(graph.norm(h), block.activation)
    h = squeezed(graph, h, block)
    h = graph.conv(h, block.out_channels, groups=block.groups)
    return added(graph, x, h, block)


def kernel_parts(block: Block) -> tuple[tuple[int, int], ...]:
    """The kernel sizes 3, 5, .. up to `kernel_size` with equal channels each; the first has the remainder too.

    Raises NasError where there are more kernels than hidden channels.
    """
    sizes = range(3, block.kernel_size + 1, 2) or (block.kernel_size,)
    share, remainder = divmod(block.hidden_channels, len(sizes))
    if not share:
        raise NasError(
            f"hidden_channels of a mixconv block must be at least {len(sizes)}, the number of its kernel sizes "
            f"(up to {block.kernel_size}), but got {block.hidden_channels}"
        )
    return tuple((size, share + (remainder if index == 0 else 0)) for index, size in enumerate(sizes))
