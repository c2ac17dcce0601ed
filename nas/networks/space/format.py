"""The format of a search space's YAML file, checked by pydantic.

A list is a choice, a scalar is fixed. search_spaces/README.md explains every key with examples. blocks.py turns the
settings of a stage into blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from nas.config import Settings
from nas.networks.space.keys import BLOCK_KEYS, SQUEEZE_KEYS, STAGE_OPERATORS
from nas.networks.space.values import (
    Activation,
    Activations,
    BlockKeys,
    BranchCounts,
    Branches,
    Depths,
    Expand,
    Expands,
    Factor,
    Factors,
    Gate,
    Kernel,
    Kernels,
    Label,
    LayerOperator,
    Operators,
    Positive,
    Positives,
    Resolutions,
    Scale,
    Share,
    Shares,
    SqueezeActivation,
    StageKernel,
    StageOperator,
    Stride,
    as_choice,
    channels_or_classes,
    distinct,
    not_empty,
)

TIED_KEY = re.compile(r"stage([1-9]\d*)\.(\w+)")
_WHOLE_KEYS = ("resolution", "width")
_TIED_STAGE_KEYS = ("depth", "out", *BLOCK_KEYS[1:])


class LayerFormat(Settings):
    """One fixed layer, before or after the stages. `out: classes` stands for the number of classes."""

    op: LayerOperator
    out: Annotated[int | Literal["classes"] | None, BeforeValidator(channels_or_classes)] = None
    kernel: Kernel = 1
    stride: Stride = 1
    groups: Positive = 1
    act: Activation = "none"
    bias: StrictBool = True
    scale: Scale = True

    @model_validator(mode="after")
    def _keys_fit_operator(self) -> LayerFormat:
        has_out = self.op in ("conv", "linear")
        if (self.out is not None) != has_out:
            raise ValueError(f"a {self.op} needs the key 'out'" if has_out else f"a {self.op} has no out")
        if self.out == "classes" and self.op != "linear":
            raise ValueError(f"only a linear layer can have out: classes, but got {self.op}")
        if self.op not in ("conv", "max_pool") and (self.kernel != 1 or self.stride != 1):
            raise ValueError(f"a {self.op} has neither kernel nor stride")
        if not has_out and self.act != "none":
            raise ValueError(f"a {self.op} has no act")
        if self.op != "conv" and self.groups != 1:
            raise ValueError(f"a {self.op} has no groups")
        if self.op != "linear" and not self.bias:
            raise ValueError(f"a {self.op} has no bias to leave out")
        return self


class VariantFormat(Settings):
    """Settings of a block that are chosen together; keys that are left out are as in the stage."""

    op: StageOperator | None = None
    start_kernel: StageKernel | None = None
    kernel: StageKernel | None = None
    expand: Expand | None = None
    hidden: Factor | None = None
    groups: Positive | None = None
    expand_groups: Positive | None = None
    branches: Branches | None = None
    transformer: Positive | None = None
    transformer_depth: Positive | None = None
    heads: Positive | None = None
    se: Share | None = None
    act: Activation | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The keys that the variant sets, with their values."""
        return {key: value for key in sorted(self.model_fields_set) if (value := getattr(self, key)) is not None}


class StageFormat(Settings):
    """A sequence of blocks. The first has the stage's stride, the others 1."""

    # The operators come first, because they decide which other keys are allowed.
    op: Operators
    variants: Annotated[Mapping[Label, VariantFormat], AfterValidator(not_empty)] | None = None
    out: Positives
    stride: Stride = 1
    depth: Depths = (1,)
    start_kernel: Kernels = (0,)
    kernel: Kernels = (3,)
    expand: Expands = (1.0,)
    hidden: Factors | None = None
    groups: Positives = (1,)
    expand_groups: Positives | None = None
    branches: BranchCounts = (1,)
    transformer: Annotated[Positives | None, Field(validate_default=True)] = None
    transformer_depth: Positives = (1,)
    heads: Positives = (1,)
    se: Shares = (0.0,)
    se_of: Literal["expanded", "input"] = "expanded"
    se_divisor: Positive | None = None
    gate: Gate = "hsigmoid"
    se_act: SqueezeActivation = "relu"
    act: Annotated[Activations | None, Field(validate_default=True)] = None
    norm: Literal["all", "last"] = "all"
    hidden_divisor: Positive | None = None
    scale: Scale = True
    per_block: BlockKeys | None = None

    @property
    def operators(self) -> tuple[str, ...]:
        """Every operator that a block can have."""
        return _operators(self.op, self.variants)

    @field_validator("variants")
    @classmethod
    def _variants_fit(
        cls, variants: Mapping[str, VariantFormat] | None, info: ValidationInfo
    ) -> Mapping[str, VariantFormat] | None:
        problems = []
        for label, variant in (variants or {}).items():
            operators = (variant.op,) if variant.op else info.data.get("op", ())
            problems += [
                f"variant {label}: {_unused(key, operators)}"
                for key in variant.settings
                if operators and key != "op" and not _used(key, operators)
            ]
        if problems:
            raise ValueError("\n".join(problems))
        return variants

    # For all keys but those that every operator has.
    @field_validator("stride", *(BLOCK_KEYS[2:]), *sorted(SQUEEZE_KEYS - {"se"}), "norm", "hidden_divisor")
    @classmethod
    def _is_used(cls, value: Any, info: ValidationInfo) -> Any:
        key, data = info.field_name, info.data
        assert key is not None
        if "op" not in data or "variants" not in data:
            return value
        variants, operators = data["variants"] or {}, _operators(data["op"], data["variants"])
        if key in ("act", "transformer") and value is None:
            set_by_variants = bool(variants) and all(key in variant.settings for variant in variants.values())
            if _used(key, operators) and not set_by_variants:
                raise ValueError(f"the key {key!r} is missing")
            return value
        if not _used(key, operators):
            raise ValueError(_unused(key, operators))
        if isinstance(value, tuple) and len(value) > 1 and any(key in v.settings for v in variants.values()):
            raise ValueError(f"{key} is decided by the variants, so it cannot be a choice of the stage, too")
        if key == "kernel" and 0 in value and "uib" not in operators:
            raise ValueError("kernel must be odd and at least 1, but got 0 (no convolution), which only uib can have")
        return value

    @model_validator(mode="after")
    def _can_be_left_out(self) -> StageFormat:
        if 0 in self.depth and self.stride != 1:
            raise ValueError("only a stage of stride 1 can have depth 0, but its stride is 2")
        return self


