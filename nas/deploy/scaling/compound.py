"""How is one network scaled to a family for one device, by latency instead of FLOPs?

EfficientNet (arXiv:1905.11946, section 3.3) searches a small grid for the depth, width and resolution that double a
network's FLOPs best, and scales by their powers. Here the same is done with the device's milliseconds. The latency of a
network is whatever a function says: a table's sum, a measurement.
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
# compound_scale, or that with other options.
Scale = Callable[[Architecture, CompoundScaling, float], Architecture]

# From no change in a dimension to what doubles most networks by that dimension alone.
ALPHAS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
BETAS = (1.0, 1.1, 1.2, 1.3, 1.4)
GAMMAS = (1.0, 1.1, 1.2, 1.3, 1.4)

# How far a family is followed: until what changes most of depth, width and resolution has doubled or halved so often.
_MOST_DOUBLINGS = 10
# Bisection ends where phi is known to this part of such a doubling, which changes a network of 500 channels by one.
_PRECISION = 1 / 1024


@dataclass(frozen=True)
class ScaledNetwork:
    """A network scaled by `scaling` at `phi`, and what it costs as it is deployed.

    `ratio` is its latency over the base's.
    """

    scaling: CompoundScaling
    phi: float
    architecture: Architecture
    latency_ms: float
    ratio: float
    params: int
    macs: int


@dataclass(frozen=True)
class ScalingFit:
    """The candidate with the best score, and all candidates with their scores, in their order."""

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

    `tolerance` is a share of that latency. Scalings that round to one network count once. `most` keeps that many, as
    different from one another as there are, the nearest among them. Raises RunFailedError, naming the nearest scaling,
    where none is within the tolerance.
    """
    if not (math.isfinite(ratio) and ratio > 0):
        raise NasError(f"a grid's ratio must be a number above 0, but got {ratio}")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise NasError(f"a grid's tolerance must be a number of at least 0, but got {tolerance}")
    if most is not None and most < 1:
        raise NasError(f"a grid must keep at least 1 candidate, but got {most}")
    base_ms = _latency(base, latency_ms)
    found: dict[Architecture, ScaledNetwork] = {}
    for alpha, beta, gamma in itertools.product(alphas, betas, gammas):
        scaling = CompoundScaling(alpha, beta, gamma)
        network = scale(base, scaling, 1.0)
        if network not in found:
            found[network] = _scaled(scaling, 1.0, network, _latency(network, latency_ms), base_ms)
    if not found:
        raise NasError("a grid needs at least one alpha, one beta and one gamma")
    nearest_first = sorted(found.values(), key=lambda network: abs(math.log(network.ratio / ratio)))
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

    `score` is asked once for each, in order. Raises NasError for a score that is not a number.
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
    """By multiple, the largest network of `scaling` that takes at most so many times as long as `base`.

    Multiples below 1 shrink it. Rounding makes latency a staircase in phi, so that a network may take less than it
    could (its `ratio`); where a stair leads down, the slowest network that was found below the target counts.
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
    """`scaling` with its bases to one power, so that phi = 1 takes about `ratio` (at most) times the base's latency.

    The proportions between depth, width and resolution stay. Raises RunFailedError where the smallest step up takes
    more than that already, as in a network whose stages have one block each, all of which get a second one at once.
    """
    if not (math.isfinite(ratio) and ratio > 1):
        raise NasError(f"phi = 1 must take more than the base's latency, but got {ratio} times")
    ladder = _Ladder(base, scaling, latency_ms, scale)
    found = ladder.largest_below(ratio)
    if found.phi <= 0:
        step = ladder.smallest_above(ratio)
        raise RunFailedError(
            f"with {scaling}, phi = 1 cannot take {ratio:g} times the base's latency: the smallest step up takes "
            f"{step.ratio:.3g} times already. The scaling need not be fitted to make a family: give it as it is."
        )
    return CompoundScaling(*scaling.factors(found.phi))


class _Ladder:
    """The networks of one scaling by phi, each costed once."""

    def __init__(self, base: Architecture, scaling: CompoundScaling, latency_ms: Latency, scale: Scale) -> None:
        self._base = base
        self._base_ms = _latency(base, latency_ms)
        self._scaling = scaling
        self._latency_ms = latency_ms
        self._scale = scale
        steepest = max(scaling.factors(1))
        # So much phi doubles what grows fastest; without growth there is nowhere to go.
        self._doubling = math.log(2) / math.log(steepest) if steepest > 1 else math.inf
        # The base is not asked for twice: a function that measures would answer something else.
        self._by_network = {base: _scaled(scaling, 0.0, base, self._base_ms, self._base_ms)}

    def largest_below(self, multiple: float) -> ScaledNetwork:
        """The slowest network that is found at no more than `multiple`."""
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
        """The fastest of the networks so far that take more than `multiple`."""
        above = (network for network in self._by_network.values() if network.ratio > multiple)
        return min(above, key=lambda network: network.ratio)

    def _bracket(self, multiple: float, grows: bool, tried: list[ScaledNetwork]) -> tuple[float, float]:
        """A phi that is fast enough and a larger one that is too slow; both are 0 where nothing is."""
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
        """The network at `phi`; of those that round to the same, the first that was asked for."""
        network = self._scale(self._base, self._scaling, phi)
        if network not in self._by_network:
            latency = _latency(network, self._latency_ms)
            self._by_network[network] = _scaled(self._scaling, phi, network, latency, self._base_ms)
        return self._by_network[network]


def _latency(architecture: Architecture, latency_ms: Latency) -> float:
    """What `latency_ms` says, which must be a latency."""
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
    """`most` of them: the first, then time and again the one that is farthest from all that were taken."""
    taken = [candidates[0]]
    while len(taken) < min(most, len(candidates)):
        rest = [candidate for candidate in candidates if candidate not in taken]
        taken.append(max(rest, key=lambda candidate: min(_distance(candidate, other) for other in taken)))
    return [candidate for candidate in candidates if candidate in taken]


def _distance(a: ScaledNetwork, b: ScaledNetwork) -> float:
    """How different two scalings are, in factors: depth counts once, width and resolution, whose squares cost, twice.

    (arXiv:1905.11946, section 3.3: FLOPs grow with alpha * beta ** 2 * gamma ** 2.)
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
