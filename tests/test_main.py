"""`nas` offers the commands of all rooms."""

from __future__ import annotations

import re

import pytest

from nas import __version__
from nas.__main__ import COMMANDS, SUBCOMMANDS, main


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert "usage:" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)
    assert main([]) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_subcommands_that_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The list in `nas.__main__` is that of the command's own help."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    choices = re.search(r"\{([a-z,]+)\}\s+\.\.\.", capsys.readouterr().out)
    assert (tuple(choices[1].split(",")) if choices else ()) == SUBCOMMANDS.get(command, ())


def test_an_unknown_command_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serach"]) == 2
    assert "error: unknown command 'serach'. Known: search" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nas {__version__}\n"


def test_words_go_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["networks", "show", "mobilenet_v3_large"]) == 0
    assert "5,483,032" in capsys.readouterr().out
