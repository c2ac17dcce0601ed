"""Compound scaling of a network to a family for one device, by latency instead of FLOPs.

EfficientNet (arXiv:1905.11946, section 3.3) searches a small grid for the best depth, width and resolution among those
that double a network's FLOPs, and scales by their powers. Here they double the device's milliseconds. Latency is given
as a function, such as a table's sum or a measurement.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.errors import NasError, RunFailedError
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import units
from nas.networks.scaling import CompoundScaling, compound_scale

# Milliseconds on the device.
Latency = Callable[[Architecture], float]
# `compound_scale`, or the same with other options.
Scale = Callable[[Architecture, CompoundScaling, float], Architecture]

# From no change in a dimension to a change that doubles the latency of most networks by that dimension alone.
ALPHAS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
BETAS = (1.0, 1.1, 1.2, 1.3, 1.4)
GAMMAS = (1.0, 1.1, 1.2, 1.3, 1.4)

# A family is followed until the fastest growing of depth, width and resolution has doubled or halved so many times.
_MOST_DOUBLINGS = 10
# Bisection ends once phi is known to this share of a doubling, which changes a layer of 500 channels by one channel.
_PRECISION = 1 / 1024


@dataclass(frozen=True)
class ScaledNetwork:
    """A network scaled by `scaling` at `phi`, and its costs as it is deployed; `ratio` is its latency / the base's."""

    scaling: CompoundScaling
    phi: float
    architecture: Architecture
    latency_ms: float
    ratio: float
    params: int
    macs: int


@dataclass(frozen=True)
class ScalingFit:
    """The candidate with the best score, and all candidates with their scores, in the order of the grid."""

    best: ScaledNetwork
    scored: tuple[tuple[ScaledNetwork, float], ...]


def scaling_grid(
    base: Architecture,
    latency_ms: Latency,
    *,
    ratio: float = 2.0,
    tolerance: float = 0.1,
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    gammas: Sequence[float] = GAMMAS,
    most: int | None = None,
    scale: Scale = compound_scale,
) -> list[ScaledNetwork]:
    """The scalings of a grid whose network at phi = 1 takes `ratio` times as long as `base`, nearest first.

    `tolerance` is a share of that latency. Scalings that round to the same network count once. With `most`, only so
    many are returned: the nearest, and those that differ most from one another. Raises RunFailedError, which names the
    nearest scaling, where none is within the tolerance.
    """
    if not (math.isfinite(ratio) and ratio > 0):
        raise NasError(f"a grid's ratio must be a number above 0, but got {ratio}")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise NasError(f"a grid's tolerance must be a number of at least 0, but got {tolerance}")
    if most is not None and most < 1:
        raise NasError(f"a grid must keep at least 1 candidate, but got {most}")
    base_ms = _latency(base, latency_ms)
    by_network: dict[Architecture, ScaledNetwork] = {}
    for alpha, beta, gamma in itertools.product(alphas, betas, gammas):
        scaling = CompoundScaling(alpha, beta, gamma)
        network = scale(base, scaling, 1.0)
        if network not in by_network:
            by_network[network] = _scaled(scaling, 1.0, network, _latency(network, latency_ms), base_ms)
    if not by_network:
        raise NasError("a grid needs at least one alpha, one beta and one gamma")
    nearest_first = sorted(by_network.values(), key=lambda network: abs(math.log(network.ratio / ratio)))
    within = [n for n in nearest_first if abs(n.ratio / ratio - 1) <= tolerance]
    if not within:
        nearest = nearest_first[0]
        needed = math.ceil(1000 * abs(nearest.ratio / ratio - 1)) / 1000
        raise RunFailedError(
            f"no scaling of the grid takes {ratio:g} times the base's {base_ms:.4g} ms, give or take a share of "
            f"{tolerance:g}: the nearest, {nearest.scaling}, takes {nearest.ratio:.4g} times. "
            f"A tolerance of {needed:g} would do."
        )
    return within if most is None else _spread(within, most)


