"""The peak of activation memory is that of a run in the best order of operations."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode

from nas.networks.architecture import Architecture, Block
from nas.networks.blocks import build_block
from nas.networks.blocks.vision_transformer import Attention, TransformerLayer
from nas.networks.build import build_network
from nas.networks.operators import FLOAT_BYTES, Primitive, estimate_costs, parse_unit
from nas.networks.operators.graph import INPUT, Graph
from nas.networks.operators.memory import MOST_STATES, peak_elements
from nas.networks.references import reference
from tests.strategies import architectures, graphs


def peak(graph: Graph) -> int:
    """The peak of a graph made by hand."""
    return peak_elements(graph.primitives, graph.input.elements)


def test_a_chain_holds_two_tensors() -> None:
    """What is read and what is written."""
    graph = Graph(4, 1, 1)
    graph.conv(graph.conv(graph.input, 10), 7)
    assert peak(graph) == 10 + 7


def test_the_better_branch_runs_first() -> None:
    """Two branches widen and narrow again: while the second is wide, 1 element of the first is held, not 20."""
    graph = Graph(4, 1, 1)
    wide = graph.conv(graph.input, 100)
    wide_first = graph.conv(wide, 20)
    narrow = graph.conv(graph.conv(graph.input, 100), 1)
    graph.concat(wide_first, narrow)
    # The input waits for the first branch, then 1 number for the second.
    assert peak(graph) == max(4 + 100 + 1, 100 + 20 + 1)


def test_operations_of_two_branches_take_turns_where_that_is_best() -> None:
    """A tensor that both branches narrow is freed before either grows again."""
    graph = Graph(50, 1, 1)
    left = graph.conv(graph.conv(graph.input, 1), 60)
    right = graph.conv(graph.conv(graph.input, 2), 30)
    graph.add(graph.conv(left, 3), graph.conv(right, 3))
    # Branch after branch would hold the input with the 60: 50 + 1 + 60.
    assert peak(graph) == max(50 + 1 + 2, 60 + 1 + 2, 60 + 3 + 2)


def test_an_addition_works_in_place_where_nobody_else_waits() -> None:
    """A residual holds the input, the expansion and its result, and nothing more for the sum."""
    graph = Graph(5, 1, 1)
    graph.add(graph.conv(graph.conv(graph.input, 8), 5), graph.input)
    assert peak(graph) == 5 + 8 + 5


def test_a_tensor_that_others_still_read_is_not_overwritten() -> None:
    """An activation between a tensor and its second reader writes elsewhere."""
    graph = Graph(5, 1, 1)
    h = graph.conv(graph.input, 5)
    graph.add(graph.conv(graph.activation(h, "relu"), 5), h)
    assert peak(graph) == 3 * 5


def test_parts_of_a_split_are_overwritten_each_on_its_own() -> None:
    """The parts are views: activations overwrite them, but not the whole while a part is still read."""
    graph = Graph(6, 1, 1)
    left, right = graph.split(graph.input, [2, 4])
    graph.concat(graph.activation(left, "relu"), graph.activation(right, "relu"))
    assert peak(graph) == 6 + 6
    graph = Graph(6, 1, 1)
    left, _ = graph.split(graph.input, [2, 4])
    graph.concat(graph.activation(graph.input, "relu"), left)
    assert peak(graph) == 6 + 6 + 8


def test_a_gate_overwrites_what_its_scale_was_computed_from() -> None:
    """Squeeze-and-excitation holds the image, the pooled image and the squeezed one."""
    graph = Graph(6, 5, 5)
    graph.squeeze_excitation(graph.input, 3, "sigmoid")
    assert peak(graph) == 6 * 25 + 6 + 3


def test_a_long_block_with_some_branches_takes_milliseconds() -> None:
    """Twelve transformer layers with residuals, 111 operations."""
    graph = Graph(64, 8, 8)
    h = graph.conv(graph.input, 64)
    for _ in range(12):
        query, key, value = graph.split(graph.conv(graph.norm(h), 192), [64] * 3)
        h = graph.add(graph.conv(graph.product(graph.product(query, key, h, 64), value, h, 64), 64), h)
    graph.conv(graph.concat(graph.input, h), 64)
    start = time.process_time()
    # The input and the residual wait while the attention reads scores and values (views of 192) and writes its result.
    assert peak(graph) == (64 + 64 + 64 + 192 + 64) * 64
    assert time.process_time() - start < 0.1


def test_with_too_many_orders_the_calls_own_order_is_taken() -> None:
    """Forty branches have 2⁴⁰ sets of finished operations: the result is an upper bound, without delay."""
    graph = Graph(1, 1, 1)
    branches = [graph.conv(graph.conv(graph.input, 2**i), 3) for i in range(40)]
    graph.concat(*branches)
    start = time.process_time()
    # The widest branch runs last, while 3 numbers of each of the others wait.
    assert peak(graph) == 2**39 + 3 * 39 + 3
    assert time.process_time() - start < 1
    assert MOST_STATES < 2**40


@settings(max_examples=60)
@given(graphs())
def test_the_peak_is_the_least_over_all_orders(graph: Graph) -> None:
    """The smallest peak over every order, simulated buffer by buffer."""
    primitives = graph.primitives
    cells = place(primitives)
    assert peak(graph) == min(run_on_paper(primitives, cells, order) for order in orders(primitives))


Cells = dict[int, frozenset[tuple[int, int]]]


def place(primitives: Sequence[Primitive]) -> Cells:
    """The cells (buffer, channel) in which each tensor lies, by the rules that `peak_elements` states."""
    cells: Cells = {INPUT: frozenset((INPUT, c) for c in range(primitives[0].in_channels))}
    offsets: dict[int, int] = {}

    def overwritable(i: int, j: int) -> bool:
        return all(
            r == j or leads_to(primitives, r, j)
            for r, primitive in enumerate(primitives)
            for t in primitive.inputs
            if t in cells and cells[t] & cells[i]
        )

    for j, primitive in enumerate(primitives):
        first = primitive.inputs[0]
        if primitive.kind == "split":
            taken = offsets.get(first, 0)
            offsets[first] = taken + primitive.out_channels
            cells[j] = frozenset(sorted(cells[first])[taken : taken + primitive.out_channels])
            continue
        cells[j] = frozenset((j, c) for c in range(primitive.out_channels))
        if primitive.kind in ("norm", "activation", "gate", "add"):
            same = [i for i in primitive.inputs if len(cells[i]) == len(cells[j]) and overwritable(i, j)]
            cells[j] = cells[same[0]] if same else cells[j]
    return cells


def leads_to(primitives: Sequence[Primitive], r: int, j: int) -> bool:
    """Whether `j` cannot run before `r`."""
    return any(i == r or (i != INPUT and leads_to(primitives, r, i)) for i in primitives[j].inputs)


def orders(primitives: Sequence[Primitive], done: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every order in which each primitive runs after those that it reads."""
    if len(done) == len(primitives):
        yield done
    for j, primitive in enumerate(primitives):
        if j not in done and set(primitive.inputs) <= {INPUT, *done}:
            yield from orders(primitives, (*done, j))


