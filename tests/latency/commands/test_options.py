"""Tests of `nas.latency.commands.options`: impossible values are refused as bad usage, before anything is read."""

from __future__ import annotations

import argparse

import pytest

from nas.latency.__main__ import main
from nas.latency.commands.options import CONDITIONS, add_texts, stated_texts, table_name, whole_number
from nas.latency.table import TableFormat


@pytest.mark.parametrize("name", ["pixel_lut", "my-board.2", "7", "x" * 100])
def test_names_of_tables(name: str) -> None:
    assert table_name(name) == name


@pytest.mark.parametrize("name", ["", "../x", ".x", "a b", "x" * 101])
def test_what_is_no_name_of_a_table_is_refused(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a name"):
        table_name(name)


def test_whole_numbers_have_a_lower_limit() -> None:
    assert whole_number(0)("0") == 0
    assert whole_number(1)("12") == 12
    for text in ("0", "-1", "1.5", "", "x", "١"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be a whole number of at least 1, but got"):
            whole_number(1)(text)


def test_only_the_conditions_that_were_stated_are_returned() -> None:
    """Each of them is a key of a table's .yaml."""
    parser = argparse.ArgumentParser()
    add_texts(parser, CONDITIONS)
    arguments = parser.parse_args(["--runtime-version", "1.31", "--soc", ""])
    assert stated_texts(arguments, CONDITIONS) == {"runtime_version": "1.31", "soc": ""}
    assert CONDITIONS.keys() <= TableFormat.model_fields.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["measure", "--space", "mbv3", "--device", "../x"], "argument --device: must be a name"),
        (["measure", "--space", "mbv3", "--device", "x", "--cores", "-1"], "argument --cores: "),
        (["measure", "--space", "mbv3", "--device", "x", "--seed", "-1"], "argument --seed: "),
        (["import", "x.csv", "--name", "../x"], "argument --name: must be a name"),
        (["adapt", "pixel_lut", "--samples", "x.csv", "--name", "../x", "--out", "y"], "argument --name: must be a"),
        (["diff", "pixel_lut", "pixel_lut", "--count", "0"], "argument --count: must be a whole number of at least 1"),
    ],
)
def test_commands_refuse_impossible_values(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
