"""Has a table been checked by whole networks, and did it pass? In words, for whoever relies on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PASSED = "passed"


def validated(conditions: Mapping[str, Any]) -> str:
    """One sentence about a table by its conditions as plain data; in capitals where it should not be relied on."""
    validation = conditions.get("validation") or {}
    verdict = validation.get("verdict")
    if verdict is None:
        return (
            "the table is NOT VALIDATED: its sums were never compared with whole networks that were measured and that "
            "nothing was fitted to"
        )
    held_out, noise = validation.get("held out") or {}, validation.get("noise") or {}
    found = (
        f"on {held_out['networks']} networks that nothing was fitted to, the mean error is {held_out['mean_absolute']} "
        f"(measured twice: {noise['mean_absolute']})"
        if {"networks", "mean_absolute"} <= held_out.keys() and "mean_absolute" in noise
        else "no network was measured whole"
    )
    if verdict == PASSED:
        return f"the table is validated: {found}"
    return f"the table is NOT TO BE RELIED ON, its validation {verdict}; {found}"
