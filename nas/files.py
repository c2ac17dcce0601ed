"""Where are the spaces, tables and experiments that a name stands for, and how are results written?

A name is looked up in the current folder first, then among the files that came with the package, so that a user's
own `search_spaces/mbv3.yaml` goes before ours.
"""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from nas.errors import ConfigError, NasError, RunFailedError, known_names_text, unknown_name

Kind = Literal["search_spaces", "latency_tables", "experiments"]

_PACKAGE = Path(__file__).parent
_SINGULAR: dict[Kind, str] = {
    "search_spaces": "search space",
    "latency_tables": "device",
    "experiments": "experiment",
}
# What a name looks like: it can stand for a file or a folder on any system, and cannot lead out of one.
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"


def find_file(kind: Kind, name: str) -> Path:
    """The YAML file that `name` stands for: a known name, or a path that ends in .yaml.

    Raises NasError for a name that no folder holds (listing those that exist) and for one that is not a name.
    """
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


def known_names(kind: Kind) -> list[str]:
    """Every name of that kind that can be found from here, sorted."""
    return sorted({path.stem for folder in folders(kind) for path in folder.glob("*.yaml")})


def folders(kind: Kind) -> list[Path]:
    """The folders in which names are looked up, first come first served."""
    candidates = [Path.cwd() / kind, _PACKAGE / "_shipped" / kind, _PACKAGE.parent / kind]
    return [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]


def check_writable(folder: Path) -> None:
    """Raise RunFailedError unless files can be written into `folder`, or into where it would be made.

    Nothing is left behind: asked before long work, whose result must not be lost for want of a folder.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise RunFailedError(f"cannot write into {shown(folder)}: {error.strerror}") from error


def write_files(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write each text into the file of its name in `folder`, which is made where it is missing; returns the paths.

    Raises RunFailedError, naming the file or folder, where that cannot be.
    """
    paths = [folder / name for name in texts]
    written = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for written, text in zip(paths, texts.values(), strict=True):
            written.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunFailedError(f"cannot write {shown(written)}: {error.strerror}") from error
    return paths


def read_csv(path: Path, what: str, columns: Sequence[str] = ()) -> list[tuple[int, list[str]]]:
    """The rows of a CSV, each with the number of the line that it ends in; the first line too, unless it must be
    `columns`.

    Raises ConfigError for a file that cannot be read (calling it `what`) and for other columns.
    """
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
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


def shown(path: Path) -> str:
    """`path` as messages print it: relative to the current folder when it lies inside."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


def _existing(path: Path, kind: Kind) -> Path:
    try:
        exists = path.is_file()
    except OSError:  # a name that no file system holds
        exists = False
    if exists:
        return path
    raise NasError(f"there is no {_SINGULAR[kind]} file {str(path)!r}. {_known(kind, path.stem)}")


def _known(kind: Kind, name: str) -> str:
    return known_names_text(_SINGULAR[kind], name, known_names(kind))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the system has against writing `path` becomes a RunFailedError."""
    try:
        yield
    except OSError as error:
        raise RunFailedError(
            f"cannot write {shown(path)}: {error.strerror or error}. The same command goes on once it can be written."
        ) from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all. Raises RunFailedError where it cannot be written."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all. Raises RunFailedError where it cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all. Raises RunFailedError where it cannot be written."""
    part = path.with_name(path.name + ".part")
    with writing(path):
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise


def read_json(path: Path) -> Any:
    """Read JSON. Raises NasError for a file that is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NasError(f"{shown(path)} cannot be read: {error}. Restore it, or start anew with --run.") from error
