"""List what differs between two nested mappings, such as the recorded facts of an earlier run and those of now.

A key that is missing on one side counts as None there: a setting that older records do not have yet, and that is None
now, is no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

_LONGEST_VALUE = 80


class _Difference(NamedTuple):
    """A value under nested `keys`, such as ("training", "epochs"); `recorded`: whether the earlier mapping has it."""

    keys: tuple[str, ...]
    before: Any
    now: Any
    recorded: bool


def differences(before: Mapping[str, Any], now: Mapping[str, Any], *, may_change: Collection[str] = ()) -> list[str]:
    """A line for each value that differs: "training.epochs was 1 and is now 3".

    Leaves out the top-level keys in `may_change`.
    """
    return [
        f"{'.'.join(keys)} was {_shortened(repr(old))} and is now {_shortened(repr(new))}"
        for keys, old, new, _ in _differences(before, now)
        if keys[0] not in may_change
    ]


def replaced_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A phrase for each top-level key that differs: "seed (0 instead of 1)", "recipe (epochs: 1 instead of 3)"."""
    phrases = []
    for key, of_key in groupby(_differences(before, now), lambda difference: difference.keys[0]):
        parts = []
        for keys, old, new, recorded in of_key:
            place = f"{'.'.join(keys[1:])}: " if len(keys) > 1 else ""
            parts.append(
                f"{place}{_shortened(str(old)) if recorded else 'not recorded'} instead of {_shortened(str(new))}"
            )
        phrases.append(f"{key} ({', '.join(parts)})")
    return phrases


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], *outer: str) -> Iterator[_Difference]:
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, *outer, key)
        else:
            yield _Difference((*outer, key), old, new, key in before)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
