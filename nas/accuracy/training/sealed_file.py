"""Write tensors and plain values into a file that is whole, and refuse to read one that is damaged.

The file begins with a line that says what it holds and a hash of the rest, because torch does not notice a flipped bit.
Reading it runs no code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nas.errors import RunFailedError
from nas.files import atomic_file, shown

_HASH_BYTES = 32


class DamagedFileError(RunFailedError):
    """A file that is unreadable, changed since it was written, or of another kind."""


def write_sealed(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write `content`, whole or not at all, as a file of that `kind`; makes its folder where it is missing.

    Raises RunFailedError where it cannot be written; the file that was there before then stays.
    """
    payload = io.BytesIO()
    torch.save(dict(content), payload)
    data = payload.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(_line(kind) + hashlib.sha256(data).digest() + data)
    except OSError as error:
        raise RunFailedError(f"cannot write {shown(path)}: {error.strerror}") from error


def read_sealed(path: Path, kind: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote, tensors on the CPU. Raises DamagedFileError for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(f"{shown(path)} cannot be read: {error.strerror}") from error
    line = _line(kind)
    start = len(line) + _HASH_BYTES
    if data[: len(line)] != line or hashlib.sha256(data[start:]).digest() != data[len(line) : start]:
        raise DamagedFileError(f"{shown(path)} is damaged, or is not a {kind}")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(data[start:]), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DamagedFileError(f"{shown(path)} cannot be read: {str(error).splitlines()[0]}") from error
    return content


def _line(kind: str) -> bytes:
    return f"nas {kind} 1\n".encode()
