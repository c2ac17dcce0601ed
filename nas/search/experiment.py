"""Experiment: everything that a search is told, as checked settings.

Everything that `python -m nas.search` does follows from one `Experiment`: a YAML file, `key=value` words, or options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictStr, model_validator

from nas.accuracy.evaluators.registry import check_evaluator
from nas.accuracy.score import SHORT
from nas.accuracy.training.settings import TrainingSettings
from nas.config import Document, Settings, check, with_overrides
from nas.errors import NasError
from nas.networks.proxy import ProxySettings
from nas.search.quantities import DEFAULT_OBJECTIVES, LEARNED, check_known_name, check_name, split_name
from nas.search.scoring.rungs import StoppingSettings, brackets

SamplerName = Literal["front", "nsga2", "nsga3", "tpe", "gp", "random"]

# What may differ between two commands that belong to the same run: how long it goes on, and what is picked.
CHANGEABLE = frozenset({"trials", "minutes", "repeats", "score_cache", "budgets", "budgets_ms", "workers"})

# Keys that earlier versions did not have, and their defaults: those are not written, so that a run that an earlier
# version began is recognised.
ADDED: Mapping[str, Any] = {"evaluator": SHORT, "workers": 1}

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
    if not isinstance(value, list | tuple):
        return (value,)
    # By comparison, as what is no number may have no hash.
    return tuple(budget for index, budget in enumerate(value) if budget not in value[:index])


def _absolute(url: str | None) -> str | None:
    """An SQLite file keeps its place when a later command is given in another folder."""
    prefix = "sqlite:///"
    if url is None or not url.startswith(prefix) or url == prefix:
        return url
    return prefix + str(Path(url.removeprefix(prefix)).absolute())


def _names(value: Any) -> Any:
    """`top1,latency_ms` is a list of two."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _repeats(value: int) -> int:
    if value == 1:
        raise ValueError("must be 0 or at least 2, as one score says nothing of how they scatter, but got 1")
    return value


def _score_cache(value: Any) -> Any:
    """YAML reads `off` and `no` as false; a place stays what it is when a later command is given in another folder."""
    if value is False:
        return "none"
    return str(Path(value).absolute()) if isinstance(value, str) and value not in ("default", "none") else value


