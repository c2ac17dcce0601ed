"""How is what a training needs to go on kept in a file that is whole, or refused?

Tensors and plain values, written at once or not at all, behind a line that says what the file is and a hash of the
rest: torch does not notice a flipped bit. Reading runs no code.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from nas.errors import RunFailedError
from nas.files import shown

_HASH_BYTES = 32


class DamagedFileError(RunFailedError):
    """A file that is not, or no longer, what was written."""


def write_sealed(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write `content`, which is of that `kind`, into a folder that is made where it is missing.

    Raises RunFailedError where it cannot be written; what was there before is then still there.
    """
    payload = io.BytesIO()
    torch.save(dict(content), payload)
    data = payload.getvalue()
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(_line(kind) + hashlib.sha256(data).digest() + data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise RunFailedError(f"cannot write {shown(path)}: {error.strerror}") from error


def read_sealed(path: Path, kind: str) -> dict[str, Any]:
    """What `write_sealed` wrote, on the CPU. Raises DamagedFileError for anything else."""
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
