"""Evaluators are found by name, and every one of them keeps the contract."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from nas.accuracy.data.load import load_dataset
from nas.accuracy.evaluators.evaluator import Evaluator, Identified
from nas.accuracy.evaluators.registry import Task, build_evaluator, check_evaluator, evaluator_names
from nas.accuracy.evaluators.short_training import ShortTraining
from nas.accuracy.training.settings import TrainingSettings
from nas.errors import NasError
from nas.listener import Silent
from nas.networks.proxy import ProxySettings
from nas.networks.space.search_space import SearchSpace, load_space
from tests.search.workers.evaluators import MACS, Macs


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("mbv3")


@pytest.fixture(scope="module")
def task(space: SearchSpace) -> Task:
    dataset = load_dataset("digits", image_size=8, max_images=60)
    return Task(space, dataset, TrainingSettings(device="cpu"), ProxySettings(resolution=8, max_stride=8))


@pytest.mark.parametrize("name", [*evaluator_names(), MACS])
def test_every_evaluator_keeps_the_contract(name: str, task: Task, tmp_path: Path) -> None:
    """The same call gives the same score, which says how it was earned; what it depends on is the same, too."""
    evaluator: Evaluator = build_evaluator(name, task)
    evaluator.begin(tmp_path / "evaluator", Silent())
    architecture = task.space.decode(task.space.smallest_parameters())
    first, second = (evaluator.evaluate(architecture, 1, 0).score for _ in range(2))
    assert (first.value, first.rung, first.metric) == (second.value, evaluator.rung, evaluator.metric)
    assert first.seed == 0
    assert first.budget is None
    assert first.comparable(second)
    assert evaluator.chance <= 100 if evaluator.metric == "top1" else evaluator.chance < first.value
    assert evaluator.describe(1)
    assert evaluator.proxy_of(architecture) == evaluator.proxy_of(architecture)
    if isinstance(evaluator, Identified):
        digests = {evaluator.identity(architecture, epochs, seed).digest for epochs in (1, 2) for seed in (0, 1)}
        assert len(digests) == 4


def test_names_and_paths_of_functions_are_found(task: Task) -> None:
    assert isinstance(build_evaluator("short", task), ShortTraining)
    assert isinstance(build_evaluator(MACS, task), Macs)


def test_other_packages_offer_evaluators(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """As entry points; a name of ours stays ours."""
    group = "nas.evaluators"
    offered = metadata.EntryPoints(metadata.EntryPoint(name, MACS, group) for name in ("theirs", "short"))
    monkeypatch.setattr(metadata, "entry_points", lambda group: offered.select(group=group))
    assert evaluator_names() == ("short", "theirs")
    assert isinstance(build_evaluator("theirs", task), Macs)
    assert isinstance(build_evaluator("short", task), ShortTraining)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shrot", r"unknown evaluator 'shrot'\. Known: short"),
        ("no_such_module:function", "No module named 'no_such_module'"),
        ("tests.search.workers.evaluators:nothing", "has no attribute 'nothing'"),
    ],
)
def test_what_cannot_be_found_is_refused(name: str, said: str, task: Task) -> None:
    with pytest.raises(NasError, match=said):
        build_evaluator(name, task)


@pytest.mark.parametrize("name", ["shrot", "a b:c", "module:", ":function"])
def test_an_experiment_names_an_evaluator_or_a_function(name: str) -> None:
    """Before anything is imported."""
    with pytest.raises(ValueError, match="unknown evaluator"):
        check_evaluator(name)
