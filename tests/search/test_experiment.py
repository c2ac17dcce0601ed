"""An experiment is checked before anything is done, and the shipped ones are as their README says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas.config import load_document
from nas.differences import differences
from nas.errors import ConfigError
from nas.files import find_file, folders
from nas.search.experiment import CHANGEABLE, Experiment, resolve_experiment

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


@pytest.mark.parametrize(
    "overrides",
    [
        {"limits.latency_ms": 30, "budgets_ms": [20, 30.5], "training.epochs": 7},
        {
            "objectives": "top1, latency_ms,latency_ms@board",
            "limits.fps@board": 5,
            "devices": ["tables/other.yaml"],
            "budgets": {"latency_ms@board": [3, 4]},
        },
    ],
)
def test_a_resolved_experiment_reads_back_equal(overrides: dict[str, object]) -> None:
    experiment = resolve_experiment(None, overrides)
    assert Experiment.model_validate(yaml.safe_load(yaml.safe_dump(experiment.model_dump(mode="json")))) == experiment


@given(st.integers(1, 50), st.integers(0, 9), st.integers(1, 50), st.integers(0, 9))
def test_differences_name_what_one_run_may_not_change(trials: int, seed: int, other_trials: int, other: int) -> None:
    before = Experiment(trials=trials, seed=seed).model_dump(mode="json")
    after = Experiment(trials=other_trials, seed=other).model_dump(mode="json")
    lines = differences(before, after, may_change=CHANGEABLE)
    assert lines == ([] if seed == other else [f"seed was {seed} and is now {other}"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"objectives": ["top1", "latncy"]}, "unknown name 'latncy'. Known, nearest first: latency_ms"),
        ({"objectives": ["top1"]}, "objectives must be top1 or score and at least one"),
        ({"objectives": ["params", "macs"]}, "objectives must be top1 or score and at least one"),
        ({"objectives": "top1,macs,macs"}, "named once each"),
        ({"objectives": "top1,latency_ms@pixel_lut"}, "pixel_lut is the main device"),
        ({"devices": ["a/b.yaml", "b"]}, "devices must differ in name, but b stands twice"),
        ({"limits.latncy_ms": 3}, "unknown name 'latncy_ms'. Known, nearest first: latency_ms"),
        ({"limits.top1": 90}, "top1 is known only after training"),
        ({"limits.latency_ms@board": -1}, "must be greater than 0, but got -1 (command line, limits.latency_ms@board)"),
        ({"budgets": {"params": "5M"}}, "budgets are of objectives, but params is none of top1, latency_ms"),
        ({"budgets_ms": [[1, 2]]}, "budgets_ms[0] must be a number, but got [1, 2]"),
        ({"budgets": {"latency_ms": [[1]]}}, "latency_ms[0] must be a number, but got [1]"),
        ({"limits.params": 10**400}, "params must be less than or equal to"),
        ({"limits.params": "5MB"}, "params must be a number such as 300000, 5M or 1.2G, but got '5MB'"),
        ({"trials": 10**400}, "trials must be less than or equal to"),
        ({"minutes": math.inf}, "minutes must be a finite number, but got inf"),
        ({"minutes": math.nan}, "minutes must be "),
        ({"repeats": 1}, "repeats must be 0 or at least 2"),
        ({"trainng.epochs": 3}, "(command line, trainng)"),
        ({"objectives": "top1,params", "budgets_ms": 20}, "budgets are of objectives, but latency_ms is none of"),
    ],
)
def test_objectives_and_limits_that_make_no_sense_are_refused(overrides: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve_experiment(None, overrides)
    assert said in str(error.value)


def test_tables_come_from_all_that_names_them() -> None:
    """A path is found by its file's name; each table stands once."""
    experiment = resolve_experiment(
        None,
        {
            "devices": ["here/board.yaml", "phone"],
            "objectives": "top1,latency_ms@board,latency_ms@cpu",
            "limits.fps@phone": 3,
        },
    )
    assert experiment.further_devices == ("here/board.yaml", "phone", "cpu")


def test_a_repeated_budget_counts_once() -> None:
    assert resolve_experiment(None, {"budgets_ms": [30, 20, 30.0]}).budgets_ms == (30.0, 20.0)


def test_budgets_of_latency_may_stand_in_either_place() -> None:
    experiment = resolve_experiment(
        None,
        {"objectives": "top1,latency_ms,params", "budgets_ms": 20, "budgets": {"latency_ms": [30, 20], "params": "5M"}},
    )
    assert experiment.all_budgets() == {"latency_ms": (20.0, 30.0), "params": (5_000_000,)}