def fit_compound_scaling(candidates: Sequence[ScaledNetwork], score: Callable[[Architecture], float]) -> ScalingFit:
    """The candidate of `scaling_grid` whose network has the highest score; of equals the one with the lowest latency.

    `score` is called once for each, in order. Raises NasError for a score that is NaN.
    """
    if not candidates:
        raise NasError("there must be at least one candidate to choose from")
    scored = []
    for candidate in candidates:
        value = score(candidate.architecture)
        if math.isnan(value):
            raise NasError(f"the score of {candidate.scaling} must be a number, but is {value}")
        scored.append((candidate, value))
    best, _ = max(scored, key=lambda pair: (pair[1], -pair[0].latency_ms))
    return ScalingFit(best, tuple(scored))


def scaled_family(
    base: Architecture,
    scaling: CompoundScaling,
    latency_ms: Latency,
    multiples: Sequence[float] = (1.0, 2.0, 4.0),
    *,
    scale: Scale = compound_scale,
) -> dict[float, ScaledNetwork]:
    """For each multiple, the largest network of `scaling` that takes at most so many times as long as `base`.

    Multiples below 1 shrink the network. Rounding makes latency a staircase in phi, so that a network's `ratio` may be
    below its multiple; where a stair leads down, the slowest network that was tried below the multiple is taken.
    Raises NasError for a multiple that is not above 0, and RunFailedError where no network is small or large enough.
    """
    check_multiples(multiples)
    ladder = _Ladder(base, scaling, latency_ms, scale)
    return {multiple: ladder.largest_below(multiple) for multiple in multiples}


def check_multiples(multiples: Sequence[float]) -> None:
    """Raise NasError unless each is a number above 0."""
    for multiple in multiples:
        if not (math.isfinite(multiple) and multiple > 0):
            raise NasError(f"a multiple of the base's latency must be a number above 0, but got {multiple}")


def rescaled(
    base: Architecture,
    scaling: CompoundScaling,
    latency_ms: Latency,
    *,
    ratio: float = 2.0,
    scale: Scale = compound_scale,
) -> CompoundScaling:
    """`scaling` with its bases to one power, so that phi = 1 takes about (at most) `ratio` times the base's latency.

    The proportions between depth, width and resolution stay. Raises RunFailedError where the smallest step up takes
    longer than that, as in a network whose stages have one block each, all of which get a second one at once.
    """
    if not (math.isfinite(ratio) and ratio > 1):
        raise NasError(f"phi = 1 must take more than the base's latency, but got {ratio} times")
    ladder = _Ladder(base, scaling, latency_ms, scale)
    largest = ladder.largest_below(ratio)
    if largest.phi <= 0:
        step = ladder.smallest_above(ratio)
        raise RunFailedError(
            f"with {scaling}, phi = 1 cannot take {ratio:g} times the base's latency: the smallest step up takes "
            f"{step.ratio:.3g} times already. A family can be made without fitting the scaling: give it as it is."
        )
    return CompoundScaling(*scaling.factors(largest.phi))


