"""Tests of `nas.latency.energy`: energy is power times time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.errors import ConfigError, NasError
from nas.latency.energy import (
    Power,
    battery_hours,
    energy_mj,
    frames_per_second,
    inferences_per_charge,
    required_power,
)
from nas.latency.table import load_table, read_table, save_table

positive = st.floats(1e-3, 1e4)
PHONE = Power(active_w=2.0, idle_w=0.5, battery_wh=10.0, source="made up")


def test_energy_is_in_millijoules() -> None:
    """2 W for 50 ms is 100 mJ, and 1 Wh is 3,600 J."""
    assert energy_mj(2.0, 50.0) == 100.0
    assert inferences_per_charge(1.0, 3600.0) == 1000.0
    assert frames_per_second(50.0) == 20.0


def test_a_measured_inference_gives_the_power() -> None:
    """120 mJ in 48 ms is 2.5 W, so that this inference has its own energy again."""
    power = Power(measured={"energy_mj": 120, "latency_ms": 48}, source="meter")  # type: ignore[arg-type]
    assert power.watts == 2.5
    assert energy_mj(power.watts, 48) == 120


@pytest.mark.parametrize(
    ("frame_rate", "hours"),
    [(0, 10 / 0.5), (20, 10 / 2.0), (10, 10 / 1.25)],
    ids=["idle", "always busy", "half of the time"],
)
def test_battery_hours_in_closed_form(frame_rate: float, hours: float) -> None:
    assert battery_hours(PHONE, 50.0, frame_rate) == pytest.approx(hours)


@given(positive, positive, positive)
def test_back_to_back_hours_and_inferences_agree(watts: float, latency_ms: float, battery_wh: float) -> None:
    """Without idle power, hours × rate is the number of inferences that the charge holds, at any rate."""
    power = Power(active_w=watts, idle_w=0, battery_wh=battery_wh, source="made up")
    rate = frames_per_second(latency_ms) / 2
    images = inferences_per_charge(battery_wh, energy_mj(watts, latency_ms))
    assert battery_hours(power, latency_ms, rate) * 3600 * rate == pytest.approx(images)


def test_what_draws_nothing_lasts_for_ever() -> None:
    assert battery_hours(Power(active_w=2, idle_w=0, battery_wh=10, source="made up"), 50.0, 0) == math.inf


def test_a_rate_that_latency_does_not_allow_is_refused() -> None:
    with pytest.raises(NasError, match="must be 0 to 20 a second at 50 ms, but is 21"):
        battery_hours(PHONE, 50.0, 21)


@pytest.mark.parametrize("missing", ["idle_w", "battery_wh"])
def test_battery_life_names_the_figure_that_is_missing(missing: str) -> None:
    with pytest.raises(NasError, match=f"needs {missing}"):
        battery_hours(PHONE.model_copy(update={missing: None}), 50.0, 1)


def test_a_table_without_power_says_what_to_add() -> None:
    with pytest.raises(NasError, match=r"latency table phone gives none\. Add to phone\.yaml.*active_w"):
        required_power("phone", None)
    assert required_power("phone", PHONE) is PHONE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"source": "x"}, "either active_w"),
        ({"active_w": 2, "measured": {"energy_mj": 1, "latency_ms": 1}, "source": "x"}, "either active_w"),
        ({"active_w": 2}, "source"),
        ({"active_w": 0, "source": "x"}, "greater than 0"),
        ({"active_w": 1, "idle_w": 2, "source": "x"}, "idle_w must be at most"),
        ({"active_w": math.inf, "source": "x"}, "finite"),
    ],
)
def test_impossible_powers_are_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Power.model_validate(data)


def test_a_table_keeps_its_power(tmp_path: Path) -> None:
    """It survives saving, and a wrong one is named with its line."""
    table = load_table("note10_lut")
    with_power = table.conditions.model_copy(update={"power": PHONE})
    _, path = save_table(type(table)("phone", with_power, dict(list(table.rows.items())[:3])), tmp_path)
    assert read_table(path).conditions.power == PHONE
    path.write_text(path.read_text().replace("active_w: 2.0", "active_w: -2.0"))
    with pytest.raises(ConfigError, match=r"active_w must be greater than 0.*phone\.yaml:\d+, power\.active_w"):
        read_table(path)
