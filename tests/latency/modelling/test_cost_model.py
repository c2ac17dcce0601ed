"""Tests of `nas.latency.modelling.cost_model`: fitting known coefficients, and cross-validation."""

from __future__ import annotations

import numpy as np
import pytest

from nas.latency.modelling.cost_model import AMOUNTS, PublishedSample, amounts, cross_validate, fit_cost_model
from nas.networks.architecture import Block
from nas.networks.operators import Unit, units
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large
from nas.networks.space.search_space import load_space

# By AMOUNTS.
TRUTH = np.array([0.2, 0.4, 1.0, 2.0, 0.5, 0.7, 0.6, 0.02])


def synthetic(count: int, *, group: str = "a", factor: float = 1.0, seed: int = 0) -> list[PublishedSample]:
    """Samples of one unit each, with exactly the latencies of TRUTH times `factor`."""
    every = load_space("mbv3").units()
    # The stems are few: always some of them.
    stems = [unit for unit in every if unit.block.op == "conv" and unit.block.kernel_size == 3]
    chosen = np.random.default_rng(seed).choice(len(every), count, replace=False)
    return [
        PublishedSample(f"{group} {i}", group, f"{group} {i}", (unit,), factor * float(amounts([unit]) @ TRUTH))
        for i, unit in enumerate([*stems, *(every[i] for i in chosen)])
    ]


def test_known_coefficients_are_found_again() -> None:
    """From exact samples the coefficients are exact, and so are the latencies of other units."""
    model = fit_cost_model(synthetic(300))
    assert model.coefficients == pytest.approx(tuple(TRUTH), rel=1e-6)
    network = units(mobilenet_v3_large())
    assert model.estimate_ms(network) == pytest.approx(float(amounts(network) @ TRUTH), rel=1e-6)


def test_scales_of_other_sources_are_found_again() -> None:
    """A source whose runtime is 1.7 times as slow does not change the coefficients."""
    samples = [*synthetic(200), *synthetic(200, group="b", factor=1.7, seed=1)]
    model = fit_cost_model(samples, free=("b",))
    assert model.scales == {"b": pytest.approx(1.7, rel=1e-3)}
    assert model.coefficients == pytest.approx(tuple(TRUTH), rel=0.02)
    errors = cross_validate(samples, free=("b",))
    assert max(error.worst for error in errors.values()) < 0.02


def test_differences_share_the_scale_of_their_source() -> None:
    """What squeeze-and-excitation adds, published on the slower source."""
    added = []
    for side in (14, 28, 56):
        with_se = Unit(Block("mbconv", 40, 3, 1, 120, 32, "hsigmoid", "relu"), 40, side, side)
        plain = Unit(Block("mbconv", 40, 3, 1, 120, activation="relu"), 40, side, side)
        difference = 1.7 * float((amounts([with_se]) - amounts([plain])) @ TRUTH)
        added.append(PublishedSample(f"se {side}", "se", f"se {side}", (with_se,), difference, (plain,), scale_of="b"))
    samples = [*synthetic(200), *synthetic(200, group="b", factor=1.7, seed=1), *added]
    assert fit_cost_model(samples, free=("b",)).scales == {"b": pytest.approx(1.7, rel=1e-3)}
    assert cross_validate(samples, free=("b",))["se"].worst < 0.02


def test_coefficients_are_never_negative() -> None:
    """Noise cannot make a coefficient negative."""
    rng = np.random.default_rng(3)
    noisy = [
        PublishedSample(s.name, s.group, s.family, s.units, s.latency_ms * float(rng.uniform(0.5, 1.5)))
        for s in synthetic(60)
    ]
    assert min(fit_cost_model(noisy).coefficients) >= 0


def test_each_source_counts_as_much_as_any_other() -> None:
    """Of two sources that differ by a factor of 2, the larger does not outvote the smaller; a weight does.

    The best x for errors x - 1 and w (x / 2 - 1) is (1 + w² / 2) / (1 + w² / 4).
    """
    few = synthetic(60, group="b", factor=2.0)
    many = synthetic(60) * 20
    for weight in (0.3, 1.0, 10.0):
        model = fit_cost_model([*many, *few], weights={"b": weight})
        expected = (1 + weight**2 / 2) / (1 + weight**2 / 4)
        assert model.estimate_ms(many[0].units) == pytest.approx(expected * many[0].latency_ms, rel=1e-6)


def test_families_are_held_out_whole() -> None:
    """Only one family has h-swish. Held out, its cost cannot be known; a leak of one of its samples would tell it."""
    space_units = [unit for unit in load_space("mbv3").units() if unit.block.activation == "relu"]
    plain = [
        PublishedSample(f"{i}", "plain", f"family {i}", (unit,), float(amounts([unit]) @ TRUTH))
        for i, unit in enumerate(space_units[::10])
    ]
    hswish_units = [Unit(Block("conv", 64, 1, 1, activation="hswish"), 8, side, side) for side in range(20, 40)]
    truth = TRUTH.copy()
    truth[[amount.name for amount in AMOUNTS].index("hswish")] = 50.0
    family = [
        PublishedSample(f"h {i}", "hswish", "the only one", (unit,), float(amounts([unit]) @ truth))
        for i, unit in enumerate(hswish_units)
    ]
    held_out = cross_validate([*plain, *family])["hswish"]
    assert held_out.bias < -0.9
    leaking = [PublishedSample(s.name, s.group, s.name, s.units, s.latency_ms) for s in family]
    assert abs(cross_validate([*plain, *leaking])["hswish"].bias) < 0.01


def test_what_cannot_be_fitted_is_refused() -> None:
    """One family, and a free source without samples."""
    samples = synthetic(5)
    alone = [PublishedSample(s.name, s.group, "one", s.units, s.latency_ms) for s in samples]
    with pytest.raises(ValueError, match="at least two families"):
        cross_validate(alone)
    with pytest.raises(ValueError, match="no sample fits the scale of b"):
        fit_cost_model(samples, free=("b",))


def test_a_model_knows_the_operations_that_it_was_fitted_to() -> None:
    """Not attention or a grouped convolution, of which no sample had any."""
    model = fit_cost_model(synthetic(30))
    assert model.operations == {"conv", "depthwise", "pool", "gate", "add"}
    grouped = Unit(Block("conv", 8, 3, groups=2), 8, 14, 14)
    shuffled = Unit(Block("fbnet", 8, 3, hidden_channels=16, groups=2, activation="relu"), 8, 14, 14)
    assert model.unknown_operations(grouped) == ("grouped_conv",)
    assert model.unknown_operations(shuffled) == ("grouped_conv", "shuffle")
    assert model.unknown_operations(units(mobilenet_v3_large())[5]) == ()


def test_silu_costs_what_hswish_does() -> None:
    """By assumption, and not what ReLU does, which costs nothing."""
    cost = {name: amounts([Unit(Block("conv", 8, activation=name), 8, 14, 14)]) @ TRUTH for name in ("silu", "hswish")}
    assert cost["silu"] == cost["hswish"] > amounts([Unit(Block("conv", 8, activation="relu"), 8, 14, 14)]) @ TRUTH


def test_amounts_add_up() -> None:
    """The amounts of a network are the sums of its units'; MACs are those that networks report."""
    network = units(mobilenet_v3_large())
    total = amounts(network)
    assert total == pytest.approx(sum(amounts([unit]) for unit in network))
    macs = dict(zip((amount.name for amount in AMOUNTS), total, strict=True))
    counted = macs["conv_macs"] + macs["depthwise_macs"]
    assert counted * 1e6 == pytest.approx(sum(unit.macs for unit in network))