class _Ladder:
    """The networks of one scaling, by phi; the latency of each is asked for once."""

    def __init__(self, base: Architecture, scaling: CompoundScaling, latency_ms: Latency, scale: Scale) -> None:
        self._base = base
        self._base_ms = _latency(base, latency_ms)
        self._scaling = scaling
        self._latency_ms = latency_ms
        self._scale = scale
        steepest = max(scaling.factors(1))
        # So much phi doubles the dimension that grows fastest; where none grows, no phi does.
        self._doubling = math.log(2) / math.log(steepest) if steepest > 1 else math.inf
        # The base's latency is not asked for twice: a function that measures would give another one.
        self._by_network = {base: _scaled(scaling, 0.0, base, self._base_ms, self._base_ms)}

    def largest_below(self, multiple: float) -> ScaledNetwork:
        """The slowest of the networks tried that take at most `multiple` times the base's latency."""
        tried = [self.at(0.0)]
        grows = tried[0].ratio <= multiple
        low, high = self._bracket(multiple, grows, tried)
        while high - low > _PRECISION * self._doubling:
            middle = (low + high) / 2
            tried.append(self.at(middle))
            if tried[-1].ratio <= multiple:
                low = middle
            else:
                high = middle
        return max((n for n in tried if n.ratio <= multiple), key=lambda network: network.ratio)

    def smallest_above(self, multiple: float) -> ScaledNetwork:
        """The fastest of the networks so far that take more than `multiple` times the base's latency."""
        above = (network for network in self._by_network.values() if network.ratio > multiple)
        return min(above, key=lambda network: network.ratio)

    def _bracket(self, multiple: float, grows: bool, tried: list[ScaledNetwork]) -> tuple[float, float]:
        """A phi whose network is fast enough and a larger one whose network is too slow.

        Both are 0 where no network lies beyond `multiple` and one takes exactly that.
        """
        doublings = _MOST_DOUBLINGS if math.isfinite(self._doubling) else 0
        for step in range(doublings):
            inner, outer = ((step + end) * self._doubling * (1 if grows else -1) for end in (0, 1))
            tried.append(self.at(outer))
            if (tried[-1].ratio > multiple) == grows:
                return (inner, outer) if grows else (outer, inner)
        reached = max(n.ratio for n in tried) if grows else min(n.ratio for n in tried)
        if reached == multiple:
            return 0.0, 0.0
        raise RunFailedError(
            f"with {self._scaling}, nothing takes {'more' if grows else 'less'} than {reached:.3g} times the base's "
            f"{self._base_ms:.4g} ms, but {multiple:g} times are asked for"
        )

    def at(self, phi: float) -> ScaledNetwork:
        """The network at `phi`, with the first phi that was asked for of those that round to the same network."""
        network = self._scale(self._base, self._scaling, phi)
        if network not in self._by_network:
            latency = _latency(network, self._latency_ms)
            self._by_network[network] = _scaled(self._scaling, phi, network, latency, self._base_ms)
        return self._by_network[network]


def _latency(architecture: Architecture, latency_ms: Latency) -> float:
    """The latency that `latency_ms` gives. Raises NasError where that is not a number above 0."""
    latency = latency_ms(architecture)
    if not (math.isfinite(latency) and latency > 0):
        raise NasError(f"the latency of {architecture.fingerprint} must be a number above 0, but is {latency}")
    return latency


def _scaled(
    scaling: CompoundScaling, phi: float, network: Architecture, latency_ms: float, base_ms: float
) -> ScaledNetwork:
    rows = units(deployed(network))
    params, macs = sum(unit.params for unit in rows), sum(unit.macs for unit in rows)
    return ScaledNetwork(scaling, phi, network, latency_ms, latency_ms / base_ms, params, macs)


def _spread(candidates: Sequence[ScaledNetwork], most: int) -> list[ScaledNetwork]:
    """`most` of `candidates`, in their order: the first, then repeatedly the one farthest from all chosen before."""
    chosen = [candidates[0]]
    while len(chosen) < min(most, len(candidates)):
        rest = [candidate for candidate in candidates if candidate not in chosen]
        chosen.append(max(rest, key=lambda candidate: min(_distance(candidate, other) for other in chosen)))
    return [candidate for candidate in candidates if candidate in chosen]


def _distance(a: ScaledNetwork, b: ScaledNetwork) -> float:
    """How different two scalings are: the Euclidean length of the logarithms of their ratios.

    Width and resolution count twice, because FLOPs grow with alpha · beta² · gamma² (arXiv:1905.11946, section 3.3).
    """
    logs = [
        weight * math.log(x / y)
        for weight, x, y in (
            (1, a.scaling.alpha, b.scaling.alpha),
            (2, a.scaling.beta, b.scaling.beta),
            (2, a.scaling.gamma, b.scaling.gamma),
        )
    ]
    return math.hypot(*logs)
