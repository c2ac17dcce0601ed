"""Energy of an inference and battery life, from the latency and the power that a device draws.

The power is that of the device while it runs a network. It stands in a table's .yaml, as `power`.
assumption: the power is the same for every network.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictStr, model_validator

from nas.config import Settings
from nas.errors import NasError

_MJ_PER_WH = 3.6e6

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MeasuredEnergy(Settings):
    """One inference whose energy (mJ) and latency (ms) were measured."""

    energy_mj: _Positive
    latency_ms: _Positive


class Power(Settings):
    """The power that a device draws, in watts, and the capacity of its battery, in watt-hours.

    `active_w` is the power of the whole device while it runs a network. Alternatively, `measured` gives the energy and
    latency of one inference, from which it follows. `idle_w` is the power between two inferences. `source` says where
    the figures come from: who measured what, with which meter, or who published it.
    """

    active_w: _Positive | None = None
    measured: MeasuredEnergy | None = None
    idle_w: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    battery_wh: _Positive | None = None
    source: StrictStr

    @model_validator(mode="after")
    def _one_power(self) -> Power:
        if (self.active_w is None) == (self.measured is None):
            raise ValueError("power must have either active_w (watts) or measured (energy_mj and latency_ms)")
        if self.idle_w is not None and self.idle_w > self.watts:
            raise ValueError(
                f"idle_w must be at most the power while running, {self.watts:.4g} W, but is {self.idle_w}"
            )
        return self

    @property
    def watts(self) -> float:
        """The power while a network runs, in watts."""
        if self.measured is not None:
            return self.measured.energy_mj / self.measured.latency_ms
        assert self.active_w is not None
        return self.active_w


def energy_mj(power_w: float, latency_ms: float) -> float:
    """The energy of one inference in millijoules: watts times milliseconds."""
    return power_w * latency_ms


def frames_per_second(latency_ms: float) -> float:
    """Inferences per second, one after the other."""
    return 1000 / latency_ms


def inferences_per_charge(battery_wh: float, energy_of_one_mj: float) -> float:
    """Number of inferences, one after the other, from a full battery (Wh); nothing else draws power."""
    return battery_wh * _MJ_PER_WH / energy_of_one_mj


def battery_hours(power: Power, latency_ms: float, frame_rate: float) -> float:
    """Hours that a full battery lasts at `frame_rate` inferences a second, idle in between; nothing else draws power.

    Raises NasError where `battery_wh` or `idle_w` is missing, and for a frame rate that the latency does not allow.
    """
    if power.battery_wh is None or power.idle_w is None:
        missing = "battery_wh" if power.battery_wh is None else "idle_w"
        raise NasError(f"battery life needs {missing}: add it under 'power' in the table's .yaml")
    busy = frame_rate * latency_ms / 1000
    if not 0 <= busy <= 1:
        raise NasError(
            f"the frame rate must be 0 to {frames_per_second(latency_ms):.4g} a second at {latency_ms:.4g} ms, "
            f"but is {frame_rate:g}"
        )
    mean_w = power.idle_w + busy * (power.watts - power.idle_w)
    return power.battery_wh / mean_w if mean_w else float("inf")


def required_power(device: str, power: Power | None) -> Power:
    """`power`. Raises NasError, saying what to add, where the table of `device` gives none."""
    if power is None:
        raise NasError(
            f"energy needs the power that the device draws, and the latency table {device} gives none. Add to "
            f"{device}.yaml, with your own figures: power: {{active_w: 2.5, source: who measured it and how}} "
            "(or, for active_w, measured: {energy_mj: 120, latency_ms: 48} of one inference)"
        )
    return power