def run_on_paper(primitives: Sequence[Primitive], cells: Cells, order: Sequence[int]) -> int:
    """The most numbers in buffers that hold something which is still to be read, or which is being written."""
    pixels = primitives[0].in_height * primitives[0].in_width
    sizes = {INPUT: primitives[0].in_channels} | {j: p.out_channels for j, p in enumerate(primitives)}
    buffers = {t: {buffer for buffer, _ in where} for t, where in cells.items()}
    most, made = 0, {INPUT}
    for step, j in enumerate(order):
        made |= buffers[j]
        to_read = {t for i in order[step:] for t in primitives[i].inputs} | {len(primitives) - 1}
        held = made & (set().union(*(buffers[t] for t in to_read)) | buffers[j])
        most = max(most, pixels * sum(sizes[buffer] for buffer in held))
    return most


class Storages(TorchDispatchMode):
    """Notes the most bytes of activations alive at once: of storages that operations return, but for weights."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.weights = weights
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and record the bytes held."""
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            storage = tensor.untyped_storage()
            if storage._cdata not in self.weights:
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return out


class Run:
    """A torch module as a list of operations, each of which can be run where those that it needs have run."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        self.shape = shape
        with torch.no_grad():
            self.traced = make_fx(fold(module.eval()))(torch.zeros(shape))
        self.nodes = [node for node in self.traced.graph.nodes if node.op == "call_function"]
        (self.input,) = self.traced.graph.find_nodes(op="placeholder")
        (self.output,) = self.traced.graph.find_nodes(op="output")
        self.weights = {node: getattr(self.traced, node.target) for node in self.traced.graph.find_nodes(op="get_attr")}

    def any_order(self, rng: random.Random) -> list[fx.Node]:
        """The operations in an order drawn at random."""
        order: list[fx.Node] = []
        waiting = list(self.nodes)
        computed = {self.input, *self.weights}
        while waiting:
            ready = [node for node in waiting if set(node.all_input_nodes) <= computed]
            order.append(rng.choice(ready))
            computed.add(order[-1])
            waiting.remove(order[-1])
        return order

    def peak_bytes(self, order: Sequence[fx.Node]) -> int:
        """The largest number of bytes held when each tensor is freed after its last reader.

        Sums and products overwrite an operand that has no later reader, as in runtimes.
        """
        last_use = {read: node for node in [*order, self.output] for read in node.all_input_nodes}
        values: dict[fx.Node, Any] = dict(self.weights)
        storages = Storages({weight.untyped_storage()._cdata for weight in self.weights.values()})
        with storages, torch.no_grad():
            values[self.input] = torch.zeros(self.shape)
            for node in order:
                values[node] = self._call(node, values, last_use)
                for read in [*node.all_input_nodes, node]:
                    if read not in self.weights and last_use.get(read, node) is node:
                        del values[read]
        return storages.most

    @staticmethod
    def _call(node: fx.Node, values: Mapping[fx.Node, Any], last_use: Mapping[fx.Node, fx.Node]) -> Any:
        arguments = fx.node.map_arg(node.args, values.__getitem__)
        if node.target in (torch.ops.aten.add.Tensor, torch.ops.aten.mul.Tensor):
            for i in (0, 1):
                free = last_use[node.args[i]] is node and arguments[i].shape == node.meta["tensor_meta"].shape
                if free and not shared(node.args[i], values):
                    in_place = torch.Tensor.add_ if node.target is torch.ops.aten.add.Tensor else torch.Tensor.mul_
                    return in_place(arguments[i], arguments[1 - i])
        assert callable(node.target)
        return node.target(*arguments, **fx.node.map_arg(node.kwargs, values.__getitem__))


def shared(node: fx.Node, values: Mapping[fx.Node, Any]) -> bool:
    """Whether another tensor lies in the same memory as the one of `node`."""
    place = values[node].untyped_storage()._cdata
    tensors = [value for other, value in values.items() if other is not node and isinstance(value, torch.Tensor)]
    return any(tensor.untyped_storage()._cdata == place and tensor is not values[node] for tensor in tensors)


def measure_peak_bytes(architecture: Architecture) -> int:
    """Run the torch network operation by operation, in the order in which it is written, and note what is held."""
    run = Run(build_network(architecture), (1, 3, architecture.resolution, architecture.resolution))
    return run.peak_bytes(run.nodes)


def fold(network: nn.Module) -> nn.Module:
    """`network` with batch normalisation folded, or else in place, and every activation in place."""
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, child), (following, after) in itertools.pairwise(children):
            if isinstance(child, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(child, after))
                setattr(module, following, nn.Identity())
        for name, child in module.named_children():
            if isinstance(child, nn.Sigmoid):
                setattr(module, name, SigmoidInPlace())
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, ScaleInPlace(child.num_features))
            elif isinstance(child, nn.MaxPool2d):
                # torch's maximum also returns where it was.
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    return network


class SigmoidInPlace(nn.Module):
    """As `nn.ReLU(inplace=True)` is for ReLU; torch has no such option for the sigmoid."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape, same memory."""
        return x.sigmoid_()