def _operators(op: tuple[str, ...], variants: Mapping[str, VariantFormat] | None) -> tuple[str, ...]:
    chosen = [variant.op for variant in (variants or {}).values()]
    # If every variant sets an operator, the stage's own is never used.
    base = () if chosen and all(chosen) else op
    return tuple(dict.fromkeys([*base, *(name for name in chosen if name)]))


def _used(key: str, operators: tuple[str, ...]) -> bool:
    return any(key in STAGE_OPERATORS[operator] for operator in operators)


def _unused(key: str, operators: tuple[str, ...]) -> str:
    users = [operator for operator, keys in STAGE_OPERATORS.items() if key in keys]
    return f"{key} is not a key of {' or '.join(operators)}, but only of {', '.join(users)}"


@lru_cache
def _column_type(key: str) -> TypeAdapter[Any] | None:
    """The type of a tied key's values, or None for a key that cannot be tied."""
    match = TIED_KEY.fullmatch(key)
    if match and match[2] in _TIED_STAGE_KEYS:
        field = StageFormat.model_fields[match[2]]
    elif key in _WHOLE_KEYS:
        field = SpaceFormat.model_fields[key]
    else:
        return None
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotation)


def _value_problem(key: str, value: Any) -> str:
    """The problem with a value of a tied key, or an empty text."""
    adapter = _column_type(key)
    if isinstance(value, list):
        return f"{key} must be one value in each row, but got {value}"
    try:
        if adapter is not None:
            adapter.validate_python(value)
    except ValidationError as error:
        detail = error.errors()[0]
        if detail["type"] == "value_error":
            return f"{key}: {detail['msg'].removeprefix('Value error, ')}"
        return f"{key} must be {detail['msg'].removeprefix('Input should be ')}, but got {value!r}"
    return ""


