"""Progress is a bar on a terminal and plain lines elsewhere, on stderr alone; a quiet one shows nothing."""

from __future__ import annotations

import pytest

from nas import console
from nas.console import WorkProgress


def work(*, quiet: bool = False) -> None:
    with WorkProgress("images", quiet=quiet) as shown:
        for done in range(1, 4):
            shown.count(done, 3)
        shown.step(1, 2, "epoch 1/2: loss 0.5")
        shown.say("[kept] as it is")


def test_quick_work_is_not_counted_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal: steps and lines alone, as plain text on stderr."""
    work()
    assert tuple(capsys.readouterr()) == ("", "epoch 1/2: loss 0.5\n[kept] as it is\n")


def test_slow_work_is_counted_in_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count now and then, with the time left."""
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_LINES", 0.0)
    work()
    assert capsys.readouterr().err.splitlines()[:3] == [
        "1 of 3 images, about 0 s left",
        "2 of 3 images, about 0 s left",
        "3 of 3 images",
    ]


def test_quiet_work_shows_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither lines nor a bar."""
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes that for a terminal
    work(quiet=True)
    assert tuple(capsys.readouterr()) == ("", "")


def test_a_terminal_has_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is counted and what was last; counts leave no lines behind."""
    monkeypatch.setattr(console, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm-256color")
    work()
    shown = capsys.readouterr().err
    assert "images" in shown
    assert "epoch 1/2: loss 0.5" in shown
    assert " of 3 images" not in shown
    assert "[kept] as it is" in shown
