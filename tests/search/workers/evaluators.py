"""Evaluators that know nothing of the search but the public protocols; a worker process finds them by their path."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path

import torch

from nas.accuracy.evaluators.evaluator import Evaluation, Untrained
from nas.accuracy.evaluators.registry import Task
from nas.accuracy.score import Score
from nas.accuracy.training.failures import TrainingFailedError
from nas.accuracy.training.training_identity import TrainingIdentity
from nas.listener import Listener
from nas.networks.architecture import Architecture
from nas.networks.operators import estimate_costs

MACS = "tests.search.workers.evaluators:macs"
UNSTEADY = "tests.search.workers.evaluators:unsteady"
DEADLY = "tests.search.workers.evaluators:deadly"
BROKEN = "tests.search.workers.evaluators:broken"


@dataclass(frozen=True, eq=False)
class Macs(Untrained):
    """The more multiply-accumulates, the better: a score that is no percentage and takes no epochs."""

    task: Task

    rung = "macs"

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        value = estimate_costs(architecture).macs / 1e3
        score = Score(value, 0, seed, 0.0, self.task.dataset.name, architecture.resolution, 0, 0, None, "score", "macs")
        return Evaluation(score, {"w": torch.full((2,), value)})

    def identity(self, architecture: Architecture, budget: int, seed: int) -> TrainingIdentity:
        return TrainingIdentity(architecture.fingerprint, {}, {"evaluator": "macs"}, budget, seed)


class Unsteady(Macs):
    """Takes longer for some networks than for others, and fails for some: jobs end in another order than they began."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        draw = int(architecture.fingerprint, 16)
        time.sleep(0.05 * (draw % 4))
        if draw % 5 == 0:
            raise TrainingFailedError("loss became nan")
        return super().evaluate(architecture, budget, seed)


class Deadly(Macs):
    """Its process is killed for the larger networks; for others only the first time."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        first = Path(f"killed_{architecture.fingerprint}")
        if architecture.resolution == 64 or not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluate(architecture, budget, seed)


class Broken(Macs):
    """Raises what is not the fault of one network."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        raise KeyError("images")


class NotReady(Macs):
    """Ends the worker's process while it makes ready; the driver's own is left alone."""

    def begin(self, folder: Path, listener: Listener) -> None:
        if parent_process() is not None:
            os._exit(3)


class Unsendable(Macs):
    """Gives what cannot be pickled."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        return replace(super().evaluate(architecture, budget, seed), note=lambda: "note")  # type: ignore[arg-type]


class NoTensors(Macs):
    """Gives weights that are none."""

    def evaluate(self, architecture: Architecture, budget: int, seed: int) -> Evaluation:
        return replace(super().evaluate(architecture, budget, seed), weights={"w": 3.0})  # type: ignore[dict-item]


def not_ready(task: Task) -> NotReady:
    return NotReady(task)


def unsendable(task: Task) -> Unsendable:
    return Unsendable(task)


def no_tensors(task: Task) -> NoTensors:
    return NoTensors(task)


def macs(task: Task) -> Macs:
    return Macs(task)


def unsteady(task: Task) -> Unsteady:
    return Unsteady(task)


def deadly(task: Task) -> Deadly:
    return Deadly(task)


def broken(task: Task) -> Broken:
    return Broken(task)
