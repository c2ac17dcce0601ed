"""When has the training of a network failed, and what is said then?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from nas.errors import RunFailedError

# Reading a loss waits for an accelerator, so losses are looked at once in so many steps.
STEPS_BETWEEN_CHECKS = 20


class TrainingFailedError(RunFailedError):
    """Training ended without a usable network; the text is the reason."""


def check_losses(losses: Sequence[Tensor], *, epoch: int, epochs: int, learning_rate: float, advice: str) -> None:
    """Raise TrainingFailedError where one of the losses of an epoch is NaN or infinite; `advice` says what to do."""
    bad = next((value for value in torch.stack(list(losses)).tolist() if not math.isfinite(value)), None)
    if bad is not None:
        raise TrainingFailedError(
            f"loss became {bad} in epoch {epoch} of {epochs} at learning rate {learning_rate:.3g}; {advice}"
        )


@contextmanager
def memory_as_failure(what: str, advice: str) -> Iterator[None]:
    """Memory that runs out inside, in training `what`, becomes a TrainingFailedError; other errors pass."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _out_of_memory(error):
            raise
        raise TrainingFailedError(f"out of memory while training {what}; {advice}") from error


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether `error` is torch's way to say so: the CPU's allocator has no type of its own for it."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in text or "out of memory" in text
