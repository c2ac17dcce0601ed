"""YAML becomes checked settings, and every mistake in it a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from nas.config import Document, Settings, check, dotted, parse_document, parse_value, with_overrides
from nas.errors import ConfigError, NasError, nearest_first, unknown_name


class Inner(Settings):
    """A group."""

    epochs: int = Field(default=3, ge=1)
    rate: float = 0.1


class Outer(Settings):
    """Groups in a group and in a list."""

    name: str
    training: Inner = Inner()
    more: tuple[Inner, ...] = ()
    other: Inner | None = None


def said(text: str, overrides: dict[str, Any] | None = None) -> tuple[str, ...]:
    """The problems of a document."""
    with pytest.raises(ConfigError) as caught:
        check(Outer, with_overrides(parse_document(text, "x.yaml"), overrides or {}))
    return caught.value.problems


def problems_of(call: Callable[[], object]) -> tuple[str, ...]:
    """The problems that `call` reports, none where it works."""
    try:
        call()
    except ConfigError as error:
        return error.problems
    return ()


def test_a_good_document_gives_settings() -> None:
    """Defaults included, and frozen."""
    settings = check(Outer, parse_document("name: a\ntraining: {epochs: 5}\nmore: [{rate: 1}]", "x.yaml"))
    assert settings == Outer(name="a", training=Inner(epochs=5), more=(Inner(rate=1.0),))
    assert hash(settings) == hash(settings.model_copy())


def test_unknown_keys_at_every_level_name_the_nearest() -> None:
    """Unknown keys are found inside lists and optional groups too."""
    problems = said("name: a\ntraning: {}\ntraining:\n  epoch: 3\nmore:\n  - rate: 1\n  - rat: 1\nother: {epochz: 1}\n")
    assert problems == (
        "unknown key 'epoch'. Known, nearest first: epochs, rate (x.yaml:4, training.epoch)",
        "unknown key 'rat'. Known, nearest first: rate, epochs (x.yaml:7, more[1].rat)",
        "unknown key 'epochz'. Known, nearest first: epochs, rate (x.yaml:8, other.epochz)",
        "unknown key 'traning'. Known, nearest first: training, other, more, name (x.yaml:2, traning)",
    )


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3", "+1E-3"])
def test_a_number_is_one_with_and_without_a_point(text: str) -> None:
    """YAML 1.1 reads 1e-3 as a word; people mean a number by it, in a file and on the command line."""
    assert parse_value(text) == parse_document(f"rate: {text}", "a.yaml").data["rate"] == 0.001


@pytest.mark.parametrize("text", ["1e", "e3", "5M", "1e3x", "v1e3"])
def test_a_word_with_digits_stays_a_word(text: str) -> None:
    assert parse_value(text) == text


@pytest.mark.parametrize("text", ["2026-13-45", "9" * 5000, "[" * 3000, "{[1]: 2}", "[1"])
def test_what_is_no_value_is_an_error_of_yaml(text: str) -> None:
    """Whatever the parser trips over: a date that is none, a number without end, lists in lists in lists."""
    with pytest.raises(yaml.YAMLError):
        parse_value(text)


def test_a_group_that_the_command_line_made_stands_there() -> None:
    """Also where its name is mistyped; one that the file has stands in the file."""
    document = parse_document("more:\n  a: 1\n", "x.yaml")
    changed = with_overrides(document, {"trainng.epochs": 3, "more.b": 2})
    assert changed.place(("trainng",)) == "command line"
    assert changed.place(("more",)) == "x.yaml:1"
    assert changed.place(("more", "b")) == "command line"


def test_a_long_value_is_shortened() -> None:
    """A message is one line that can be read."""
    (problem,) = said("name: a\ntraining: {epochs: [" + "1, " * 500 + "1]}")
    assert len(problem) < 200


def test_overrides_replace_and_add() -> None:
    """Dotted keys; the document itself stays."""
    document = parse_document("name: a\ntraining: {epochs: 5, rate: 2}", "x.yaml")
    changed = with_overrides(document, {"training.epochs": 7, "other.rate": 1.5})
    assert check(Outer, changed) == Outer(name="a", training=Inner(epochs=7, rate=2), other=Inner(rate=1.5))
    assert check(Outer, document).training.epochs == 5


def test_overrides_are_named_as_the_place_of_their_mistakes() -> None:
    """Not the file that they replace a part of."""
    text = "name: a\ntraining: {epochs: 5}"
    assert said(text, {"training.epochs": 0}) == (
        "epochs must be greater than or equal to 1, but got 0 (command line, training.epochs)",
    )
    assert said(text, {"training.epohcs": 1}) == (
        "unknown key 'epohcs'. Known, nearest first: epochs, rate (command line, training.epohcs)",
    )
    assert said(text, {"name.first": 1}) == ("name is not a group of settings (command line, name.first)",)


def test_overrides_of_nothing_and_of_a_list() -> None:
    """An empty document is an empty group; a list cannot be changed by key."""
    assert check(Outer, with_overrides(parse_document("", "x.yaml"), {"name": "b"})) == Outer(name="b")
    assert said("- a", {"name": "b"}) == ("x.yaml must hold keys and values, but holds a list",)


keys = st.sampled_from(["name", "training", "more", "other", "epochs", "rate", "x", ""])
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.recursive(values, lambda x: st.lists(x, max_size=3) | st.dictionaries(keys, x, max_size=4), max_leaves=8))
def test_any_data_is_settings_or_problems(data: Any) -> None:
    """Any data gives settings or a ConfigError, each problem one line."""
    problems = problems_of(lambda: check(Outer, Document(data, "x.yaml")))
    assert all(problem and "\n" not in problem for problem in problems)


@given(st.text(max_size=60))
def test_any_text_is_a_document_or_a_problem(text: str) -> None:
    """Any YAML text is read or raises ConfigError."""
    assert all("\n" not in problem for problem in problems_of(lambda: parse_document(text, "x.yaml")))


@given(st.text(alphabet="ab: -[]{}&*<!|>\n\t#'\"?,%@0.~", max_size=40))
def test_any_yaml_like_text_is_a_document_or_a_problem(text: str) -> None:
    """The same with the letters that mean something in YAML."""
    assert all("\n" not in problem for problem in problems_of(lambda: parse_document(text, "x.yaml")))


def test_keys_are_written_as_in_the_messages() -> None:
    """stages[2].kernel."""
    assert dotted(("stages", 2, "kernel")) == "stages[2].kernel"
    assert dotted(()) == ""


def test_unknown_names_list_the_known_ones() -> None:
    """They are listed nearest first; without any, the message says so."""
    assert nearest_first("mbv2", ["alpha", "mbv3"]) == ["mbv3", "alpha"]
    assert unknown_name("space", "x", []) == "unknown space 'x'. No space is known."
    assert issubclass(ConfigError, NasError)
    assert ConfigError(["a", "b"]).exit_code == 2