class TiedFormat(Settings):
    """Settings that are chosen together for the whole network: a column for each key, a row for each choice."""

    name: Label
    keys: Annotated[tuple[StrictStr, ...], AfterValidator(not_empty), AfterValidator(distinct)]
    rows: Annotated[Mapping[Label, tuple[Any, ...]], AfterValidator(not_empty)]

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if "." in name or name in _WHOLE_KEYS or re.fullmatch(r"stage\d+", name):
            raise ValueError(f"a tied decision cannot be called {name!r}: stages have such names, or the whole space")
        return name

    @field_validator("keys")
    @classmethod
    def _keys_exist(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        allowed = ", ".join([*_WHOLE_KEYS, *(f"stage1.{key}" for key in _TIED_STAGE_KEYS)])
        problems = [f"{key!r} cannot be tied. Known: {allowed}" for key in keys if _column_type(key) is None]
        if problems:
            raise ValueError("\n".join(problems))
        return keys

    @field_validator("rows")
    @classmethod
    def _rows_fit(cls, rows: Mapping[str, tuple[Any, ...]], info: ValidationInfo) -> Mapping[str, tuple[Any, ...]]:
        keys = info.data.get("keys")
        if keys is None:
            return rows
        problems = []
        for label, row in rows.items():
            if len(row) != len(keys):
                problems.append(f"row {label} must have {len(keys)} values, one for each key, but has {len(row)}")
                continue
            for key, value in zip(keys, row, strict=True):
                problem = _value_problem(key, value)
                problems += [f"row {label}: {problem}"] if problem else []
        if problems:
            raise ValueError("\n".join(problems))
        return rows

    def column(self, key: str) -> tuple[Any, ...]:
        """The values of one key, each once."""
        index = self.keys.index(key)
        return tuple(dict.fromkeys(row[index] for row in self.rows.values()))


def _can_stem(stem: tuple[LayerFormat, ...]) -> tuple[LayerFormat, ...]:
    problems = [
        f"the stem must be of conv and max_pool, but has a {layer.op}"
        for layer in stem
        if layer.op not in ("conv", "max_pool")
    ]
    if not problems and (not stem or stem[0].op != "conv"):
        problems.append("the stem must begin with a conv")
    if problems:
        raise ValueError("\n".join(problems))
    return stem


def _pools_once_and_classifies(head: tuple[LayerFormat, ...]) -> tuple[LayerFormat, ...]:
    problems = []
    pooled = linear = False
    for index, layer in enumerate(head):
        if layer.op == "linear" and not pooled:
            problems.append(f"head[{index}] is a linear layer, but no pool stands before it")
        if layer.op == "conv" and pooled and layer.kernel != 1:
            problems.append(f"head[{index}] sees a single pixel after the pool, but its kernel is {layer.kernel}")
        if layer.op in ("pool", "max_pool") and pooled:
            problems.append(f"head[{index}] is a {layer.op}, but only conv and linear layers can follow the pool")
        if layer.op == "conv" and linear:
            problems.append(f"head[{index}] is a conv, but only linear layers can follow a linear layer")
        if layer.out == "classes" and index < len(head) - 1:
            problems.append(f"head[{index}] has out: classes, but only the last layer can")
        pooled = pooled or layer.op == "pool"
        linear = linear or layer.op == "linear"
    if head and head[-1].out != "classes":
        problems.append("the last layer of the head must be a linear with out: classes")
    if problems:
        raise ValueError("\n".join(problems))
    return head


class SpaceFormat(Settings):
    """A whole search space."""

    name: Label
    classes: Positive = 1000
    resolution: Resolutions
    width: Factors = (1.0,)
    divisor: Positive = 8
    per_block: BlockKeys = ("kernel", "expand", "variant")
    stem: Annotated[tuple[LayerFormat, ...], BeforeValidator(as_choice), AfterValidator(_can_stem)]
    stages: Annotated[tuple[StageFormat, ...], AfterValidator(not_empty)]
    head: Annotated[tuple[LayerFormat, ...], AfterValidator(not_empty), AfterValidator(_pools_once_and_classifies)]
    tied: tuple[TiedFormat, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_columns(cls, data: Any) -> Any:
        """Fill in the settings that `tied` decides, if the file leaves them out, with the values of their columns."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("stages"), list):
            data["stages"] = [dict(stage) if isinstance(stage, dict) else stage for stage in data["stages"]]
        for key, values in _columns(data.get("tied")):
            match = TIED_KEY.fullmatch(key)
            group: Any = data
            if match:
                stages, index = data.get("stages"), int(match[1]) - 1
                group = stages[index] if isinstance(stages, list) and index < len(stages) else None
            if isinstance(group, dict) and values:
                group.setdefault(match[2] if match else key, values)
        return data

    @field_validator("tied")
    @classmethod
    def _tied_once(cls, tied: tuple[TiedFormat, ...], info: ValidationInfo) -> tuple[TiedFormat, ...]:
        problems = []
        names = [group.name for group in tied]
        problems += [f"two tied decisions are called {name}" for name in dict.fromkeys(names) if names.count(name) > 1]
        keys = [key for group in tied for key in group.keys]
        problems += [f"{key} is tied twice" for key in dict.fromkeys(keys) if keys.count(key) > 1]
        for group in tied:
            for key in group.keys:
                problems += _column_problems(group, key, info.data)
        if problems:
            raise ValueError("\n".join(problems))
        return tied


def _columns(tied: Any) -> Iterator[tuple[str, list[Any]]]:
    """The keys of `tied`, which is not yet checked, with the valid values of their columns."""
    for group in tied if isinstance(tied, list) else ():
        keys, rows = (group.get("keys"), group.get("rows")) if isinstance(group, dict) else (None, None)
        if not isinstance(keys, list) or not isinstance(rows, dict):
            continue
        for index, key in enumerate(keys):
            values: list[Any] = []
            for row in rows.values():
                if isinstance(row, list) and index < len(row) and isinstance(key, str) and _column_type(key):
                    value = row[index]
                    if value not in values and not _value_problem(key, value):
                        values.append(value)
            yield str(key), values


def _column_problems(group: TiedFormat, key: str, data: Mapping[str, Any]) -> list[str]:
    """The problems of a tied key: its stage does not exist, or its setting has a value elsewhere too."""
    match = TIED_KEY.fullmatch(key)
    if match is None:
        choices = data.get(key)
    elif "stages" not in data:
        return []
    elif int(match[1]) > len(data["stages"]):
        return [f"{key} is tied, but there are only {len(data['stages'])} stages"]
    else:
        stage: StageFormat = data["stages"][int(match[1]) - 1]
        if any(match[2] in variant.settings for variant in (stage.variants or {}).values()):
            return [f"{key} is tied, but the variants of the stage decide it, too"]
        choices = getattr(stage, match[2])
    if choices is not None and choices != group.column(key):
        return [f"{key} is tied to {group.name}, so it must not be given elsewhere, but is {list(choices)} there"]
    return []