class ScaleInPlace(nn.Module):
    """A batch normalisation that is run: a scale for each channel (a shift would need no more memory)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape, same memory."""
        return x.mul_(self.scale)


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("mobilenet_v1_025", 64),
        ("mobilenet_v3_small", 64),
        ("mobilenet_v4_conv_small", 64),
        ("shufflenet_v2_050", 33),
        ("mobilevit_xxs", 33),
        ("efficientvit_b0", 64),
    ],
)
def test_the_peak_of_a_published_network_is_the_one_measured(name: str, resolution: int) -> None:
    """To the byte, in the order in which the torch modules are written."""
    published = reference(name)
    architecture = Architecture(resolution, published.classes, published.blocks)
    assert estimate_costs(architecture).peak_activation_bytes == measure_peak_bytes(architecture)


@pytest.mark.parametrize(
    "key",
    [
        "ghost_8x8_i16_o24_h48_k3_s2_se0_relu",
        "ghost_8x8_i24_o24_h72_k1_s1_se0_relu",
        "ghost_8x8_i24_o40_h72_k5_s2_se20_relu",
        "rep_ghost_8x8_i16_o24_h48_k3_s2_n0_se0_relu",
        "shuffle_v1_8x8_i24_o240_h60_k3_s2_g3_relu",
        "shuffle_v2_8x8_i24_o116_h58_k3_s2_relu",
        "shuffle_v2_8x8_i116_o116_h58_k3_s1_relu",
        "shuffle_xception_8x8_i16_o64_h32_k3_s2_relu",
        "mixconv_8x8_i24_o40_h144_k7_s2_se12_silu_sigmoid_squeezesilu",
    ],
)
def test_the_peak_of_a_branching_block_is_the_least_measured(key: str) -> None:
    """No order of its torch module's operations needs less than the estimate, and some order needs just that."""
    unit = parse_unit(key)
    run = Run(build_block(unit), (1, unit.in_channels, unit.height, unit.width))
    rng = random.Random(0)
    measured = {run.peak_bytes(run.any_order(rng)) for _ in range(40)}
    assert min(measured) == FLOAT_BYTES * unit.peak_elements


