"""Seal JSON data with their hash, and notice when they were changed by accident.

The hash is that of the data, not of the text: another layout, or another order of keys, is no change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nas.errors import NasError

SEAL = "sha256"


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts`, which must be JSON data, with their hash under the last key."""
    return {**facts, SEAL: _digest(facts)}


def check_seal(data: Mapping[str, Any]) -> None:
    """Raise NasError where `data` are not what was sealed. Data without a seal (of earlier versions) pass."""
    if SEAL in data and data[SEAL] != _digest({key: value for key, value in data.items() if key != SEAL}):
        raise NasError(
            f"the file must be as it was written, but its {SEAL} is of something else: restore it, or, if the change "
            f"was meant, remove the key {SEAL}"
        )


def _digest(facts: Mapping[str, Any]) -> str:
    # As they will be read again: JSON knows no tuples, and no keys but text.
    read = json.loads(json.dumps(facts))
    return hashlib.sha256(json.dumps(read, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
