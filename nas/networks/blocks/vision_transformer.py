"""The blocks of MobileViT and EfficientViT as torch modules.

`nas.networks.operators.vision_transformer` cites the papers, under the same names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.networks.blocks.layers import ACTIVATION_MODULES, ConvBnAct
from nas.networks.operators import Unit
from nas.networks.operators.vision_transformer import PATCH

# The epsilon of the published weights, in timm.
_LINEAR_ATTENTION_EPSILON = 1e-5


class MobileViT(nn.Module):
    """Convolutions around a transformer over patches."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        block, channels = unit.block, unit.in_channels
        kernel, act = block.kernel_size, block.activation
        self.size = (unit.height, unit.width)
        self.local = ConvBnAct(channels, channels, kernel, activation=act)
        self.widen = nn.Conv2d(channels, block.transformer_channels, 1, bias=False)
        self.transformer = nn.Sequential(
            *(
                TransformerLayer(block.transformer_channels, block.heads, block.hidden_channels, act)
                for _ in range(block.transformer_depth)
            ),
            nn.LayerNorm(block.transformer_channels),
        )
        self.narrow = ConvBnAct(block.transformer_channels, channels, activation=act)
        self.fusion = ConvBnAct(2 * channels, block.out_channels, kernel, activation=act)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h, w)."""
        h = self.widen(self.local(x))
        # While tracing, shapes cannot be compared as numbers. An exported network takes only one size anyway.
        height, width = self.size if torch.onnx.is_in_onnx_export() else h.shape[2:]
        rows, columns = (height + PATCH - 1) // PATCH, (width + PATCH - 1) // PATCH
        odd = rows * PATCH != height or columns * PATCH != width
        if odd:
            h = functional.interpolate(h, size=(rows * PATCH, columns * PATCH), mode="bilinear", align_corners=False)
        h = fold(self.transformer(unfold(h, rows, columns)), rows, columns)
        if odd:
            h = functional.interpolate(h, size=(height, width), mode="bilinear", align_corners=False)
        return self.fusion(torch.cat((x, self.narrow(h)), dim=1))  # type: ignore[no-any-return]


class TransformerLayer(nn.Module):
    """Attention and an MLP, each after a layer normalisation and added to its input."""

    def __init__(self, channels: int, heads: int, hidden_channels: int, activation: str) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, hidden_channels),
            ACTIVATION_MODULES[activation](),
            nn.Linear(hidden_channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape: (n, length, channels)."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(x)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention (arXiv:1706.03762, section 3.2)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape: (n, length, channels)."""
        n, length, channels = x.shape
        qkv = self.qkv(x).reshape(n, length, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        h = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        return self.project(h.transpose(1, 2).reshape(n, length, channels))  # type: ignore[no-any-return]


class LiteMLA(nn.Module):
    """ReLU linear attention over queries, keys and values at two scales, plus the input if the unit is residual."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        block = unit.block
        channels = block.transformer_channels
        self.head_channels = channels // block.heads
        self.qkv = nn.Conv2d(unit.in_channels, 3 * channels, 1, bias=False)
        self.aggregate = nn.Sequential(
            nn.Conv2d(
                3 * channels,
                3 * channels,
                block.kernel_size,
                padding=block.kernel_size // 2,
                groups=3 * channels,
                bias=False,
            ),
            nn.Conv2d(3 * channels, 3 * channels, 1, groups=3 * block.heads, bias=False),
        )
        self.project = ConvBnAct(2 * channels, block.out_channels)
        self.residual = unit.residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h, w)."""
        n, _, height, width = x.shape
        qkv = self.qkv(x)
        qkv = torch.cat((qkv, self.aggregate(qkv)), dim=1)
        # The query, key and value of a head follow one another: (n, heads at both scales, 3, head_channels, pixels).
        query, key, value = qkv.reshape(n, -1, 3, self.head_channels, height * width).unbind(2)
        h = linear_attention(functional.relu(query), functional.relu(key), value)
        out: Tensor = self.project(h.reshape(n, -1, height, width))
        return x + out if self.residual else out


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Values weighed by key · query (arXiv:2205.14756, equation 2), all (n, heads, head_channels, pixels).

    Values are multiplied by keys first, so that the work is linear in the number of pixels. It is never done in half
    precision, which cannot hold sums over all pixels.
    """
    with torch.autocast(query.device.type, enabled=False):
        exact = torch.promote_types(value.dtype, torch.float32)
        q, k, v = query.to(exact), key.to(exact), value.to(exact)
        values_of_keys = v @ k.transpose(-1, -2)
        sums = k.sum(-1, keepdim=True).transpose(-1, -2) @ q
        return (values_of_keys @ q / (sums + _LINEAR_ATTENTION_EPSILON)).to(value.dtype)


def unfold(x: Tensor, rows: int, columns: int) -> Tensor:
    """A sequence for each position in a patch: (n, c, 2·rows, 2·columns) to (4n, rows·columns, c)."""
    n, channels = x.shape[:2]
    x = x.reshape(n, channels, rows, PATCH, columns, PATCH).permute(0, 3, 5, 2, 4, 1)
    return x.reshape(n * PATCH**2, rows * columns, channels)


def fold(x: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `unfold`."""
    channels = x.shape[2]
    x = x.reshape(-1, PATCH, PATCH, rows, columns, channels).permute(0, 5, 3, 1, 4, 2)
    return x.reshape(-1, channels, rows * PATCH, columns * PATCH)
