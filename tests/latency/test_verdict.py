"""Tests of `nas.latency.verdict`: a table that should not be relied on gets a warning in capitals."""

from __future__ import annotations

from typing import Any

import pytest

from nas.latency.verdict import validated

CHECKED = {"held out": {"networks": 50, "mean_absolute": "1.10%"}, "noise": {"mean_absolute": "0.60%"}}


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        ({}, "the table is NOT VALIDATED: "),
        ({"validation": {"mobilenet_v2": {"published_ms": 1}}}, "the table is NOT VALIDATED: "),
        (
            {"validation": {"verdict": "passed", **CHECKED}},
            "the table is validated: on 50 networks that nothing was fitted to, the mean error is 1.10% "
            "(measured twice: 0.60%)",
        ),
        (
            {"validation": {"verdict": "FAILED: the mean error is 6.0%, more than 5%", **CHECKED}},
            "the table is NOT TO BE RELIED ON, its validation FAILED: the mean error is 6.0%, more than 5%; on 50 ",
        ),
        ({"validation": {"verdict": "FAILED"}}, "its validation FAILED; no network was measured whole"),
    ],
)
def test_the_verdict_in_words(conditions: dict[str, Any], sentence: str) -> None:
    """A table that passed, one that failed, one that was never checked, and one of which nothing could be measured."""
    assert sentence in validated(conditions)