class PlainAttention(nn.Module):
    """Attention of one head that holds its scores; a function that works in place stands for softmax."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.qkv = attention.qkv
        self.project = attention.project

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape: (n, length, channels)."""
        query, key, value = self.qkv(x).split(x.shape[2], dim=2)
        scores = torch.bmm(query, key.transpose(1, 2)).exp_()
        out: torch.Tensor = self.project(torch.bmm(scores, value))
        return out


@pytest.mark.parametrize("side", [8, 17])
def test_the_peak_of_attention_is_the_one_measured_without_a_fused_kernel(side: int) -> None:
    """To the byte where the scores of all pairs decide; torch's own, which never holds them all, needs less."""
    unit = parse_unit(f"mobile_vit_{side}x{side}_i8_o8_h16_k3_t8_l1_a1_silu")
    shape = (1, unit.in_channels, unit.height, unit.width)
    peaks = []
    for plain in (True, False):
        module = build_block(unit)
        for layer in list(module.modules()):
            if plain and isinstance(layer, TransformerLayer):
                layer.attention = PlainAttention(layer.attention)  # type: ignore[assignment]
        run = Run(module, shape)
        peaks.append(run.peak_bytes(run.nodes))
    assert peaks[0] == FLOAT_BYTES * unit.peak_elements
    assert peaks[1] < peaks[0]


@settings(max_examples=15)
@given(architectures(max_blocks=3))
def test_the_peak_of_any_network_is_the_one_measured(architecture: Architecture) -> None:
    """Estimate and run agree to the byte, on random networks."""
    assert estimate_costs(architecture).peak_activation_bytes == measure_peak_bytes(architecture)


@given(st.integers(1, 40), st.integers(1, 9))
def test_the_size_of_the_image_counts(channels: int, side: int) -> None:
    """One convolution holds its input and its output, four bytes an element."""
    blocks = (Block("conv", channels), Block("pool"), Block("linear", 1))
    most = max((3 + channels) * side**2, channels * side**2 + channels)
    assert estimate_costs(Architecture(side, 1, blocks)).peak_activation_bytes == FLOAT_BYTES * most
