"""Tests of `nas.console`: progress that a person sees."""

from __future__ import annotations

import pytest

from nas.console import progress_bar


def test_without_a_terminal_progress_is_a_plain_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed on stdout, which is for results."""
    with progress_bar("exporting models") as update:
        for done in range(1, 4):
            update(done, 3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "exporting models: 3 of 3\n"


def test_plain_lines_tell_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("exporting models", seconds_between_lines=0) as update:
        update(0, 2)
        update(1, 2)
        update(2, 2)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "exporting models: 1 of 2, about 0 s left"
    assert last == "exporting models: 2 of 2"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("exporting models") as update:
        update(1, 2)
        update(2, 2)
    text = capsys.readouterr().err
    assert "exporting models" in text
    assert "2/2" in text
    assert "2 of 2" not in text


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_is_shown_when_quiet_or_when_nothing_is_done(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("exporting models", quiet=quiet) as update:
        if quiet:
            update(2, 2)
    assert capsys.readouterr().err == ""