Count = Annotated[int, Field(ge=1, le=10**9, strict=True)]
# Limits are compared with what networks have as floats, so no size may be beyond all of those.
Size = Annotated[int, BeforeValidator(_size), Field(gt=0, le=10**18, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Amount = Annotated[Positive, BeforeValidator(_size)]
Objectives = Annotated[tuple[Annotated[str, AfterValidator(check_name)], ...], BeforeValidator(_names)]
KnownName = Annotated[str, AfterValidator(check_known_name)]


class Limits(Settings):
    """What a candidate must not exceed (fps: must reach); checked before anything is trained. 5M is 5,000,000.

    Besides these, what depends on the device may be limited on others: `latency_ms@note10_lut`.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[KnownName, Positive] = Field(init=False)

    latency_ms: Positive | None = None
    fps: Positive | None = None
    energy_mj: Positive | None = None
    params: Size | None = None
    macs: Size | None = None
    peak_activation_bytes: Size | None = None

    def given(self) -> dict[str, float]:
        """The limits that are set, by what they limit."""
        return {name: float(value) for name, value in self if value is not None}


class Experiment(Settings):
    """A search: what is searched, for which device, on which images, and for how long."""

    space: StrictStr = "mbv3"
    device: StrictStr = "pixel_lut"
    devices: tuple[StrictStr, ...] = ()
    objectives: Objectives = DEFAULT_OBJECTIVES
    data: StrictStr = "digits"
    max_images: Count | None = None
    trials: Count = 24
    minutes: Positive | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    evaluator: Annotated[StrictStr, AfterValidator(check_evaluator)] = SHORT
    workers: Annotated[Count, Field(le=1000)] = 1
    sampler: SamplerName = "front"
    population: Annotated[Count, Field(ge=2)] = 12
    limits: Limits = Limits()
    budgets_ms: Annotated[tuple[Positive, ...], BeforeValidator(_budgets)] = ()
    budgets: dict[KnownName, Annotated[tuple[Amount, ...], BeforeValidator(_budgets)]] = Field(default_factory=dict)
    references: tuple[StrictStr, ...] = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
    proxy: ProxySettings = ProxySettings()
    training: TrainingSettings = TrainingSettings()
    stopping: StoppingSettings = StoppingSettings()
    repeats: Annotated[int, Field(ge=0, le=1000, strict=True), AfterValidator(_repeats)] = 0
    score_cache: Annotated[StrictStr, BeforeValidator(_score_cache)] = "default"
    storage: Annotated[StrictStr | None, AfterValidator(_absolute)] = None

    @model_validator(mode="after")
    def _nsga2_can_pair(self) -> Experiment:
        if self.sampler == "nsga2" and self.population < 4:
            raise ValueError(f"population must be at least 4 for nsga2, but got {self.population}")
        return self

    @model_validator(mode="after")
    def _training_can_stop(self) -> Experiment:
        try:
            brackets(self.stopping, self.training.epochs)
        except NasError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> Experiment:
        problems = [*_of_objectives(self.objectives), *_of_devices(self), *_of_budgets(self)]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain data: what a run's directory holds, and what its identity is made of."""
        return self.model_dump(mode="json", exclude={name for name in ADDED if getattr(self, name) == ADDED[name]})

    @property
    def further_devices(self) -> tuple[str, ...]:
        """The latency tables besides `device`, as they are looked up: those listed, and those behind an @."""
        listed = {device_name(device): device for device in self.devices}
        named = (split_name(name)[1] for name in (*self.objectives, *self.limits.given()))
        return tuple(dict.fromkeys([*self.devices, *(listed.get(name, name) for name in named if name)]))

    def all_budgets(self) -> dict[str, tuple[float, ...]]:
        """The budgets by the objective that they are of; `budgets_ms` are those of latency on the main device."""
        latency = (*self.budgets_ms, *self.budgets.get("latency_ms", ()))
        others = {name: values for name, values in self.budgets.items() if name != "latency_ms"}
        return ({"latency_ms": tuple(dict.fromkeys(latency))} if latency else {}) | others


def device_name(device: str) -> str:
    """The name of a latency table that is given by name or by the path of its .yaml."""
    return Path(device).stem if device.endswith((".yaml", ".yml")) else device


def default_run_path(experiment: Experiment) -> Path:
    """Where a run lies unless it is said: runs/SPACE-DEVICE-DATA."""
    data, _, folder = experiment.data.partition(":")
    name = Path(folder).name if data == "folder" else data
    return Path("runs") / "-".join((Path(experiment.space).stem, device_name(experiment.device), name))


def _of_objectives(objectives: tuple[str, ...]) -> list[str]:
    """What is wrong with the objectives as a whole, a line each."""
    named = f"but got {', '.join(objectives) or 'none'}"
    if len(set(objectives)) < len(objectives):
        return [f"objectives must be named once each, {named}"]
    learned = [name for name in objectives if name in LEARNED]
    if len(learned) != 1 or len(objectives) < 2:
        return [f"objectives must be {' or '.join(LEARNED)} and at least one that is known before training, {named}"]
    return []


def _of_devices(experiment: Experiment) -> list[str]:
    main = device_name(experiment.device)
    names = [device_name(device) for device in experiment.further_devices]
    problems = [f"devices must differ in name, but {name} stands twice" for name in set(names) if names.count(name) > 1]
    if main in names:
        problems.append(
            f"{main} is the main device: leave it out of devices, and write latency_ms instead of latency_ms@{main}"
        )
    return problems


def _of_budgets(experiment: Experiment) -> list[str]:
    """A budget asks for the best network within it, and only what is an objective is searched for."""
    return [
        f"budgets are of objectives, but {name} is none of {', '.join(experiment.objectives)}"
        for name in experiment.all_budgets()
        if name not in experiment.objectives
    ]


def resolve_experiment(document: Document | None, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment in `document` (None: the defaults) with dotted keys replaced. Raises ConfigError."""
    base = document or Document({}, "the experiment")
    if isinstance(base.data, dict) and isinstance(base.data.get("stopping"), str):
        base = replace(base, data={**base.data, "stopping": {"method": base.data["stopping"]}})
    methods = {key: f"{key}.method" for key, value in overrides.items() if key == "stopping" and isinstance(value, str)}
    return check(Experiment, with_overrides(base, {methods.get(key, key): value for key, value in overrides.items()}))
