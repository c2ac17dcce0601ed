"""Turn a loss that is not finite, and memory that runs out, into TrainingFailedError with advice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from nas.errors import RunFailedError

# Reading a loss makes the CPU wait for the accelerator, so losses are checked only once every so many steps.
STEPS_BETWEEN_CHECKS = 20


class TrainingFailedError(RunFailedError):
    """Training ended without a usable network; the text says why."""


def check_losses(losses: Sequence[Tensor], *, epoch: int, epochs: int, learning_rate: float, advice: str) -> None:
    """Raise TrainingFailedError where one of `losses` is NaN or infinite; the message ends with `advice`."""
    bad = next((value for value in torch.stack(list(losses)).tolist() if not math.isfinite(value)), None)
    if bad is not None:
        raise TrainingFailedError(
            f"loss became {bad} in epoch {epoch} of {epochs} at learning rate {learning_rate:.3g}; {advice}"
        )


@contextmanager
def memory_as_failure(what: str, advice: str) -> Iterator[None]:
    """Turn an out-of-memory error of the block into a TrainingFailedError; other errors pass through.

    The message says that memory ran out while training `what`, then `advice`.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _out_of_memory(error):
            raise
        raise TrainingFailedError(f"out of memory while training {what}; {advice}") from error


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory: on a CPU it raises a plain RuntimeError, so the text has to tell."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in text or "out of memory" in text
