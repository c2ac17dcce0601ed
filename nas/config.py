"""Read a YAML file and check it as settings.

Every problem of a file is reported at once, each with its file, line and path. Settings are frozen pydantic models
(`Settings`), declared by the room that uses them.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from nas.errors import ConfigError, nearest_first
from nas.files import shown

Key = tuple[str | int, ...]

# A file whose aliases multiply ("billion laughs") is refused before it fills the memory.
_MOST_PARTS = 100_000
# What pydantic's error types mean to somebody who writes YAML.
_MUST_BE = {
    "bool_type": "true or false",
    "dict_type": "a group of keys and values",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "a group of keys and values",
    "model_type": "a group of keys and values",
    "string_type": "text",
    "tuple_type": "a list",
}


class Settings(BaseModel):
    """A frozen group of settings in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SettingsT = TypeVar("SettingsT", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """The data of a YAML file, and the line of each part of it ("search_spaces/mbv3.yaml:14")."""

    data: Any
    source: str
    places: Mapping[Key, str] = field(default_factory=dict)

    def place(self, key: Key) -> str:
        """File and line of `key`, or of the nearest part around it."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, self.source)

    def problem(self, key: Key, text: str) -> str:
        """One line that says what is wrong with `key`, and where."""
        where = self.place(key)
        return f"{text} ({where}, {dotted(key)})" if key else f"{text} ({where})"


def load_document(path: Path) -> Document:
    """Read a YAML file. Raises ConfigError for one that cannot be read, is malformed or repeats a key."""
    source = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"cannot read {source}: {error}"]) from error
    return parse_document(text, source)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with the floats of YAML 1.2: 1e-3 is a number, though it has no decimal point."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_value(text: str) -> Any:
    """One value, written as in a file: 3, 1e-3, true, [1, 2], a word. Raises yaml.YAMLError for malformed text."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except (ValueError, RecursionError) as error:  # a date that is none, a number too long to read, lists in lists
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def parse_document(text: str, source: str) -> Document:
    """Read YAML text; `source` is the name that messages give it."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        # Before the data are made, which copies merged keys (<<) into their groups.
        places = _places(node, source)
        data = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError([f"malformed YAML: {error.problem or error.context} ({source}:{line})"]) from error
    except RecursionError as error:
        raise ConfigError([f"malformed YAML: groups and lists are nested too deeply ({source})"]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError([f"malformed YAML: {' '.join(str(error).split())} ({source})"]) from error
    return Document(data, source, places)


def with_overrides(document: Document, overrides: Mapping[str, Any], place: str = "command line") -> Document:
    """`document` with dotted keys replaced: `{"training.epochs": 3}`. Groups are made where they are missing.

    Raises ConfigError where a key would have to go inside something that is not a group. An empty document is an empty
    group here.
    """
    data = dict(_group(document))
    places = dict(document.places)
    for name, value in overrides.items():
        parts = tuple(name.split("."))
        group = data
        for depth, part in enumerate(parts[:-1]):
            inner = group.get(part)
            if inner is not None and not isinstance(inner, dict):
                raise ConfigError([f"{dotted(parts[: depth + 1])} is not a group of settings ({place}, {name})"])
            if inner is None:
                places.setdefault(parts[: depth + 1], place)
            group[part] = dict(inner or {})
            group = group[part]
        group[parts[-1]] = value
        places = {key: where for key, where in places.items() if key[: len(parts)] != parts}
        places[parts] = place
    return replace(document, data=data, places=places)


def check(model: type[SettingsT], document: Document) -> SettingsT:
    """The settings that `document` holds. Raises ConfigError with every problem of the file."""
    if document.data is None:
        raise ConfigError([f"{document.source} must hold keys and values, but holds nothing"])
    try:
        return model.model_validate(_group(document))
    except ValidationError as error:
        problems = [problem for detail in error.errors() for problem in _explain(model, document, detail)]
        raise ConfigError(list(dict.fromkeys(problems))) from error


def dotted(key: Key) -> str:
    """`stages[2].kernel` for ("stages", 2, "kernel")."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _group(document: Document) -> dict[str, Any]:
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else f"only {_short(data)}"
        raise ConfigError([f"{document.source} must hold keys and values, but holds {kind}"])
    return data


def _places(node: yaml.Node | None, source: str) -> dict[Key, str]:
    """File and line of each part. Raises ConfigError for repeated keys, and for too many parts."""
    places: dict[Key, str] = {}
    repeated: list[str] = []
    for key, child in _walk(node, (), frozenset()) if node is not None else ():
        place = f"{source}:{child.start_mark.line + 1}"
        if key in places:
            repeated.append(f"the key {dotted(key)} is given twice ({places[key]} and {place})")
        places[key] = place
        if len(places) > _MOST_PARTS:
            raise ConfigError([f"{source} holds more than {_MOST_PARTS:,} settings, counting what its aliases repeat"])
    if repeated:
        raise ConfigError(repeated)
    return places


def _walk(node: yaml.Node, key: Key, above: frozenset[int]) -> Iterator[tuple[Key, yaml.Node]]:
    """Every part of the document with its key; a part that contains itself (an alias) is not entered again."""
    if id(node) in above:
        return
    above |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            inner = (*key, str(name.value))
            yield inner, name
            yield from _walk(value, inner, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*key, index), value
            yield from _walk(value, (*key, index), above)


def _explain(model: type[BaseModel], document: Document, detail: ErrorDetails) -> list[str]:
    """One line for each problem that a validation error reports."""
    key: Key = _key_in_document(document, detail["loc"])
    kind, value = detail["type"], detail["input"]
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "extra_forbidden":
        name = str(key[-1])
        nearest = nearest_first(name, _allowed_keys(model, key[:-1]))
        message = f"unknown key {name!r}. Known, nearest first: {', '.join(nearest)}"
    elif kind == "missing":
        message = f"the key {str(detail['loc'][-1])!r} is missing"
    elif kind == "invalid_key":
        message = f"a key must be text, but got {_short(key[-1] if key else value)}"
    elif kind == "value_error" and message.startswith("must be "):
        message = f"{_last_name(key)} {message}"
    elif kind not in ("value_error", "assertion_error"):
        message = f"{_last_name(key)} must be {_MUST_BE.get(kind, message)}, but got {_short(value)}"
        if kind == "string_type" and isinstance(value, int | float | date) and not isinstance(value, bool):
            message += "; put it in quotes"
    return [document.problem(key, line) for line in message.splitlines()]


def _last_name(key: Key) -> str:
    """`kernel[1]` for ("stages", 2, "kernel", 1)."""
    last = max((index for index, part in enumerate(key) if isinstance(part, str)), default=0)
    return dotted(key[last:])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _key_in_document(document: Document, loc: Sequence[str | int]) -> Key:
    """The longest prefix of pydantic's location that is in the document: union members and missing keys are not."""
    key: Key = ()
    data: Any = document.data
    for part in loc:
        inside_group = isinstance(data, dict) and part in data
        inside_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if inside_group or inside_list:
            data, key = data[part], (*key, part)
    return key


def _allowed_keys(model: type[BaseModel], key: Key) -> list[str]:
    """The keys that the group at `key` of a `model` may have."""
    for part in key:
        if isinstance(part, str) and part in model.model_fields:
            inner = _inner_model(model.model_fields[part].annotation)
            model = inner or model
    return list(model.model_fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    inner = (_inner_model(argument) for argument in typing.get_args(annotation))
    return next((model for model in inner if model is not None), None)
