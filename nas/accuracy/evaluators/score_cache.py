"""ScoreCache: the scores of all runs of a user, so that no network is trained twice in the same way.

Each score stands in one SQLite file, under all that decides it (`TrainingIdentity`) and the epochs that were trained.
SQLite needs no server, takes one row at a time from many processes safely, and finds one among millions at once. Its
rollback journal is used rather than WAL, which does not work where home directories are on a network; a row is written
once a training, so nothing waits. Weights are not kept: a score takes a hundred bytes, a network megabytes.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pooch

from nas.accuracy.score import Score
from nas.accuracy.training.training_identity import TrainingIdentity
from nas.errors import NasError
from nas.files import shown

FILE_NAME = "scores.sqlite"
VARIABLE = "NAS_SCORE_CACHE"

# How long a process waits for another's write.
_WAIT_SECONDS = 30.0

_TABLE = """
CREATE TABLE IF NOT EXISTS scores (
    digest TEXT NOT NULL,    -- of the training
    epochs INTEGER NOT NULL, -- that were trained
    score TEXT NOT NULL,     -- JSON
    training TEXT NOT NULL,  -- JSON: proxy, data, recipe, budget, seed
    made TEXT NOT NULL,      -- UTC
    PRIMARY KEY (digest, epochs)
)
"""


def place_of(named: str) -> Path | None:
    """The file that an experiment means: a path, `none` for no cache, or `default`.

    The default is what the environment variable NAS_SCORE_CACHE names, else a file in the user's cache folder, beside
    downloaded data sets.
    """
    if named == "default":
        named = os.environ.get(VARIABLE) or str(Path(pooch.os_cache("hwnas")) / FILE_NAME)
    return None if named == "none" else Path(named)


class ScoreCache:
    """Scores of all runs, in the file `path`; without a path there are none, and none are kept.

    A cache is a help and no more: a file that is damaged, locked or cannot be written is said once, to `say`, and the
    cache is then off. Nothing is raised.
    """

    def __init__(self, path: Path | None, say: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._say = say

    def get(self, training: TrainingIdentity, epochs: int) -> Score | None:
        """The score after `epochs` of that training, or None."""
        row = self._execute("SELECT score FROM scores WHERE digest = ? AND epochs = ?", training.digest, epochs)
        try:
            return Score.from_json(json.loads(row[0])) if row else None
        except (ValueError, TypeError, NasError) as error:
            self._turn_off(error)
            return None

    def put(self, training: TrainingIdentity, score: Score, epochs: int | None = None) -> None:
        """Keep the score after `epochs` of that training (those that were trained). One that is there stays."""
        self._execute(
            "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?)",
            training.digest,
            score.epochs if epochs is None else epochs,
            json.dumps(score.to_json()),
            json.dumps(training.to_json(), sort_keys=True),
            datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _execute(self, statement: str, *values: str | int) -> tuple[str, ...] | None:
        """The first row that a statement gives. Each has a connection of its own, so that processes may fork."""
        if self._path is None:
            return None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS)) as connection, connection:
                connection.execute(_TABLE)
                row: tuple[str, ...] | None = connection.execute(statement, values).fetchone()
                return row
        except (sqlite3.Error, OSError) as error:
            self._turn_off(error)
            return None

    def _turn_off(self, error: Exception) -> None:
        assert self._path is not None
        self._say(
            f"the score cache {shown(self._path)} cannot be used ({error}), so the search goes on without. "
            "Delete the file if it is damaged, or give another with score_cache=PATH."
        )
        self._path = None
