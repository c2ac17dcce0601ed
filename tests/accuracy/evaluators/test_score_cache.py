"""The cache keeps every score of every process, and is never in the way."""

from __future__ import annotations

import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from nas.accuracy.evaluators.score_cache import ScoreCache, place_of
from nas.accuracy.score import Score
from nas.accuracy.training.training_identity import TrainingIdentity

TRAINING = TrainingIdentity("f00d", {"digest": "1"}, {"version": 1}, budget=9, seed=0)
SCORE = Score(91.5, 9, 0, 3.25, "digits", 8, 1096, 401)
PARTIAL = replace(SCORE, value=40.0, epochs=3, budget=9)


def test_a_score_is_found_again(tmp_path: Path) -> None:
    """By another object, as from another run; partial scores apart from whole ones."""
    path = tmp_path / "deep" / "scores.sqlite"
    for score in (SCORE, PARTIAL):
        ScoreCache(path).put(TRAINING, score)
    assert ScoreCache(path).get(TRAINING, 9) == SCORE
    assert ScoreCache(path).get(TRAINING, 3) == PARTIAL
    assert ScoreCache(path).get(TRAINING, 1) is None


def test_another_training_is_another_score(tmp_path: Path) -> None:
    """Another seed, and another budget of as many epochs, were not paid for."""
    cache = ScoreCache(tmp_path / "scores.sqlite")
    cache.put(TRAINING, SCORE)
    assert cache.get(replace(TRAINING, seed=1), 9) is None
    assert cache.get(replace(TRAINING, budget=27), 9) is None


def test_the_first_score_stays(tmp_path: Path) -> None:
    """A second worker that trained the same does not change what others have read."""
    cache = ScoreCache(tmp_path / "scores.sqlite")
    cache.put(TRAINING, SCORE)
    cache.put(TRAINING, replace(SCORE, seconds=99.0))
    assert cache.get(TRAINING, 9) == SCORE


def test_no_cache_keeps_nothing() -> None:
    """Without a path there is none, and nothing is said."""
    cache = ScoreCache(None, say=pytest.fail)
    cache.put(TRAINING, SCORE)
    assert cache.get(TRAINING, 9) is None


def write_many(path: Path, worker: int, count: int) -> None:
    cache = ScoreCache(path, say=pytest.fail)
    for number in range(count):
        cache.put(replace(TRAINING, seed=1000 * worker + number), SCORE)
        cache.put(replace(TRAINING, seed=-1), SCORE)


def test_many_processes_write_at_once(tmp_path: Path) -> None:
    """None of their scores is lost, on the file that the first of them makes."""
    path = tmp_path / "scores.sqlite"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_many, args=(path, worker, 10)) for worker in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    cache = ScoreCache(path)
    seeds = [1000 * worker + number for worker in range(4) for number in range(10)]
    assert all(cache.get(replace(TRAINING, seed=seed), 9) == SCORE for seed in (*seeds, -1))


def spoil_file(path: Path) -> None:
    path.write_bytes(b"no database" * 100)


def spoil_row(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE scores SET score = '{\"top1\": 900}'")
    connection.close()


def spoil_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE scores")
        connection.execute("CREATE TABLE scores (other TEXT)")
    connection.close()


@pytest.mark.parametrize("spoil", [spoil_file, spoil_row, spoil_table])
def test_a_damaged_cache_is_said_once_and_left(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    """The search goes on without; the file stays for its owner to look at."""
    path = tmp_path / "scores.sqlite"
    ScoreCache(path).put(TRAINING, SCORE)
    spoil(path)
    before = path.read_bytes()
    said: list[str] = []
    cache = ScoreCache(path, said.append)
    assert cache.get(TRAINING, 9) is None
    cache.put(TRAINING, SCORE)
    assert cache.get(TRAINING, 9) is None
    assert len(said) == 1
    assert "scores.sqlite cannot be used (" in said[0]
    assert "goes on without" in said[0]
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_is_said(tmp_path: Path) -> None:
    """A folder that is a file."""
    (tmp_path / "file").write_text("")
    said: list[str] = []
    ScoreCache(tmp_path / "file" / "scores.sqlite", said.append).put(TRAINING, SCORE)
    assert len(said) == 1


def test_errors_of_others_pass(tmp_path: Path) -> None:
    """Only the cache's own troubles are swallowed."""

    class Odd(TrainingIdentity):
        @property
        def digest(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ScoreCache(tmp_path / "scores.sqlite").get(Odd("f00d", {}, {}, 9, 0), 9)


def test_the_place_is_the_users_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beside the data sets that were downloaded, or where the environment says, or the experiment."""
    monkeypatch.delenv("NAS_SCORE_CACHE")
    place = place_of("default")
    assert place is not None
    assert place.parts[-2:] == ("hwnas", "scores.sqlite")
    monkeypatch.setenv("NAS_SCORE_CACHE", str(tmp_path / "shared"))
    assert place_of("default") == tmp_path / "shared"
    assert place_of("mine.sqlite") == Path("mine.sqlite")
    assert place_of("none") is None
    monkeypatch.setenv("NAS_SCORE_CACHE", "none")
    assert place_of("default") is None
