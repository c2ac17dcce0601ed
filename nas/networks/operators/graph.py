"""The graph of a block's operations and the shapes of their tensors.

A block's `Graph` is built by calls like those of a forward pass, which compute shapes only: each appends a `Primitive`
and returns its output `Tensor`. Costs, peak memory and latency models all read the primitives. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from nas.errors import NasError

PrimitiveKind = Literal[
    "conv",
    "depthwise",
    "norm",
    "activation",
    "pool",
    "window_pool",
    "gate",
    "add",
    "concat",
    "split",
    "shuffle",
    "product",
    "resize",
]
INPUT = -1


class Tensor(NamedTuple):
    """The output of primitive number `source` (INPUT: the input of the graph), for one image."""

    source: int
    channels: int
    height: int
    width: int

    @property
    def elements(self) -> int:
        """The number of elements."""
        return self.channels * self.height * self.width


@dataclass(frozen=True, slots=True)
class Primitive:
    """One operation. Heights and widths are of its first input and its output; `kernel_size` is 1 for a linear layer.

    `inputs` are the indices of the primitives that it reads (INPUT for the block's input). `normalised`: batch
    normalisation follows; `biased`: a bias is added. The kinds: `conv` and `depthwise` have weights; `norm` and
    `activation` are a normalisation and a function that do not follow a convolution; `pool` averages the whole map,
    `window_pool` is the average or maximum of windows; `gate` scales channels; `shuffle` reorders elements (channel
    shuffle, patches to rows); `split` takes some of the channels, at no cost; `product` multiplies two tensors
    (attention), with `inner` terms for each output; `resize` interpolates a map to another height and width.
    """

    kind: PrimitiveKind
    in_channels: int
    out_channels: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel_size: int = 1
    groups: int = 1
    normalised: bool = False
    biased: bool = False
    activation: str = "none"
    inner: int = 0
    inputs: tuple[int, ...] = (INPUT,)

    @property
    def weights(self) -> int:
        """Weights of the convolution or linear layer, without bias and normalisation."""
        if self.kind not in ("conv", "depthwise"):
            return 0
        return self.out_channels * (self.in_channels // self.groups) * self.kernel_size**2

    @property
    def params(self) -> int:
        """Trainable parameters: weights, biases, and a scale and a shift for each normalised channel."""
        return self.weights + self.out_channels * (2 * self.normalised + self.biased)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers, for one image, as the papers count them."""
        return self.weights * self.out_height * self.out_width

    @property
    def product_macs(self) -> int:
        """Multiply-accumulates between two tensors (attention), which `macs` leaves out."""
        return self.inner * self.out_elements

    @property
    def in_elements(self) -> int:
        """Elements of the (first) input for one image."""
        return self.in_channels * self.in_height * self.in_width

    @property
    def out_elements(self) -> int:
        """Elements of the output for one image."""
        return self.out_channels * self.out_height * self.out_width


class Graph:
    """The operations of one block, in the order in which they are called."""

    def __init__(self, in_channels: int, height: int, width: int) -> None:
        self.input = Tensor(INPUT, in_channels, height, width)
        self.primitives: list[Primitive] = []

    def conv(
        self,
        x: Tensor,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: str = "none",
        norm: bool = True,
        bias: bool | None = None,
    ) -> Tensor:
        """A convolution, by default with batch normalisation, else with a bias. Raises NasError for wrong `groups`."""
        for of, channels in (("the input's channels", x.channels), ("the output's channels", out_channels)):
            if channels % groups:
                raise NasError(f"groups must divide {of}, but got {groups} and {channels}")
        return self._append(
            "depthwise" if groups == x.channels == out_channels > 1 else "conv",
            (x,),
            Tensor(0, out_channels, -(-x.height // stride), -(-x.width // stride)),
            kernel_size=kernel_size,
            groups=groups,
            normalised=norm,
            biased=not norm if bias is None else bias,
            activation=activation,
        )

    def depthwise(
        self, x: Tensor, kernel_size: int, stride: int = 1, *, activation: str = "none", norm: bool = True
    ) -> Tensor:
        """A depthwise convolution with batch normalisation or a bias."""
        return self.conv(x, x.channels, kernel_size, stride, groups=x.channels, activation=activation, norm=norm)

    def norm(self, x: Tensor) -> Tensor:
        """A normalisation on its own, not after a convolution: batch or layer normalisation, with scale and shift."""
        return self._append("norm", (x,), x, normalised=True)

    def activation(self, x: Tensor, name: str) -> Tensor:
        """An activation on its own, not after a convolution."""
        return x if name == "none" else self._append("activation", (x,), x, activation=name)

    def pool(self, x: Tensor) -> Tensor:
        """Global average pooling."""
        return self._append("pool", (x,), x._replace(height=1, width=1))

    def window_pool(self, x: Tensor, kernel_size: int, stride: int) -> Tensor:
        """The average or the maximum over windows."""
        shape = x._replace(height=-(-x.height // stride), width=-(-x.width // stride))
        return self._append("window_pool", (x,), shape, kernel_size=kernel_size)

    def gate(self, x: Tensor, scale: Tensor) -> Tensor:
        """`x` with each channel multiplied by its `scale`."""
        return self._append("gate", (x, scale), x)

    def add(self, x: Tensor, *others: Tensor, activation: str = "none") -> Tensor:
        """The sum of tensors of one shape."""
        assert all(other[1:] == x[1:] for other in others), (x, others)
        return self._append("add", (x, *others), x, activation=activation)

    def concat(self, *tensors: Tensor, activation: str = "none") -> Tensor:
        """The tensors, one after the other along the channels."""
        shape = tensors[0]._replace(channels=sum(tensor.channels for tensor in tensors))
        return self._append("concat", tensors, shape, activation=activation)

    def split(self, x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """`x` cut along the channels into parts of these sizes."""
        assert sum(sizes) == x.channels, (sizes, x)
        return [self._append("split", (x,), x._replace(channels=size)) for size in sizes]

    def shuffle(self, x: Tensor, *, like: Tensor | None = None) -> Tensor:
        """The elements of `x` in another order, in the shape of `like` if there is one."""
        assert like is None or like.elements == x.elements, (x, like)
        return self._append("shuffle", (x,), like or x)

    def product(self, x: Tensor, y: Tensor, shape: Tensor, inner: int, *, activation: str = "none") -> Tensor:
        """A product of two tensors in the shape of `shape`, with `inner` multiply-accumulates for each element."""
        return self._append("product", (x, y), shape, inner=inner, activation=activation)

    def resize(self, x: Tensor, like: Tensor) -> Tensor:
        """`x` interpolated to the height and width of `like`."""
        return self._append("resize", (x,), x._replace(height=like.height, width=like.width))

    def squeeze_excitation(self, x: Tensor, squeeze_channels: int, gate: str, activation: str = "relu") -> Tensor:
        """Squeeze-and-excitation (arXiv:1709.01507, figure 2): pool, reduce, expand, gate."""
        squeezed = self.conv(self.pool(x), squeeze_channels, norm=False, activation=activation)
        return self.gate(x, self.conv(squeezed, x.channels, norm=False, activation=gate))

    def _append(
        self,
        kind: PrimitiveKind,
        inputs: tuple[Tensor, ...],
        shape: Tensor,
        *,
        kernel_size: int = 1,
        groups: int = 1,
        normalised: bool = False,
        biased: bool = False,
        activation: str = "none",
        inner: int = 0,
    ) -> Tensor:
        first = inputs[0]
        self.primitives.append(
            Primitive(
                kind,
                first.channels,
                shape.channels,
                first.height,
                first.width,
                shape.height,
                shape.width,
                kernel_size,
                groups,
                normalised,
                biased,
                activation,
                inner,
                tuple(tensor.source for tensor in inputs),
            )
        )
        return shape._replace(source=len(self.primitives) - 1)
