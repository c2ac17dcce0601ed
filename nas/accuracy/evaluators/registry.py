"""Evaluators by name: how the one that an experiment names is found and made."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from nas.accuracy.evaluators.evaluator import Evaluator
from nas.accuracy.training.settings import TrainingSettings
from nas.errors import NasError, unknown_name
from nas.networks.proxy import ProxySettings
from nas.networks.space.search_space import SearchSpace

if TYPE_CHECKING:
    from nas.accuracy.data.dataset import Dataset

# Other packages offer evaluators as entry points of this group: NAME = "module:function".
ENTRY_POINTS = "nas.evaluators"


@dataclass(frozen=True, eq=False)
class Task:
    """What candidates are scored on: the networks that there may be, the images, and how training goes."""

    space: SearchSpace
    dataset: Dataset
    training: TrainingSettings
    proxy: ProxySettings


Factory = Callable[[Task], Evaluator]

# Where each evaluator is made; imported when it is asked for, as most of them need torch.
_BUILT_IN: Mapping[str, str] = {"short": "nas.accuracy.evaluators.short_training:short_training"}


def evaluator_names() -> tuple[str, ...]:
    """The names that `build_evaluator` knows: those of this package first."""
    return tuple(dict.fromkeys([*_BUILT_IN, *(entry.name for entry in metadata.entry_points(group=ENTRY_POINTS))]))


def check_evaluator(name: str) -> str:
    """`name`, if there is such an evaluator. Raises ValueError that lists those that exist."""
    if name not in evaluator_names() and not _is_path(name):
        raise ValueError(f"{unknown_name('evaluator', name, evaluator_names())} (or module:function)")
    return name


def build_evaluator(name: str, task: Task) -> Evaluator:
    """The evaluator called `name`, for `task`.

    A name is one of `evaluator_names`, or `module:function` for a function that takes a `Task`. Raises NasError for a
    name that is not known and for a module that cannot be imported.
    """
    return _factory(name)(task)


def _factory(name: str) -> Factory:
    place = _BUILT_IN.get(name, name)
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        if entry.name == name and name not in _BUILT_IN:
            place = entry.value
    if not _is_path(place):
        raise NasError(f"{unknown_name('evaluator', name, evaluator_names())} (or module:function)")
    module, _, function = place.partition(":")
    try:
        factory: Factory = getattr(importlib.import_module(module), function)
    except Exception as error:  # Somebody else's module can raise anything.
        raise NasError(
            f"the evaluator {name} must be a function that can be imported, but: {type(error).__name__}: {error}"
        ) from error
    return factory


def _is_path(name: str) -> bool:
    module, colon, function = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), function])
