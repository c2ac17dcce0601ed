"""Which networks to keep: the search, from an experiment to a front.

The package can be called: `nas.search(space, table, …)` is the function `search` of `nas.api`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package that is a function, too: Python gives `nas.search` to the package as soon as a part of it is loaded."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return importlib.import_module("nas.api").search(*arguments, **settings)


sys.modules[__name__].__class__ = _Callable
