"""Tests of checking a command's options."""

from __future__ import annotations

import argparse
from typing import Literal

import pytest
from pydantic import Field, field_validator, model_validator

from nas.config import Settings
from nas.errors import ConfigError, NasError
from nas.options import Seed, checked_options, option_name, refuse_without_effect


class Options(Settings):
    """Settings with each kind of bound."""

    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=64, ge=2, le=65_536)
    learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    share: float = Field(default=0.5, gt=0, lt=1)
    percentile: float = Field(default=99.99, gt=50, le=100)
    resolution: int | None = Field(default=None, ge=8, json_schema_extra={"unit": "pixels"})
    method: Literal["fast", "exact"] = "fast"
    seed: Seed = 0


GIVEN_NOTHING = dict.fromkeys(Options.model_fields)


def namespace(**given: object) -> argparse.Namespace:
    return argparse.Namespace(**{**GIVEN_NOTHING, **given})


def test_options_that_were_not_given_have_their_defaults() -> None:
    """None stands for an option that is not on the command line; other attributes of the namespace do not matter."""
    assert checked_options(Options, namespace(epochs=5, command="finish")) == Options(epochs=5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1, but got 0"),
        ({"batch_size": 1}, "--batch-size must be a whole number from 2 to 65536, but got 1"),
        ({"learning_rate": 0.0}, "--learning-rate must be above 0 and finite, but got 0"),
        ({"learning_rate": float("inf")}, "--learning-rate must be above 0 and finite, but got inf"),
        ({"learning_rate": float("nan")}, "--learning-rate must be above 0 and finite, but got nan"),
        ({"share": 1.0}, "--share must be between 0 and 1, but got 1"),
        ({"share": float("nan")}, "--share must be between 0 and 1, but got nan"),
        ({"percentile": 20.0}, "--percentile must be above 50 and at most 100, but got 20"),
        ({"resolution": 4}, "--resolution must be at least 8 pixels, but got 4"),
        ({"method": "slow"}, "--method must be 'fast' or 'exact', but got 'slow'"),
        ({"seed": -1}, "--seed must be a whole number from 0 to 2147483647, but got -1"),
        ({"seed": 2**31}, "--seed must be a whole number from 0 to 2147483647, but got 2147483648"),
    ],
)
def test_a_wrong_option_is_named(given: dict[str, object], message: str) -> None:
    """With what it must be, and what came instead."""
    with pytest.raises(ConfigError) as caught:
        checked_options(Options, namespace(**given))
    assert caught.value.problems == (message,)


def test_every_wrong_option_has_a_line() -> None:
    """All are reported at once."""
    with pytest.raises(ConfigError) as caught:
        checked_options(Options, namespace(epochs=0, seed=-1))
    assert [line.split()[0] for line in caught.value.problems] == ["--epochs", "--seed"]


def test_settings_can_be_options_of_other_names() -> None:
    """Only those that are named are read: another setting may have the name of an option that is not its own."""
    arguments = argparse.Namespace(rate=0.0, epochs=2, share="a table")
    options = {"learning_rate": "--rate", "epochs": "--epochs"}
    with pytest.raises(ConfigError, match=r"^--rate must be above 0 and finite, but got 0$"):
        checked_options(Options, arguments, options=options)
    arguments.rate = 1.0
    assert checked_options(Options, arguments, options=options) == Options(learning_rate=1.0, epochs=2)


def test_what_validators_say_is_kept() -> None:
    """That of one setting follows its option's name; that of all settings stands alone."""

    class Checked(Settings):
        name: str = "a"
        most: int = 1

        @field_validator("name")
        @classmethod
        def _short(cls, name: str) -> str:
            if len(name) > 1:
                raise ValueError(f"must be one letter, but got {name!r}")
            return name

        @model_validator(mode="after")
        def _together(self) -> Checked:
            if self.most > len(self.name):
                raise ValueError("--most must not be above the length of --name")
            return self

    with pytest.raises(ConfigError, match=r"^--name must be one letter, but got 'ab'$"):
        checked_options(Checked, argparse.Namespace(name="ab", most=None))
    with pytest.raises(ConfigError, match=r"^--most must not be above the length of --name$"):
        checked_options(Checked, argparse.Namespace(name=None, most=2))


def test_options_without_effect_are_refused() -> None:
    """Those that were given are listed; where none was, all is well."""
    refuse_without_effect(namespace(), ("epochs", "batch_size"), "--data")
    with pytest.raises(NasError, match=r"^--epochs, --batch-size: only with --data$"):
        refuse_without_effect(namespace(epochs=1, batch_size=2, seed=3), ("epochs", "batch_size", "share"), "--data")


def test_an_option_is_called_as_it_is_typed() -> None:
    """With hyphens."""
    assert option_name("batch_size") == "--batch-size"
