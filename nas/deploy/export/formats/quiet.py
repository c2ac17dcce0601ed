"""Keep converters from filling the terminal with warnings and log lines."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator

_STDERR = 2


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings, log lines below errors, and all that Python or a library prints; exceptions pass."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            _no_descriptor(_STDERR),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _no_descriptor(number: int) -> Iterator[None]:
    """Send to nowhere what libraries write to the descriptor directly, past Python."""
    if sys.__stderr__ is not None:
        sys.__stderr__.flush()
    original, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, number)
        yield
    finally:
        os.dup2(original, number)
        os.close(original)
        os.close(nowhere)
