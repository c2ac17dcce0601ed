"""Plan the measurement of a table: its units, and the whole networks that it is calibrated and checked with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nas.errors import NasError
from nas.files import write_text
from nas.networks.architecture import Architecture
from nas.networks.deployed import deployed
from nas.networks.operators import Unit, parse_unit, units
from nas.networks.references import find_network, reference
from nas.networks.space.format import TiedFormat
from nas.networks.space.keys import LEAST_RESOLUTION, MOST_RESOLUTION
from nas.networks.space.search_space import SearchSpace
from nas.networks.space.table import SpaceTable

Role = Literal["fit", "held out", "reference"]

# The calibration has two coefficients, and a rank correlation needs two networks.
LEAST_FIT, LEAST_HELD_OUT = 3, 2
# Networks are drawn evenly over this many intervals of the space's range of MACs.
_STRATA = 10
# Networks are drawn at most this often, because a small space may not have as many as are to be measured.
_MOST_DRAWS = 20


@dataclass(frozen=True)
class Network:
    """A whole network that is timed beside the units, to fit the calibration, to check it, or because it was named."""

    name: str
    role: Role
    architecture: Architecture

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units in the order in which they run on the device, with branches fused as for deployment."""
        return units(deployed(self.architecture))


@dataclass(frozen=True)
class Plan:
    """The units that get rows, and the networks. No network is used both to fit the calibration and to check it.

    `resolutions` are the image sizes to measure, in pixels; none means all of the space's.
    """

    space: str
    resolutions: tuple[int, ...]
    units: tuple[Unit, ...]
    networks: tuple[Network, ...]

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        networks = [
            {"name": network.name, "role": network.role, "architecture": network.architecture.to_json()}
            for network in self.networks
        ]
        return {
            "space": self.space,
            "resolutions": list(self.resolutions),
            "units": [unit.key for unit in self.units],
            "networks": networks,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """The inverse of `to_json`."""
        networks = tuple(
            Network(entry["name"], entry["role"], Architecture.from_json(entry["architecture"]))
            for entry in data["networks"]
        )
        keys = tuple(parse_unit(key) for key in data["units"])
        return cls(data["space"], tuple(data["resolutions"]), keys, networks)


def plan_measurement(
    space: SearchSpace,
    *,
    resolutions: Sequence[int] = (),
    references: Sequence[str] = (),
    networks: Sequence[str] = (),
    fit: int = 20,
    held_out: int = 50,
    seed: int = 0,
    with_units: bool = True,
) -> Plan:
    """Plan to measure all units of a space, with networks drawn evenly over its range of MACs.

    `resolutions` are the image sizes to measure; none means those of the space. `references` are published networks,
    taken at their own resolution where it is measured, else at the largest. `networks` are published networks or
    architectures' .json files, always at their own resolution. Both get rows and are checked. With `with_units` false,
    only networks are measured. Raises NasError for an unknown network, for two networks of one name, and for too few
    networks to calibrate or to check a table.
    """
    least_fit = LEAST_FIT if with_units else 0
    for number, least, what in ((fit, least_fit, "to calibrate by"), (held_out, LEAST_HELD_OUT, "to check by")):
        if number < least:
            raise NasError(f"at least {least} networks {what} must be measured, but got {number}")
    space = at_resolutions(space, resolutions)
    rng = np.random.default_rng(seed)
    table = SpaceTable(space)
    drawn: dict[Architecture, None] = {}
    count = fit + held_out
    for _ in range(_MOST_DRAWS):
        if len(drawn) >= count:
            break
        members, strata, _ = table.sample_stratified(-(-count // _STRATA), _STRATA, lambda unit: unit.macs, rng)
        # In turn one of each stratum, so that the first few of them span the range, however many these are.
        order = sorted(range(len(members)), key=lambda i: (np.count_nonzero(strata[:i] == strata[i]), strata[i]))
        drawn |= dict.fromkeys(members[index] for index in order)
    chosen = list(drawn)[:count]
    # Networks to fit stand at even steps, so that they and those to check both span the range.
    fitting = set(np.linspace(0, len(chosen) - 1, min(fit, len(chosen))).round().astype(int).tolist())
    if len(chosen) < fit + LEAST_HELD_OUT:
        raise NasError(
            f"{space.name} must have {fit} networks to calibrate by and at least {LEAST_HELD_OUT} more to check by, "
            f"but has {len(chosen)} in all{': give a smaller --fit' if fit > LEAST_FIT else ''}"
        )
    planned = [
        Network(f"{space.name} {architecture.fingerprint}", "fit" if i in fitting else "held out", architecture)
        for i, architecture in enumerate(chosen)
    ]
    largest = max(space.format.resolution)
    for name in references:
        network = reference(name)
        if network.resolution not in space.format.resolution:
            network = replace(network, resolution=largest)
        planned.append(Network(name, "reference", network))
    # A file keeps its ending, so that it is not mistaken for a published network.
    planned += [Network(Path(name).name, "reference", find_network(name)) for name in networks]
    _refuse_duplicate_names([network.name for network in planned])
    all_units = [*space.units(), *(u for n in planned if n.role == "reference" for u in n.units)]
    rows = tuple(dict.fromkeys(all_units)) if with_units else ()
    return Plan(space.name, tuple(resolutions), rows, tuple(planned))


def _refuse_duplicate_names(names: Sequence[str]) -> None:
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise NasError(f"each network must have a name of its own, but {', '.join(duplicates)} was given twice")


def at_resolutions(space: SearchSpace, resolutions: Sequence[int]) -> SearchSpace:
    """`space` with these image sizes instead of its own; `space` itself where there are none.

    The sizes need not be among the space's own. Decisions that are tied to the resolution are then made independently
    of it. Raises NasError for sizes that no network can take.
    """
    if not resolutions:
        return space
    invalid = [size for size in resolutions if not LEAST_RESOLUTION <= size <= MOST_RESOLUTION]
    if invalid:
        sizes = ", ".join(map(str, invalid))
        raise NasError(f"a resolution must be {LEAST_RESOLUTION} to {MOST_RESOLUTION} pixels, but got {sizes}")
    changed = {
        "resolution": tuple(dict.fromkeys(resolutions)),
        "tied": tuple(_without_resolution(group) for group in space.format.tied),
    }
    return SearchSpace(space.format.model_copy(update=changed))


def _without_resolution(group: TiedFormat) -> TiedFormat:
    if "resolution" not in group.keys:
        return group
    place = group.keys.index("resolution")
    cut = {name: (*row[:place], *row[place + 1 :]) for name, row in group.rows.items()}
    once = {row: name for name, row in reversed(cut.items())}
    return group.model_copy(
        update={
            "keys": tuple(key for key in group.keys if key != "resolution"),
            "rows": {name: row for name, row in cut.items() if once[row] == name},
        }
    )


def save_plan(plan: Plan, path: Path) -> None:
    """Write `plan` as JSON."""
    write_text(path, json.dumps(plan.to_json(), indent=1))


def load_plan(path: Path) -> Plan:
    """Read what `save_plan` wrote."""
    try:
        return Plan.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NasError(f"cannot read the plan {path}: {error}. Delete it, and measure writes it again.") from error
