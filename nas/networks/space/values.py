"""The types of single settings in a search space's file, checked by pydantic: numbers, words, choices of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

from nas.errors import unknown_name
from nas.files import NAME_PATTERN
from nas.networks.architecture import ACTIVATIONS, GATES, SQUEEZE_ACTIVATIONS
from nas.networks.space.keys import BLOCK_KEYS, LAYER_OPERATORS, LEAST_RESOLUTION, MOST_RESOLUTION, STAGE_OPERATORS

T = TypeVar("T")


def as_choice(value: Any) -> Any:
    """The values of a list; a scalar becomes a choice of one."""
    return tuple(value) if isinstance(value, list) else (value,)


def _some(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    if not choices:
        raise ValueError("a choice needs at least one value, but got an empty list")
    return choices


def distinct(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    """`choices`, checked for repetitions. Raises ValueError, as all of these checks do, which pydantic reports."""
    repeated = sorted({str(value) for value in choices if choices.count(value) > 1})
    if repeated:
        raise ValueError(f"a choice must not repeat a value, but got {', '.join(repeated)} more than once")
    return choices


def not_empty(items: T) -> T:
    """`items`, checked not to be empty."""
    if not items:
        raise ValueError("at least one row is needed, but the list is empty")
    return items


def _name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value):
        raise ValueError(f"name must be up to 100 letters, digits, '_', '-' or '.', but got {value!r}")
    return value


def channels_or_classes(value: Any) -> Any:
    """`value`, checked to be a number of channels, the word classes, or None."""
    if value == "classes" or value is None or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"out must be a whole number of channels, at least 1, or the word classes, but got {value!r}")


def _scale(value: Any) -> Any:
    if value == "up" or type(value) is bool:
        return value
    raise ValueError(f"scale must be true, false or up, but got {value!r}")


def _odd(value: int) -> int:
    if value < 1 or value % 2 == 0:
        raise ValueError(f"kernel must be odd and at least 1, but got {value}. Common choices: 3, 5, 7")
    return value


def _odd_or_none(value: int) -> int:
    return value if value == 0 else _odd(value)


def _one_of(kind: str, names: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in names:
            raise ValueError(unknown_name(kind, value, names).rstrip("."))
        return value

    return check


Positive = Annotated[StrictInt, Field(ge=1)]
Kernel = Annotated[StrictInt, AfterValidator(_odd)]
StageKernel = Annotated[StrictInt, AfterValidator(_odd_or_none)]
Stride = Literal[1, 2]
Activation = Annotated[StrictStr, AfterValidator(_one_of("activation", ACTIVATIONS))]
Gate = Annotated[StrictStr, AfterValidator(_one_of("gate", GATES))]
SqueezeActivation = Annotated[StrictStr, AfterValidator(_one_of("se_act", SQUEEZE_ACTIVATIONS))]
LayerOperator = Annotated[StrictStr, AfterValidator(_one_of("operator", LAYER_OPERATORS))]
StageOperator = Annotated[StrictStr, AfterValidator(_one_of("operator", tuple(STAGE_OPERATORS)))]
BlockKey = Annotated[StrictStr, AfterValidator(_one_of("per_block key", BLOCK_KEYS))]
Expand = Annotated[float, Field(ge=1, le=16, strict=True)]
Factor = Annotated[float, Field(gt=0, le=16, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Branches = Annotated[StrictInt, Field(ge=0, le=16)]
Scale = Annotated[bool | Literal["up"], BeforeValidator(_scale)]
Label = Annotated[StrictStr, AfterValidator(_name)]

_choice = (BeforeValidator(as_choice), AfterValidator(_some), AfterValidator(distinct))
Positives = Annotated[tuple[Positive, ...], *_choice]
Depths = Annotated[tuple[Annotated[StrictInt, Field(ge=0, le=100)], ...], *_choice]
Resolutions = Annotated[tuple[Annotated[StrictInt, Field(ge=LEAST_RESOLUTION, le=MOST_RESOLUTION)], ...], *_choice]
Kernels = Annotated[tuple[StageKernel, ...], *_choice]
Activations = Annotated[tuple[Activation, ...], *_choice]
Operators = Annotated[tuple[StageOperator, ...], *_choice]
Expands = Annotated[tuple[Expand, ...], *_choice]
Factors = Annotated[tuple[Factor, ...], *_choice]
Shares = Annotated[tuple[Share, ...], *_choice]
BranchCounts = Annotated[tuple[Branches, ...], *_choice]
BlockKeys = Annotated[tuple[BlockKey, ...], BeforeValidator(as_choice), AfterValidator(distinct)]
