"""Join the processes that torchrun started for one training, and exchange tensors between them.

Without torchrun there is one process, and nothing is exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from nas.errors import NasError


@dataclass(frozen=True)
class Processes:
    """Process number `rank` of `count`; `local_rank` is its number on its own machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def total(self, tensor: Tensor) -> Tensor:
        """Sum `tensor` over all processes, in place."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor

    def same_buffers(self, network: nn.Module) -> None:
        """Copy the first process's statistics of batch normalisation to all: each measured those of its own images."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Connect the processes that torchrun started; without torchrun, a single process.

    They exchange tensors by NCCL on CUDA devices, where each process takes the device of its local number, else by
    Gloo. Raises NasError where there are fewer devices than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        yield Processes()
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise NasError(
                f"each process needs a GPU of its own, but there are {torch.cuda.device_count()} and this is process "
                f"{local_rank + 1} of this machine. Start fewer: torchrun --nproc-per-node {torch.cuda.device_count()}."
            )
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank)
    finally:
        distributed.destroy_process_group()
