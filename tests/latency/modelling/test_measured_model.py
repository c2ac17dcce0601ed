"""Tests of `nas.latency.modelling.measured_model`: latencies of units that were not timed, from those that were."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas.errors import NasError
from nas.latency.modelling.measured_model import cross_validate, fit_measured_model, measured_model_of, with_estimated
from nas.latency.table import LatencyTable, Row, load_table
from nas.networks.architecture import Block
from nas.networks.operators import Unit

SIDES = (7, 14, 28, 56)


def unit(side: int, in_channels: int, hidden: int, out_channels: int) -> Unit:
    return Unit(Block("mbconv", out_channels, 3, 1, hidden, activation="relu"), in_channels, side, side)


def device_ms(one: Unit, block: int = 1) -> float:
    """A device that takes so long for each element that it computes and each that it moves, in whole blocks."""
    in_channels, hidden, out_channels = (
        -(-channels // block) * block for channels in (one.in_channels, one.block.hidden_channels, one.out_channels)
    )
    macs = hidden * (in_channels + 9 + out_channels)
    return 1e-6 * one.height * one.width * (20 * macs / 1000 + 0.3 * hidden) + 0.01


def rows(block: int = 1) -> dict[str, float]:
    shapes = [(16, 64, 24), (24, 72, 40), (40, 120, 40), (40, 240, 80), (64, 384, 96), (80, 200, 80), (96, 480, 160)]
    units = [unit(side, *shape) for side in SIDES for shape in shapes]
    return {one.key: device_ms(one, block) for one in units}


def table(latency_ms: dict[str, float]) -> LatencyTable:
    """Of these rows, measured."""
    conditions = load_table("pixel_lut").conditions
    sources = {"measured": conditions.sources["published"]}
    changed = {"sources": sources, "model": None}
    return LatencyTable("mine", conditions.model_copy(update=changed), {k: Row(ms) for k, ms in latency_ms.items()})


@pytest.mark.parametrize("block", [1, 16])
def test_the_blocks_of_channels_are_found(block: int) -> None:
    """Where a device computes whole blocks of channels, taking a part of one away saves nothing."""
    model = fit_measured_model(rows(block))
    # All widths measured are multiples of 8, so that smaller blocks are one and the same.
    assert (model.block == 16) == (block == 16)
    if block == 16:
        filled, part = unit(28, 48, 192, 48), unit(28, 48, 192 - block // 2, 48)
        assert model.estimate_ms(part) == model.estimate_ms(filled)
    for one in (unit(28, 40, 184, 40), unit(14, 56, 336, 88), unit(56, 16, 40, 24)):
        assert model.estimate_ms(one) == pytest.approx(device_ms(one, block), rel=0.05)


def test_units_take_as_long_as_measured_ones_like_them() -> None:
    """A kind of units that the amounts do not explain is slower in widths that were not timed, too, and others not."""
    odd = {key: ms * (3 if key.startswith("mbconv_14x14") else 1) for key, ms in rows().items()}
    model = fit_measured_model(odd)
    near = unit(14, 40, 232, 80)
    assert model.estimate_ms(near) == pytest.approx(3 * device_ms(near), rel=0.05)
    assert model.estimate_ms(unit(28, 40, 232, 80)) == pytest.approx(device_ms(unit(28, 40, 232, 80)), rel=0.05)


def test_rows_are_checked_by_those_that_were_held_out() -> None:
    """The error is almost 0 on a device that the model can express, and larger with noise of 10 %."""
    exact = cross_validate(rows(16))
    assert exact.count == len(rows())
    assert exact.mape < 0.05
    noisy = {key: ms * (1 + 0.1 * (-1) ** number) for number, (key, ms) in enumerate(rows(16).items())}
    assert cross_validate(noisy).mape > 0.08


def test_measured_rows_stay_and_others_say_that_they_are_modelled() -> None:
    """Only what is missing gets a row; a table that has all is itself."""
    measured = table(rows())
    new = unit(28, 40, 112, 40)
    extended = with_estimated(measured, measured_model_of(measured), [new, unit(28, 40, 120, 40)])
    assert {key: extended.rows[key] for key in measured.rows} == measured.rows
    assert extended.rows[new.key].source == "modelled"
    assert "modelled" in extended.conditions.sources
    assert len(extended.rows) == len(measured.rows) + 1
    assert with_estimated(extended, measured_model_of(measured), [new]) is extended
    # Modelled rows teach nothing.
    assert measured_model_of(extended) is measured_model_of(measured)


def test_what_rows_cannot_tell_is_refused() -> None:
    """Operations that no measured unit has, and too few units."""
    measured = table(rows())
    squeezing = replace(unit(28, 40, 120, 40), block=Block("mbconv", 40, 3, 1, 120, 8, "hsigmoid", "relu"))
    with pytest.raises(NasError, match=r"cannot tell the latency of .*_se8_relu, because none of them has gate, pool"):
        with_estimated(measured, measured_model_of(measured), [squeezing])
    with pytest.raises(NasError, match="at least 24 measured rows, but there are 3"):
        fit_measured_model(dict(list(rows().items())[:3]))
