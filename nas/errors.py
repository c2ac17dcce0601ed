"""Which errors does a user see without a traceback?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class NasError(Exception):
    """A mistake that the user can mend: commands print its text and end with `exit_code`."""

    exit_code = 2


class ConfigError(NasError):
    """One file or setting is wrong; `problems` holds one line for each thing to mend."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class RunFailedError(NasError):
    """The command was understood and could not be carried out."""

    exit_code = 1


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """`known`, those most like `name` first."""
    return sorted(known, key=lambda k: (-difflib.SequenceMatcher(None, name.lower(), k.lower()).ratio(), k))


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """Say that there is no `kind` called `name`, and list those that exist, nearest first."""
    return f"unknown {kind} {str(name)!r}. {known_names_text(kind, str(name), known)}"


def known_names_text(kind: str, name: str, known: Iterable[str]) -> str:
    """`Known: mbv3, mbv2.`, those most like `name` first."""
    names = nearest_first(name, known)
    return f"Known: {', '.join(names)}." if names else f"No {kind} is known."
