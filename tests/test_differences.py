"""What differs between two nested mappings is listed, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.differences import differences, replaced_values

VALUES = st.none() | st.integers(0, 2) | st.text("ab", max_size=2)
FACTS = st.dictionaries(st.sampled_from("abc"), VALUES | st.dictionaries(st.sampled_from("xy"), VALUES), max_size=3)


@pytest.mark.parametrize(
    ("before", "now", "lines"),
    [
        ({}, {}, []),
        ({"seed": 0}, {"seed": 0}, []),
        ({"seed": 0}, {"seed": 3}, ["seed was 0 and is now 3"]),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1, "d": 4}}}, ["a.b.d was 2 and is now 4"]),
        ({"a": {"b": 1}}, {"a": 2}, ["a was {'b': 1} and is now 2"]),
        ({"a": {}}, {"a": {"b": 1}}, ["a.b was None and is now 1"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a was [1, 2] and is now [2, 1]"]),
        ({"gone": 1}, {"new": "x"}, ["gone was 1 and is now None", "new was None and is now 'x'"]),
        ({}, {"new": None}, []),
        ({"gone": None}, {}, []),
    ],
)
def test_each_value_that_differs_has_a_line(before: dict[str, Any], now: dict[str, Any], lines: list[str]) -> None:
    """Nested keys are joined with dots; a missing key is None."""
    assert differences(before, now) == lines


def test_keys_that_may_change_are_left_out() -> None:
    """At the top level only."""
    before, now = {"trials": 1, "a": {"trials": 1}}, {"trials": 2, "a": {"trials": 2}}
    assert differences(before, now, may_change={"trials"}) == ["a.trials was 1 and is now 2"]


@pytest.mark.parametrize(
    ("before", "now", "phrases"),
    [
        ({"seed": 0}, {"seed": 0}, []),
        ({"seed": 0, "name": "a"}, {"seed": 1, "name": "b"}, ["seed (0 instead of 1)", "name (a instead of b)"]),
        (
            {"recipe": {"epochs": 1, "mixup": 0.0, "crop": "shift"}},
            {"recipe": {"epochs": 2, "mixup": 0.5, "crop": "shift"}},
            ["recipe (epochs: 1 instead of 2, mixup: 0.0 instead of 0.5)"],
        ),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a (b.c: 1 instead of 2)"]),
        ({"teacher": None}, {"teacher": ["t", 4.0]}, ["teacher (None instead of ['t', 4.0])"]),
        ({}, {"pixels": 8}, ["pixels (not recorded instead of 8)"]),
        ({"gone": 1}, {}, ["gone (1 instead of None)"]),
    ],
)
def test_each_key_that_differs_has_a_phrase(before: dict[str, Any], now: dict[str, Any], phrases: list[str]) -> None:
    """What differs inside a key is gathered in one phrase."""
    assert replaced_values(before, now) == phrases


def test_a_long_value_is_cut() -> None:
    """A whole search space is not printed."""
    space = {"stages": ["conv"] * 1000}
    (line,) = differences({"space": None}, {"space": space})
    (phrase,) = replaced_values({"space": space}, {"space": None})
    assert line.startswith("space was None and is now {'stages': ")
    assert phrase.startswith("space ({'stages': ")
    assert max(len(line), len(phrase)) < 130


@given(FACTS, FACTS)
def test_both_forms_agree_on_whether_anything_differs(before: dict[str, Any], now: dict[str, Any]) -> None:
    """In either direction; equal mappings never differ."""
    assert differences(before, before) == replaced_values(now, now) == []
    assert bool(differences(before, now)) == bool(replaced_values(before, now)) == bool(differences(now, before))
    assert len(differences(before, now)) == len(differences(now, before))
