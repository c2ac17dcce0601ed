"""What does an experiment say?

Everything that `python -m nas.search` does follows from one `Experiment`: a YAML file, `key=value` words, or options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, model_validator

from nas.accuracy.train import TrainingSettings
from nas.config import Document, Settings, check, with_overrides
from nas.networks.proxy import ProxySettings

SamplerName = Literal["nsga2", "nsga3", "tpe", "random"]

# What may differ between two commands that belong to the same run: how long it goes on, and what is picked.
CHANGEABLE = frozenset({"trials", "minutes", "budgets_ms"})

_SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kMG]?)", re.ASCII)
_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def _size(value: Any) -> Any:
    """`5M` is 5,000,000 (k, M, G are powers of 1000)."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if isinstance(value, str) and match is None:
        raise ValueError(f"must be a number such as 300000, 5M or 1.2G, but got {value!r}")
    amount = float(match[1]) * _FACTORS[match[2]] if match else 0.5
    return round(amount) if amount.is_integer() else value


def _budgets(value: Any) -> Any:
    """One budget is a list of one; a repeated one counts once."""
    return tuple(dict.fromkeys(value)) if isinstance(value, list | tuple) else (value,)


def _absolute(url: str | None) -> str | None:
    """An SQLite file keeps its place when a later command is given in another folder."""
    prefix = "sqlite:///"
    if url is None or not url.startswith(prefix) or url == prefix:
        return url
    return prefix + str(Path(url.removeprefix(prefix)).absolute())


Size = Annotated[int, BeforeValidator(_size), Field(gt=0, strict=True)]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class Limits(Settings):
    """What a candidate must not exceed; checked before anything is trained. 5M is 5,000,000."""

    latency_ms: Milliseconds | None = None
    params: Size | None = None
    macs: Size | None = None
    peak_activation_bytes: Size | None = None

    def given(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: float(value) for name, value in self if value is not None}


class Experiment(Settings):
    """A search: what is searched, for which device, on which images, and for how long."""

    space: StrictStr = "mbv3"
    device: StrictStr = "pixel_lut"
    data: StrictStr = "digits"
    max_images: Annotated[int, Field(ge=1, strict=True)] | None = None
    trials: Annotated[int, Field(ge=1, strict=True)] = 24
    minutes: Annotated[float, Field(gt=0, strict=True)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    sampler: SamplerName = "nsga2"
    population: Annotated[int, Field(ge=2, strict=True)] = 12
    limits: Limits = Limits()
    budgets_ms: Annotated[tuple[Milliseconds, ...], BeforeValidator(_budgets)] = ()
    references: tuple[StrictStr, ...] = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
    proxy: ProxySettings = ProxySettings()
    training: TrainingSettings = TrainingSettings()
    storage: Annotated[StrictStr | None, AfterValidator(_absolute)] = None

    @model_validator(mode="after")
    def _nsga2_can_pair(self) -> Experiment:
        if self.sampler == "nsga2" and self.population < 4:
            raise ValueError(f"population must be at least 4 for nsga2, but got {self.population}")
        return self


def resolve_experiment(document: Document | None, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment in `document` (None: the defaults) with dotted keys replaced. Raises ConfigError."""
    base = document or Document({}, "the experiment")
    return check(Experiment, with_overrides(base, overrides))


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What of `after` is not as `before`, a line each, leaving out what one run may change."""
    found = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if old == new or (not prefix and key in CHANGEABLE):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key} was {old!r} and is now {new!r}")
    return found
