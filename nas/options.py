"""Check a command's options: argparse's values become frozen settings, and every wrong option is named."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nas.errors import ConfigError, NasError

OptionsT = TypeVar("OptionsT", bound=BaseModel)

# What torch and NumPy both take.
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def checked_options(
    settings: type[OptionsT], arguments: argparse.Namespace, *, options: Mapping[str, str] | None = None
) -> OptionsT:
    """The options of a command as `settings`; one that is None was not given, and has the setting's default.

    Each setting is the option of its name (`batch_size`: `--batch-size`). `options` takes only the settings that it
    names, each from the option beside it: `{"learning_rate": "--rate"}`. A setting can have a unit, which messages then
    end with: `Field(ge=8, json_schema_extra={"unit": "pixels"})`. Raises ConfigError with a line for each wrong option:
    `--epochs must be at least 1, but got 0`.
    """
    option_of = options or {name: option_name(name) for name in settings.model_fields}
    values = {name: getattr(arguments, _attribute(option)) for name, option in option_of.items()}
    try:
        return settings.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        problems = [_problem(settings, option_of, detail) for detail in error.errors()]
        raise ConfigError(list(dict.fromkeys(problems))) from error


def refuse_without_effect(arguments: argparse.Namespace, names: Iterable[str], only_with: str) -> None:
    """Raise NasError that lists those options of `names` that were given: they do nothing but with `only_with`."""
    useless = [option_name(name) for name in names if getattr(arguments, name) is not None]
    if useless:
        raise NasError(f"{', '.join(useless)}: only with {only_with}")


def option_name(name: str) -> str:
    """`--batch-size` for `batch_size`."""
    return "--" + name.replace("_", "-")


def _attribute(option: str) -> str:
    """The attribute in which argparse keeps the value of `option`."""
    return option.removeprefix("--").replace("-", "_")


def _problem(settings: type[BaseModel], option_of: Mapping[str, str], detail: ErrorDetails) -> str:
    """One line for one thing that pydantic found wrong."""
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not detail["loc"]:  # found by a validator of the settings as a whole
        return message
    name = str(detail["loc"][0])
    option = option_of.get(name, option_name(name))
    if detail["type"] == "missing":
        return f"{option} is missing"
    if detail["type"] == "value_error":
        return f"{option} {message}"
    return f"{option} must be {_must_be(settings.model_fields[name]) or message}, but got {_number(detail['input'])}"


def _must_be(field: FieldInfo) -> str:
    """Which numbers the field takes: `at least 1`, `a whole number from 0 to 9`, `above 0 and at most 100`."""
    bounds = {
        kind: value
        for constraint in field.metadata
        for kind in ("ge", "gt", "le", "lt", "allow_inf_nan")
        if (value := getattr(constraint, kind, None)) is not None
    }
    whole = int in (field.annotation, *get_args(field.annotation))
    if whole and "lt" in bounds:
        bounds["le"] = bounds.pop("lt") - 1
    if {"ge", "le"} <= bounds.keys():
        text = f"{'a whole number ' * whole}from {_number(bounds['ge'])} to {_number(bounds['le'])}"
    elif {"gt", "lt"} <= bounds.keys():
        text = f"between {_number(bounds['gt'])} and {_number(bounds['lt'])}"
    else:
        words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        text = " and ".join(f"{word} {_number(bounds[kind])}" for kind, word in words.items() if kind in bounds)
    if not text:
        return ""
    if isinstance(field.json_schema_extra, dict) and "unit" in field.json_schema_extra:
        text += f" {field.json_schema_extra['unit']}"
    # An upper bound says as much.
    return text if "le" in bounds or "lt" in bounds or bounds.get("allow_inf_nan", True) else f"{text} and finite"


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
