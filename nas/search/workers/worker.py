"""Workers run jobs. The driver decides which jobs there are and what their results mean; a worker only runs one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from nas.accuracy.evaluators.evaluator import Evaluation, Evaluator, Resumable
from nas.accuracy.training.failures import TrainingFailedError
from nas.search.scoring.job import Done, Job


class Workers(Protocol):
    """Runs jobs, `slots` of them at a time."""

    @property
    def slots(self) -> int:
        """How many jobs run at a time."""
        ...

    def __enter__(self) -> Self:
        """Start."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still runs, and give everything back."""
        ...

    def submit(self, job: Job) -> None:
        """Have a job run. The caller submits no more than there are slots."""
        ...

    def next_done(self) -> Done:
        """Wait for a job that was submitted, and give its result. Raises what is not the fault of one network."""
        ...


def run_job(evaluator: Evaluator, job: Job) -> Done:
    """Run one job. An architecture that cannot be scored is a result, too: its reason."""
    try:
        return Done(job, _evaluation(evaluator, job))
    except TrainingFailedError as error:
        return Done(job, None, str(error))
    except RuntimeError as error:  # whatever torch raises for one network alone
        return Done(job, None, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def _evaluation(evaluator: Evaluator, job: Job) -> Evaluation:
    if job.checkpoint and isinstance(evaluator, Resumable):
        return evaluator.advance(
            job.architecture, job.budget, job.seed, until=job.until, checkpoint=Path(job.checkpoint)
        )
    return evaluator.evaluate(job.architecture, job.budget, job.seed)


class InThisProcess:
    """Runs each job when its result is asked for, one at a time."""

    slots = 1

    def __init__(self, evaluator_called: Callable[[str], Evaluator]) -> None:
        self._evaluator_called = evaluator_called
        self._jobs: deque[Job] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.clear()

    def submit(self, job: Job) -> None:
        """Have a job run, once its result is asked for."""
        self._jobs.append(job)

    def next_done(self) -> Done:
        """Run the job that was submitted first."""
        job = self._jobs.popleft()
        return run_job(self._evaluator_called(job.evaluator), job)
