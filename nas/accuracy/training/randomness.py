"""Where does the randomness of a training come from?

From the numbers that it is given, and from nothing else: what is drawn in an epoch does not depend on what was drawn
before, so that a training that was stopped goes on to the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(*numbers: int) -> int:
    """A seed for these numbers, such as a run's seed and an epoch; with others it is another one."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch draws from `seed`, on the CPU and on `device`; afterwards its random state is what it was."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, device_type="cuda"):
        torch.manual_seed(seed)
        yield
