"""The operations of the blocks of MobileViT and EfficientViT: convolutions and attention."""

from __future__ import annotations

from nas.networks.architecture import Block
from nas.networks.operators.graph import Graph, Tensor
from nas.networks.operators.mobile import added

PATCH = 2  # MobileViT's patches are 2×2 pixels at every scale (arXiv:2110.02178, section 4).


def mobile_vit(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """MobileViT's block (arXiv:2110.02178, figure 1b).

    k×k convolution, 1×1 to `transformer_channels`, `transformer_depth` transformer layers, layer normalisation, 1×1
    back, and a k×k convolution over the input and the result. Pixel i of each 2×2 patch attends to pixel i of all
    other patches. A map of odd height or width is enlarged to even ones before the transformer, and shrunk after it.
    """
    h = graph.conv(x, x.channels, block.kernel_size, activation=block.activation)
    h = graph.conv(h, block.transformer_channels, norm=False, bias=False)
    local = h
    even = h._replace(height=-(-h.height // PATCH) * PATCH, width=-(-h.width // PATCH) * PATCH)
    if even != h:
        h = graph.resize(h, even)
    h = graph.shuffle(h)
    for _ in range(block.transformer_depth):
        h = _transformer_layer(graph, h, block)
    h = graph.shuffle(graph.norm(h))
    if even != local:
        h = graph.resize(h, local)
    h = graph.conv(h, x.channels, activation=block.activation)
    return graph.conv(graph.concat(x, h), block.out_channels, block.kernel_size, activation=block.activation)


def _transformer_layer(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """Attention and an MLP of `hidden_channels`, each after a layer normalisation and added to its input.

    The scores of all heads are one tensor, which softmax overwrites. assumption: the runtime has no fused attention
    (arXiv:2205.14135), which holds only a part of the scores at a time; with it, as in torch, the peak is lower. `x`
    has the shape of its feature map, though its pixels are rows of `PATCH`² sequences.
    """
    length = x.height * x.width // PATCH**2
    scores = x._replace(channels=block.heads, height=x.height * x.width, width=length)
    qkv = graph.conv(graph.norm(x), 3 * x.channels, norm=False)
    query, key, value = graph.split(qkv, [x.channels] * 3)
    attention = graph.product(query, key, scores, inner=x.channels // block.heads, activation="softmax")
    h = graph.product(attention, value, x, inner=length)
    x = graph.add(x, graph.conv(h, x.channels, norm=False))
    h = graph.conv(graph.norm(x), block.hidden_channels, norm=False, activation=block.activation)
    return graph.add(x, graph.conv(h, x.channels, norm=False))


def lite_mla(graph: Graph, x: Tensor, block: Block) -> Tensor:
    """EfficientViT's multi-scale linear attention (arXiv:2205.14756, section 3.1 and figure 2).

    Queries, keys and values of `heads` heads have `transformer_channels` each. A second set is aggregated from the
    first by a depthwise k×k and a 1×1 convolution with a group for each head's query, key and value. Attention with
    ReLU instead of softmax is linear in the number of pixels. A 1×1 convolution follows. The input is added where the
    channels are equal.
    """
    channels, heads = block.transformer_channels, 2 * block.heads
    size, pixels = channels // block.heads, x.height * x.width
    qkv = graph.conv(x, 3 * channels, norm=False, bias=False)
    aggregated = graph.conv(qkv, 3 * channels, block.kernel_size, groups=3 * channels, norm=False, bias=False)
    aggregated = graph.conv(aggregated, 3 * channels, groups=3 * block.heads, norm=False, bias=False)
    query, key, value = graph.split(graph.concat(qkv, aggregated), [2 * channels] * 3)
    query, key = graph.activation(query, "relu"), graph.activation(key, "relu")
    # The divisor of each query is its product with the sum of the keys, computed as one more column of values.
    memory = graph.product(key, value, x._replace(channels=heads, height=size, width=size + 1), inner=pixels)
    sums = graph.product(query, memory, x._replace(channels=2 * channels + heads), inner=size)
    attended, total = graph.split(sums, [2 * channels, heads])
    return added(graph, x, graph.conv(graph.gate(attended, total), block.out_channels), block)
