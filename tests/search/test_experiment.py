"""An experiment is checked before anything is done, and the shipped ones are as their README says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas.config import load_document
from nas.errors import ConfigError
from nas.files import find_file, folders
from nas.search.experiment import Experiment, differences, resolve_experiment

SHIPPED = sorted(folders("experiments")[-1].glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_experiment_is_valid_and_listed(path: Path) -> None:
    experiment = resolve_experiment(load_document(path), {})
    assert find_file("search_spaces", experiment.space)
    assert find_file("latency_tables", experiment.device)
    assert f"`{path.name}`" in (path.parent / "README.md").read_text()


def test_quickstart_is_the_main_command() -> None:
    assert resolve_experiment(load_document(find_file("experiments", "quickstart")), {}) == Experiment()


def test_the_readme_has_every_key_and_its_default() -> None:
    text = (SHIPPED[0].parent / "README.md").read_text()
    for name, field in Experiment.model_fields.items():
        if name not in ("limits", "proxy", "training"):
            assert f"| `{name}` |" in text, name
        if isinstance(field.default, (int, str)):
            row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
            assert str(field.default) in row, name
    for group in ("limits", "proxy"):
        for key, value in getattr(Experiment(), group):
            row = next(line for line in text.splitlines() if line.startswith(f"| `{group}.{key}` |"))
            assert ("none" if value is None else str(value)) in row
    training = next(line for line in text.splitlines() if line.startswith("| `training.*` |"))
    for key, _ in Experiment().training:
        assert f"`{key}`" in training or f"training.{key}`" in text, key


@pytest.mark.parametrize(
    ("text", "value"), [("5M", 5_000_000), ("2.5k", 2_500), ("1G", 10**9), ("5e6", 5_000_000), (7, 7)]
)
def test_sizes_are_read_with_their_letter(text: str | int, value: int) -> None:
    assert resolve_experiment(None, {"limits.params": text}).limits.params == value


@pytest.mark.parametrize("text", ["5 apples", "M", "-3M", "0", 0, "1.5", True])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ConfigError, match=r"limits\.params"):
        resolve_experiment(None, {"limits.params": text})


def test_a_resolved_experiment_reads_back_equal() -> None:
    experiment = resolve_experiment(None, {"limits.latency_ms": 30, "budgets_ms": [20, 30.5], "training.epochs": 7})
    assert Experiment.model_validate(yaml.safe_load(yaml.safe_dump(experiment.model_dump(mode="json")))) == experiment


@given(st.integers(1, 50), st.integers(0, 9), st.integers(1, 50), st.integers(0, 9))
def test_differences_name_what_one_run_may_not_change(trials: int, seed: int, other_trials: int, other: int) -> None:
    before = Experiment(trials=trials, seed=seed).model_dump(mode="json")
    after = Experiment(trials=other_trials, seed=other).model_dump(mode="json")
    found = differences(before, after)
    assert found == ([] if seed == other else [f"seed was {seed} and is now {other}"])
