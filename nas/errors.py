"""The errors that a user sees without a traceback, and the messages about unknown names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class NasError(Exception):
    """A mistake that the user can correct: commands print its text and end with `exit_code`."""

    exit_code = 2


class ConfigError(NasError):
    """A file or setting is wrong; `problems` holds one line for each thing to correct."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class RunFailedError(NasError):
    """The command was valid but could not be carried out."""

    exit_code = 1


def nearest_first(name: str, names: Iterable[str]) -> list[str]:
    """`names`, those most like `name` first."""
    return sorted(names, key=lambda k: (-difflib.SequenceMatcher(None, name.lower(), k.lower()).ratio(), k))


def unknown_name(kind: str, name: object, names: Iterable[str]) -> str:
    """The message that there is no `kind` called `name`, with the `names` that exist, nearest first."""
    return f"unknown {kind} {str(name)!r}. {known_names_text(kind, str(name), names)}"


def known_names_text(kind: str, name: str, names: Iterable[str]) -> str:
    """`Known: mbv3, mbv2.`, those most like `name` first."""
    nearest = nearest_first(name, names)
    return f"Known: {', '.join(nearest)}." if nearest else f"No {kind} is known."
