"""Find shipped files by name; read files; write files whole or not at all.

Spaces, tables and experiments are looked up by name in the current folder first, then in the package: a user's own
`search_spaces/mbv3.yaml` hides ours.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

from nas.errors import ConfigError, NasError, RunFailedError, known_names_text, unknown_name

DataFolder = Literal["search_spaces", "latency_tables", "experiments"]

_PACKAGE = Path(__file__).parent
_SINGULAR: dict[DataFolder, str] = {
    "search_spaces": "search space",
    "latency_tables": "device",
    "experiments": "experiment",
}
# A name is a valid file name on every system, and cannot point out of its folder.
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"


def find_file(kind: DataFolder, name: str | Path) -> Path:
    """Path of the YAML file called `name`, or `name` itself where it is a path that ends in .yaml or .yml.

    Raises NasError for a file that does not exist (listing the names that do) and for text that is no name.
    """
    if not isinstance(name, str | Path):
        raise NasError(f"a {_SINGULAR[kind]} is found by its name or its path, but got {type(name).__name__} {name!r}")
    name = str(name)
    if name.endswith((".yaml", ".yml")):
        return _existing(Path(name), kind)
    if not re.fullmatch(NAME_PATTERN, name):
        raise NasError(
            f"{_SINGULAR[kind]} must be a name (up to 100 letters, digits, '_', '-', '.') or the path of a .yaml file, "
            f"but got {name!r}. {_known(kind, name)}"
        )
    for folder in folders(kind):
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    raise NasError(unknown_name(_SINGULAR[kind], name, known_names(kind)))


def known_names(kind: DataFolder) -> list[str]:
    """Every name that `find_file` finds, sorted."""
    return sorted({path.stem for folder in folders(kind) for path in folder.glob("*.yaml")})


def folders(kind: DataFolder) -> list[Path]:
    """Folders in which names are looked up; the first that has a name wins."""
    candidates = [Path.cwd() / kind, _PACKAGE / "_shipped" / kind, _PACKAGE.parent / kind]
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def check_writable(folder: Path) -> None:
    """Raise RunFailedError unless files can be written into `folder`, or into the folder that it would be made in.

    Call it before long work, so that its result is not lost for want of a folder. It leaves nothing behind.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        import tempfile  # takes 4 ms, which commands that write nothing need not wait

        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise RunFailedError(f"cannot write into {shown(folder)}: {error.strerror}") from error


def read_csv(path: Path, what: str, columns: Sequence[str] = ()) -> list[tuple[int, list[str]]]:
    """Read the rows of a CSV, each with the number of its last line.

    Where `columns` are given, the first line must be these, and is left out. Raises ConfigError for other columns, and
    for a file that cannot be read; the message calls it `what`.
    """
    try:
        # utf-8-sig, because spreadsheets put a byte order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, fields) for fields in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([f"cannot read {what}: {error}"]) from error
    if not columns:
        return rows
    if not rows or tuple(rows[0][1]) != tuple(columns):
        got = ",".join(rows[0][1]) if rows else "an empty file"
        raise ConfigError([f"the first line must be {','.join(columns)}, but is {got} ({shown(path)}:1)"])
    return rows[1:]


def read_json(path: Path) -> Any:
    """Read JSON. Raises NasError for a file that is damaged or cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NasError(f"{shown(path)} cannot be read: {error}. Restore it, or start anew with --run.") from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all. Raises RunFailedError where it cannot be written."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all. Raises RunFailedError where it cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all. Raises RunFailedError where it cannot be written."""
    with writing(path), atomic_file(path) as file:
        file.write(data)


def write_files(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write each text, whole or not at all, into the file of its name in `folder`; returns the paths.

    Makes the folder where it is missing. Raises RunFailedError that names the file or folder that cannot be written.
    """
    paths = [folder / name for name in texts]
    current = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for current, text in zip(paths, texts.values(), strict=True):
            with atomic_file(current) as file:
                file.write(text.encode())
    except OSError as error:
        raise RunFailedError(f"cannot write {shown(current)}: {error.strerror}") from error
    return paths


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn every OSError of the block into a RunFailedError that says that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunFailedError(
            f"cannot write {shown(path)}: {error.strerror or error}. The same command goes on once it can be written."
        ) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` when the block ends.

    The data goes to `path` with ".part" appended and reaches the disk before the rename, so a killed process or a power
    cut leaves either the old file or the new one. Where the block or the system fails, `path` stays as it was and the
    part is removed. OSError passes through: wrap the block in `writing`, or catch it to say what could not be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move_into_place(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def move_into_place(part: Path, path: Path) -> None:
    """Rename a finished file to `path`, replacing what is there, and bring the rename to the disk."""
    part.replace(path)
    # Windows cannot open a folder, and some network drives cannot sync one; the rename has happened all the same.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def shown(path: Path) -> str:
    """`path` as messages print it: relative to the current folder where it lies inside that."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


def _existing(path: Path, kind: DataFolder) -> Path:
    try:
        exists = path.is_file()
    except OSError:  # a name that no file system holds
        exists = False
    if exists:
        return path
    raise NasError(f"there is no {_SINGULAR[kind]} file {str(path)!r}. {_known(kind, path.stem)}")


def _known(kind: DataFolder, name: str) -> str:
    return known_names_text(_SINGULAR[kind], name, known_names(kind))
