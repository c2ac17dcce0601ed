"""A search that takes milliseconds: a small space, a table made up for it, and evaluators that answer at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nas.accuracy.evaluators.evaluator import Evaluation, Untrained
from nas.accuracy.score import SHORT, TOP1, Score
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.training_identity import TrainingIdentity
from nas.latency.energy import Power
from nas.latency.table import Citation, LatencyTable, Row, TableFormat, save_table
from nas.networks.architecture import Architecture
from nas.networks.operators import estimate_costs
from nas.networks.space.search_space import read_space
from nas.search.driver import search
from nas.search.experiment import resolve_experiment
from nas.search.prepare import Prepared, prepare
from nas.search.results.result import Outcome
from nas.search.run.directory import RunDirectory, claimed

SMALL_SPACE = """\
name: small
classes: 10
resolution: [32, 64]
stem: {op: conv, out: 8, kernel: 3, stride: 2, act: hswish}
stages:
  - {op: mbconv, out: 16, stride: 2, depth: [1, 2], kernel: [3, 5], expand: [2, 4], se: 0, act: relu}
  - {op: mbconv, out: 24, stride: 2, depth: [1, 2], kernel: [3, 5], expand: [2, 4], se: [0, 0.25], act: relu}
head:
  - {op: pool}
  - {op: linear, out: classes}
"""

# Blocks that are trained with branches, and with several numbers of them that are one block when deployed.
BRANCHED_SPACE = """\
name: branched
classes: 10
resolution: 32
per_block: [kernel, branches]
stem: {op: conv, out: 8, kernel: 3, stride: 2, act: relu}
stages:
  - {op: mobile_one, out: 16, stride: 2, depth: [1, 2], kernel: [1, 3], branches: [1, 2, 4], act: relu}
  - {op: rep_ghost, out: 24, stride: 2, depth: [1, 2], kernel: [3, 5], expand: 2, branches: [0, 1], act: relu}
head:
  - {op: pool}
  - {op: linear, out: classes}
"""


@dataclass
class FakeEvaluator(Untrained):
    """Scores a network by its size; keeps what it was asked, and fails where it is told to."""

    rung = SHORT
    metric = TOP1
    chance = 10.0

    fails: Callable[[int], bool] = lambda _: False
    interrupts_at: int | None = None
    asked: list[Architecture] = field(default_factory=list)

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        call = len(self.asked)
        if call == self.interrupts_at:
            raise KeyboardInterrupt
        self.asked.append(architecture)
        if self.fails(call):
            raise TrainingFailedError(f"loss became nan in call {call}")
        macs = estimate_costs(architecture).macs
        top1 = 100 * macs / (macs + 5e5)
        return Evaluation(Score(top1, budget, seed, 0.5, "fake", architecture.resolution, 100, 50))


class SteppingEvaluator(Untrained, ABC):
    """Can stop on the way: its checkpoint is the number of epochs that are done. What they come to is left open."""

    rung = SHORT
    metric = TOP1
    chance = 10.0

    @abstractmethod
    def train(self, architecture: Architecture, start: int, until: int, budget: int, seed: int) -> Evaluation:
        """From `start` epochs to `until`."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        return self.train(architecture, 0, budget, budget, seed)

    def advance(
        self, architecture: Architecture, budget: int, seed: int, *, until: int, checkpoint: Path
    ) -> Evaluation:
        start = int(checkpoint.read_text()) if checkpoint.exists() else 0
        evaluation = self.train(architecture, min(start, until), until, budget, seed)
        if start < until < budget:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.write_text(str(until))
        return evaluation

    def identity(self, architecture: Architecture, budget: int, seed: int) -> TrainingIdentity:
        return TrainingIdentity(architecture.fingerprint, {}, {}, budget, seed)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with two small spaces and a table `made_up` that has all of their units."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    rows = {}
    for name, text in (("branched", BRANCHED_SPACE), ("small", SMALL_SPACE)):
        path = tmp_path / "search_spaces" / f"{name}.yaml"
        path.write_text(text)
        rows |= {unit.key: Row(0.1 + unit.macs / 1e6, source="modelled") for unit in read_space(path).units()}
    save_table(LatencyTable("made_up", conditions(), rows), tmp_path / "latency_tables")
    # Another device, where what costs little is slow, and whose power is known.
    others = {key: Row(0.5 + row.latency_ms / 4, source="modelled") for key, row in rows.items()}
    powered = conditions().model_copy(update={"power": Power(active_w=2.0, source="made up")})
    save_table(LatencyTable("other", powered, others), tmp_path / "latency_tables")
    return tmp_path


@dataclass
class Searcher:
    """Runs searches of the small space in one run directory."""

    run: RunDirectory

    def prepared(self, evaluator: FakeEvaluator, **overrides: Any) -> Prepared:
        base = {"space": "small", "device": "made_up", "references": [], "trials": 8}
        base |= {"sampler": "nsga2", "population": 4}
        experiment = resolve_experiment(None, {**base, **{k.replace("__", "."): v for k, v in overrides.items()}})
        return replace(prepare(experiment), evaluator=evaluator)

    def __call__(self, evaluator: FakeEvaluator | None = None, **overrides: Any) -> Outcome:
        prepared = self.prepared(evaluator or FakeEvaluator(), **overrides)
        with claimed(self.run):
            return search(prepared, self.run)


@pytest.fixture
def searcher(workplace: Path) -> Searcher:
    return Searcher(RunDirectory(workplace / "runs" / "one"))


def conditions() -> TableFormat:
    """Conditions of a table that nobody measured."""
    citation = Citation(title="made up", url="none", licence="none", use="tests")
    return TableFormat(
        device="Made-up phone",
        soc="none",
        cores="one",
        threads="1",
        runtime="none",
        runtime_version="0",
        execution_provider="CPU",
        precision="float32",
        date="2026-01-01",
        protocol="made up",
        sources={"modelled": (citation,)},
    )
