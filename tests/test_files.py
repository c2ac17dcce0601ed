"""Are shipped files found by name, and do they all load?"""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import NasError
from nas.files import find_file, folders, known_names, shown
from nas.latency.table import read_table
from nas.networks.space import read_space

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted(ROOT.glob("search_spaces/*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_loads(path: Path) -> None:
    """It is called as its file, and has members."""
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
