"""A run's directory belongs to one command at a time, and to whoever comes after a command that ended or was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nas.errors import NasError, RunFailedError
from nas.search.run.directory import RunDirectory, claimed

IN_USE = r"one is in use by another command\. Wait, or give another --run\.$"
HOLD = """
import sys
from pathlib import Path
from nas.search.run.directory import RunDirectory, claimed
with claimed(RunDirectory(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.readline()
"""
FORK_AND_HOLD = """
import os, sys, time
from pathlib import Path
from nas.search.run.directory import RunDirectory, claimed
with claimed(RunDirectory(Path(sys.argv[1]))):
    if not os.fork():
        print("held", flush=True)
        time.sleep(60)
        os._exit(0)
    sys.stdin.readline()
"""


@contextmanager
def holder(run: RunDirectory, code: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `run` until it is told to end, in a process group of its own."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(run.path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "one")


def test_a_run_that_another_process_holds_is_refused_until_it_ends(run: RunDirectory) -> None:
    """At once, rather than after a wait."""
    with holder(run) as process:
        for _ in range(2):
            with pytest.raises(NasError, match=IN_USE), claimed(run):
                pass
        process.communicate("end\n")
        assert process.returncode == 0
        with claimed(run):
            pass


def test_a_killed_process_holds_nothing(run: RunDirectory) -> None:
    """The file of its lock is still there, and does no harm."""
    with holder(run) as process:
        process.kill()
        process.wait()
        assert (run.path / "lock").is_file()
        with claimed(run):
            pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_outlives_its_parent_holds_nothing(run: RunDirectory) -> None:
    """Such as a worker that loads images."""
    with holder(run, FORK_AND_HOLD) as process:
        process.kill()
        process.wait()
        claimed_again = False
        try:
            with claimed(run):
                claimed_again = True
        finally:
            os.killpg(process.pid, 9)
        assert claimed_again


def test_a_second_claim_of_the_same_process_is_refused(run: RunDirectory) -> None:
    """The first one stays; after it the directory is free, also where its block failed."""
    with claimed(run):
        for _ in range(2):
            with pytest.raises(NasError, match=IN_USE), claimed(run):
                pass
    with pytest.raises(ZeroDivisionError), claimed(run):
        print(1 / 0)
    with claimed(run):
        pass
    assert [path.name for path in run.path.iterdir()] == ["lock"]


def test_a_folder_of_something_else_is_refused_and_stays_as_it_was(run: RunDirectory) -> None:
    """No lock is left in it."""
    run.path.mkdir()
    (run.path / "thesis.tex").touch()
    with pytest.raises(NasError, match=r"is not empty \(it holds thesis\.tex\)"), claimed(run):
        pass
    assert [path.name for path in run.path.iterdir()] == ["thesis.tex"]


def test_a_run_that_may_only_be_read_is_refused(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """With advice; a folder in which no run has begun, without."""

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    run.path.mkdir()
    for exists in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr("os.open", refused)
            error, said = (
                (RunFailedError, "cannot write into .*one") if exists else (NasError, "cannot be the directory")
            )
            with pytest.raises(error, match=rf"{said}.*: Permission denied\."), claimed(run):
                pass
        run.identity.write_text("{}", encoding="utf-8")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_by_the_system(run: RunDirectory) -> None:
    """As `test_a_run_that_may_only_be_read_is_refused`, with real permissions."""
    run.path.mkdir()
    run.identity.write_text("{}", encoding="utf-8")
    run.path.chmod(0o555)
    with (
        pytest.raises(RunFailedError, match=r"cannot write into .*one: Permission denied\. Copy the run"),
        claimed(run),
    ):
        pass
