"""What may the YAML file of a search space say?

A list is a choice, a scalar is fixed. search_spaces/README.md explains every key with examples.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr, model_validator

from nas.config import Settings
from nas.errors import unknown_name
from nas.files import NAME_PATTERN
from nas.networks.architecture import ACTIVATIONS, GATES

LAYER_OPERATORS = ("conv", "pool", "linear")
STAGE_OPERATORS = ("mbconv",)
BLOCK_KEYS = ("op", "kernel", "expand", "se", "act")


T = TypeVar("T")


def _as_choice(value: Any) -> Any:
    """A scalar is a choice of one."""
    return tuple(value) if isinstance(value, list) else (value,)


def _some(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    if not choices:
        raise ValueError("a choice needs at least one value, but got an empty list")
    return choices


def _distinct(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = sorted({str(value) for value in choices if choices.count(value) > 1})
    if repeated:
        raise ValueError(f"a choice must not repeat a value, but got {', '.join(repeated)} more than once")
    return choices


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    if not items:
        raise ValueError("at least one row is needed, but the list is empty")
    return items


def _name(value: str) -> str:
    if not re.fullmatch(NAME_PATTERN, value):
        raise ValueError(f"name must be up to 100 letters, digits, '_', '-' or '.', but got {value!r}")
    return value


def _channels_or_classes(value: Any) -> Any:
    if value == "classes" or value is None or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"out must be a whole number of channels, at least 1, or the word classes, but got {value!r}")


def _odd(value: int) -> int:
    if value < 1 or value % 2 == 0:
        raise ValueError(f"kernel must be odd and at least 1, but got {value}. Common choices: 3, 5, 7")
    return value


def _one_of(kind: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def known_only(value: str) -> str:
        if value not in known:
            raise ValueError(unknown_name(kind, value, known).rstrip("."))
        return value

    return known_only


Positive = Annotated[StrictInt, Field(ge=1)]
Kernel = Annotated[StrictInt, AfterValidator(_odd)]
Stride = Literal[1, 2]
Activation = Annotated[StrictStr, AfterValidator(_one_of("activation", ACTIVATIONS))]
Gate = Annotated[StrictStr, AfterValidator(_one_of("gate", GATES))]
LayerOperator = Annotated[StrictStr, AfterValidator(_one_of("operator", LAYER_OPERATORS))]
StageOperator = Annotated[StrictStr, AfterValidator(_one_of("operator", STAGE_OPERATORS))]
BlockKey = Annotated[StrictStr, AfterValidator(_one_of("per_block key", BLOCK_KEYS))]
Expand = Annotated[float, Field(ge=1, le=16, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Width = Annotated[float, Field(gt=0, le=16, strict=True)]

_choice = (BeforeValidator(_as_choice), AfterValidator(_some), AfterValidator(_distinct))
Positives = Annotated[tuple[Positive, ...], *_choice]
Depths = Annotated[tuple[Annotated[StrictInt, Field(ge=1, le=100)], ...], *_choice]
Resolutions = Annotated[tuple[Annotated[StrictInt, Field(ge=8, le=4096)], ...], *_choice]
Kernels = Annotated[tuple[Kernel, ...], *_choice]
Activations = Annotated[tuple[Activation, ...], *_choice]
Operators = Annotated[tuple[StageOperator, ...], *_choice]
Expands = Annotated[tuple[Expand, ...], *_choice]
Shares = Annotated[tuple[Share, ...], *_choice]
Widths = Annotated[tuple[Width, ...], *_choice]
BlockKeys = Annotated[tuple[BlockKey, ...], BeforeValidator(_as_choice), AfterValidator(_distinct)]


class LayerFormat(Settings):
    """One fixed layer, before or after the stages. `out: classes` stands for the number of classes."""

    op: LayerOperator
    out: Annotated[int | Literal["classes"] | None, BeforeValidator(_channels_or_classes)] = None
    kernel: Kernel = 1
    stride: Stride = 1
    act: Activation = "none"
    scale: StrictBool = True

    @model_validator(mode="after")
    def _out_fits_operator(self) -> LayerFormat:
        if (self.out is None) != (self.op == "pool"):
            raise ValueError("a pool has no out" if self.op == "pool" else f"a {self.op} needs the key 'out'")
        if self.out == "classes" and self.op != "linear":
            raise ValueError(f"only a linear layer can have out: classes, but got {self.op}")
        if self.op != "conv" and (self.kernel != 1 or self.stride != 1):
            raise ValueError(f"a {self.op} has neither kernel nor stride")
        if self.op == "pool" and self.act != "none":
            raise ValueError("a pool has no act")
        return self


class StageFormat(Settings):
    """A row of blocks. The first has the stage's stride, the others 1."""

    op: Operators
    out: Positives
    stride: Stride = 1
    depth: Depths = (1,)
    kernel: Kernels = (3,)
    expand: Expands = (1.0,)
    se: Shares = (0.0,)
    gate: Gate = "hsigmoid"
    act: Activations
    scale: StrictBool = True
    per_block: BlockKeys | None = None


def _is_conv(stem: LayerFormat) -> LayerFormat:
    if stem.op != "conv":
        raise ValueError(f"the stem must be a conv, but is a {stem.op}")
    return stem


def _pools_once_and_classifies(head: tuple[LayerFormat, ...]) -> tuple[LayerFormat, ...]:
    problems = []
    pooled = False
    for index, layer in enumerate(head):
        if layer.op == "linear" and not pooled:
            problems.append(f"head[{index}] is a linear layer, but no pool stands before it")
        if layer.op != "linear" and pooled:
            problems.append(f"head[{index}] is a {layer.op}, but only linear layers can follow the pool")
        if layer.out == "classes" and index < len(head) - 1:
            problems.append(f"head[{index}] has out: classes, but only the last layer can")
        pooled = pooled or layer.op == "pool"
    if head and head[-1].out != "classes":
        problems.append("the last layer of the head must be a linear with out: classes")
    if problems:
        raise ValueError("\n".join(problems))
    return head


class SpaceFormat(Settings):
    """A whole search space."""

    name: Annotated[StrictStr, AfterValidator(_name)]
    classes: Positive = 1000
    resolution: Resolutions
    width: Widths = (1.0,)
    divisor: Positive = 8
    per_block: BlockKeys = ("kernel", "expand")
    stem: Annotated[LayerFormat, AfterValidator(_is_conv)]
    stages: Annotated[tuple[StageFormat, ...], AfterValidator(_not_empty)]
    head: Annotated[tuple[LayerFormat, ...], AfterValidator(_not_empty), AfterValidator(_pools_once_and_classifies)]
