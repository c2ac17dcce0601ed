"""Tests of noticing changes in sealed JSON data."""

from __future__ import annotations

import json

import pytest

from nas.deploy.sealed_json import SEAL, check_seal, sealed
from nas.errors import NasError

FACTS = {"mean": (0.1, 2e-7), "labels": ["ä", "b"], "counts": {10: 1, 9: 2}, "none": None}


@pytest.mark.parametrize("layout", [{"indent": 1}, {"separators": (",", ":")}, {"sort_keys": True}])
def test_what_was_written_is_recognised(layout: dict[str, object]) -> None:
    """However it is laid out, and though JSON makes lists of tuples and text of keys."""
    written = sealed(FACTS if "sort_keys" not in layout else json.loads(json.dumps(FACTS)))
    check_seal(json.loads(json.dumps(written, ensure_ascii=False, **layout)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"mean": [0.1, 3e-7]}, {"labels": ["b", "ä"]}, {"more": 1}, {SEAL: "0" * 64}, {SEAL: None}]
)
def test_a_change_is_noticed(change: dict[str, object]) -> None:
    """Of a digit, of an order, of the hash itself."""
    with pytest.raises(NasError, match="must be as it was written, but its sha256 is of something else"):
        check_seal({**json.loads(json.dumps(sealed(FACTS))), **change})


def test_files_of_before_have_no_seal() -> None:
    """And are read as they are."""
    check_seal(json.loads(json.dumps(FACTS)))
