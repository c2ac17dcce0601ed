"""How does a file of facts show that nothing in it was changed by accident?

It holds the hash of all else in it, of the facts themselves: another layout, or keys in another order, are no change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nas.errors import NasError

SEAL = "sha256"


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts`, which JSON can hold, with their hash at the end."""
    return {**facts, SEAL: _digest(facts)}


def check_seal(data: Mapping[str, Any]) -> None:
    """Raise NasError where `data` are not what was sealed. Files from before there were seals have none to check."""
    if SEAL in data and data[SEAL] != _digest({key: value for key, value in data.items() if key != SEAL}):
        raise NasError(
            f"what the file says must be what was written, but its {SEAL} is of something else: restore it, or, if the "
            f"change was meant, remove the key {SEAL}"
        )


def _digest(facts: Mapping[str, Any]) -> str:
    # As they will be read again: JSON knows no tuples, and no keys but text.
    read = json.loads(json.dumps(facts))
    return hashlib.sha256(json.dumps(read, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
