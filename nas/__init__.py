"""Hardware-aware neural architecture search: from a device and images to the networks that are best for it.

The functions and classes of `nas.api` are attributes of this package, loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.api import (
        ChosenNetwork,
        FinishedNetwork,
        Run,
        cost,
        export,
        finish,
        load_run,
        search,
    )
    from nas.errors import NasError
    from nas.latency.table import load_table
    from nas.networks.references import reference
    from nas.networks.space.search_space import load_space

__version__ = "0.1.0"

# Where each name is at home. `search` is a package, too, which calls the function: nas/search/__init__.py.
_HOMES = {
    **dict.fromkeys(("ChosenNetwork", "FinishedNetwork", "Run", "cost", "export", "finish", "load_run"), "nas.api"),
    "NasError": "nas.errors",
    "load_space": "nas.networks.space.search_space",
    "load_table": "nas.latency.table",
    "reference": "nas.networks.references",
    "search": "nas.search",
}

__all__ = [
    "ChosenNetwork",
    "FinishedNetwork",
    "NasError",
    "Run",
    "cost",
    "export",
    "finish",
    "load_run",
    "load_space",
    "load_table",
    "reference",
    "search",
]


def __getattr__(name: str) -> Any:
    """A name of the API, from where it is at home."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    module = importlib.import_module(home)
    return module if home == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    """The names of the API."""
    return sorted([*globals(), *_HOMES])
