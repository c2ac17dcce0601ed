"""Derive seeds from numbers, and run code under a seed of its own.

What is drawn in an epoch depends on these numbers alone, not on earlier draws. So a training that was stopped resumes
to the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(*numbers: int) -> int:
    """A seed for these numbers, such as a run's seed and an epoch; other numbers give another seed."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch, on the CPU and on `device`, inside the block; its random state is restored afterwards."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, device_type="cuda"):
        torch.manual_seed(seed)
        yield
