"""Say in one sentence whether a table was validated on whole networks, and whether it passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PASSED = "passed"


def validated(conditions: Mapping[str, Any]) -> str:
    """One sentence on the validation of a table, from its conditions as plain data; a warning is in capitals."""
    validation = conditions.get("validation") or {}
    verdict = validation.get("verdict")
    if verdict is None:
        return (
            "the table is NOT VALIDATED: its sums were never compared with whole networks that were measured and that "
            "nothing was fitted to"
        )
    held_out, noise = validation.get("held out") or {}, validation.get("noise") or {}
    evidence = (
        f"on {held_out['networks']} networks that nothing was fitted to, the mean error is {held_out['mean_absolute']} "
        f"(measured twice: {noise['mean_absolute']})"
        if {"networks", "mean_absolute"} <= held_out.keys() and "mean_absolute" in noise
        else "no network was measured whole"
    )
    if verdict == PASSED:
        return f"the table is validated: {evidence}"
    return f"the table is NOT TO BE RELIED ON, its validation {verdict}; {evidence}"
