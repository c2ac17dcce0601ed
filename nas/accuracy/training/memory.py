"""Why does a training step on a CPU not wait for fresh memory?

glibc gives large blocks back to the system when they are freed, so that a step's activations are mapped and zeroed page
by page again; it learns to keep them only after some steps. Told to keep them from the start, MobileNetV3-Large at 32
pixels trained about 20 % faster in the first four steps and 5 % faster later (batches of 64, CPU time, one thread).
"""

from __future__ import annotations

import ctypes
import sys

# The numbers of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_KEEP_BYTES = 2**30


def keep_freed_memory() -> None:
    """From now on this process keeps the memory it frees, for the next step: it stays at its peak.

    Does nothing where the C library is not glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _KEEP_BYTES - 1)
