"""Shipped files are found by name and load; files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas.errors import NasError, RunFailedError
from nas.files import (
    atomic_file,
    check_writable,
    find_file,
    folders,
    known_names,
    shown,
    write_bytes,
    write_files,
    write_text,
)
from nas.latency.table import read_table
from nas.networks.space.search_space import read_space

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted(ROOT.glob("search_spaces/*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_loads(path: Path) -> None:
    """It is named like its file, and has members."""
    space = read_space(path)
    assert space.name == path.stem
    assert space.size >= 1


@pytest.mark.parametrize("path", sorted(ROOT.glob("latency_tables/*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_table_loads(path: Path) -> None:
    """It has rows, and every source is cited with a licence."""
    table = read_table(path)
    assert {row.source for row in table.rows.values()} == set(table.conditions.sources)
    assert all(citation.licence for citations in table.conditions.sources.values() for citation in citations)


def test_the_current_folder_goes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own mbv3 is found first; the others are still there."""
    monkeypatch.chdir(tmp_path)
    assert find_file("search_spaces", "mbv3") == ROOT / "search_spaces" / "mbv3.yaml"
    own = tmp_path / "search_spaces" / "mbv3.yaml"
    own.parent.mkdir()
    own.write_text("name: mbv3", encoding="utf-8")
    (own.parent / "mine.yaml").write_text("name: mine", encoding="utf-8")
    assert find_file("search_spaces", "mbv3") == own
    assert {"mbv3", "mine"} <= set(known_names("search_spaces"))
    assert folders("search_spaces")[0] == own.parent
    assert shown(own) == str(Path("search_spaces") / "mbv3.yaml")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    """Anything that ends in .yaml or .yml is a file."""
    path = tmp_path / "x.yml"
    path.write_text("", encoding="utf-8")
    assert find_file("experiments", str(path)) == path


def test_where_no_name_is_known_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an empty list."""
    monkeypatch.setattr("nas.files._PACKAGE", tmp_path / "nas")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NasError, match=r"unknown device 'x'\. No device is known\."):
        find_file("latency_tables", "x")
    with pytest.raises(NasError, match=r"but got 'a\. b'\. No device is known\."):
        find_file("latency_tables", "a. b")


def test_files_are_written_into_a_folder_that_is_made(tmp_path: Path) -> None:
    """Each text is in the file of its name, over the old content."""
    folder = tmp_path / "new" / "folder"
    for text in ("first", "größer\n"):
        assert write_files(folder, {"a.txt": text, "b.txt": ""}) == [folder / "a.txt", folder / "b.txt"]
    assert (folder / "a.txt").read_text(encoding="utf-8") == "größer\n"


def test_where_nothing_can_be_written_is_said_before_and_after(tmp_path: Path) -> None:
    """A file in the folder's place or above it, and a folder in a file's place; asking makes nothing."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for attempt in (lambda folder=folder: check_writable(folder), lambda folder=folder: write_files(folder, {})):
            with pytest.raises(RunFailedError, match=r"^cannot write .*file.*: (Not a directory|File exists)$"):
                attempt()
    check_writable(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(RunFailedError, match=r"^cannot write .*a\.txt: Is a directory$"):
        write_files(tmp_path, {"a.txt": ""})


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which nobody can make files")
def test_a_folder_that_takes_no_files_is_found_out() -> None:
    """It is refused for every user, root too."""
    for folder in (Path("/proc"), Path("/proc/x")):
        with pytest.raises(RunFailedError, match=r"^cannot write into /proc"):
            check_writable(folder)


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_appears_whole_at_the_end(tmp_path: Path, before: bytes | None) -> None:
    """What is written in chunks stays in the part until the block ends."""
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)
    with atomic_file(path) as file:
        file.write(b"one ")
        file.write(b"two")
        file.flush()
        assert (tmp_path / "a.bin.part").read_bytes() == b"one two"
        assert (path.read_bytes() if path.exists() else None) == before
    assert path.read_bytes() == b"one two"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), ValueError("x"), KeyboardInterrupt()])
def test_a_failed_block_leaves_the_old_file_and_no_part(tmp_path: Path, failure: BaseException) -> None:
    """Whatever the failure is, it passes through."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(type(failure)):
        write_half()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def test_a_part_that_a_killed_writer_left_is_written_over(tmp_path: Path) -> None:
    """It is longer than the new file, and nothing of it stays."""
    (tmp_path / "a.txt.part").write_text("left by a killed writer", encoding="utf-8")
    write_text(tmp_path / "a.txt", "größer\n")
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs the names of open files")
def test_the_data_is_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the file is synced, under its part's name, then the folder."""
    synced: list[str] = []
    monkeypatch.setattr("os.fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    write_bytes(tmp_path / "a.bin", b"new")
    assert synced == [str(tmp_path / "a.bin.part"), str(tmp_path)]


def test_a_folder_that_cannot_be_synced_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows opens no folders; the file is there all the same."""

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refused)
    write_bytes(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A folder is missing, or a folder lies in the file's place."""
    with pytest.raises(RunFailedError, match=r"^cannot write .*a\.txt: No such file or directory\. The same command"):
        write_text(tmp_path / "missing" / "a.txt", "")
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(RunFailedError, match=r"^cannot write .*b\.txt: Is a directory\. The same command goes on"):
        write_text(tmp_path / "b.txt", "")
    assert [file.name for file in tmp_path.iterdir()] == ["b.txt"]


def test_of_several_files_the_one_that_fails_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not cut a result short."""
    write_files(tmp_path, {"a.txt": "old"})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFailedError, match=r"cannot write .*a\.txt: No space left on device$"):
        write_files(tmp_path, {"a.txt": "new"})
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
