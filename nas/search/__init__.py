"""Which networks to keep: the search, from an experiment to a front.

The package can be called: it is the function `search` of `nas.api`, too.

    run = nas.search(nas.load_space("mbv3"), nas.load_table("pixel_lut"), data="digits", trials=24, run="runs/first")

`help(nas.api.search)` says what each argument is.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package that is a function, too: Python gives `nas.search` to the package as soon as a part of it is loaded."""

    def __call__(
        self,
        space: Any = "mbv3",
        *tables: Any,
        data: str = "digits",
        trials: int = 24,
        run: Any = None,
        listener: Any = None,
        quiet: bool = False,
        **settings: Any,
    ) -> Any:
        """`nas.api.search`."""
        search = importlib.import_module("nas.api").search
        return search(space, *tables, data=data, trials=trials, run=run, listener=listener, quiet=quiet, **settings)

    def __reduce__(self) -> Any:
        """As its name: other processes import it."""
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Callable
