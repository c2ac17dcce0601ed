"""Measure how much memory a model needs.

A process of its own loads the file and runs it a few times, so that nothing that other models or the converter left
behind is counted.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.errors import RunFailedError

_RUNS = 3
_KILO = 1024


@dataclass(frozen=True)
class Footprint:
    """The peak memory that a model adds to a process that has imported its runtime, and the time that loading takes.

    `added_bytes` is None where the system does not report it (only Linux does).
    """

    added_bytes: int | None
    load_ms: float


def measure_footprint(format_name: str, path: Path, shape: Sequence[int], *, threads: int = 1) -> Footprint:
    """The footprint of the file at `path` for inputs of `shape`. Raises RunFailedError where it does not run."""
    command = [
        sys.executable,
        "-m",
        "nas.deploy.inference.memory",
        format_name,
        str(path),
        str(threads),
        *map(str, shape),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        reason = ended.stderr.strip().splitlines()
        raise RunFailedError(f"{path.name} does not run in a process of its own: {reason[-1] if reason else 'killed'}")
    return Footprint(**json.loads(ended.stdout.splitlines()[-1]))


def _footprint(format_name: str, path: Path, shape: Sequence[int], threads: int) -> Footprint:
    """The footprint, measured in this process, which ends afterwards."""
    from nas.deploy.export.formats import check_installed, format_called, open_file
    from nas.deploy.export.formats.quiet import quiet

    check_installed([format_name], to_run=True)
    with quiet():
        importlib.import_module(format_called(format_name).RUNTIME)
    image = np.zeros(shape, np.float32)
    before = _forget_peak()
    began = time.perf_counter()
    run = open_file(format_name, path, threads=threads)
    load_ms = (time.perf_counter() - began) * 1000
    for _ in range(_RUNS):
        run(image)
    peak = _status("VmHWM")
    return Footprint(None if before is None or peak is None else max(0, peak - before), load_ms)


def _forget_peak() -> int | None:
    """Reset the kernel's peak of memory use (proc(5), clear_refs); returns the bytes in use now, or None."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(name: str) -> int | None:
    """The bytes that /proc/PID/status has under `name`; None where there is no such file or line."""
    try:
        lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    except OSError:
        return None
    matching = [line for line in lines if line.startswith(f"{name}:")]
    return int(matching[0].split()[1]) * _KILO if matching else None


def _main(arguments: Sequence[str]) -> None:
    name, path, threads, *shape = arguments
    print(json.dumps(vars(_footprint(name, Path(path), tuple(map(int, shape)), int(threads)))))


if __name__ == "__main__":
    _main(sys.argv[1:])
