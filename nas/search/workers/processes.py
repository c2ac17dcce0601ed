"""Workers that are processes of their own on this machine, each with its share of the processor's cores."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nas.accuracy.evaluators.evaluator import Evaluation, Evaluator
from nas.accuracy.score import Score
from nas.errors import NasError, RunFailedError
from nas.listener import Silent
from nas.search.scoring.job import Done, Job
from nas.search.workers.worker import run_job

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

# How often a job is run whose worker is killed: by a lack of memory, say, which another time may not strike it.
MOST_ATTEMPTS = 2
# What a worker says once its evaluator stands.
_READY = {"ready": True}
# What each library that computes reads its number of threads from, when it is loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Setup:
    """What a worker makes its evaluator from, as plain data: the experiment, and the folder of what it rests on."""

    experiment: Mapping[str, Any]
    folder: str
    threads: int = 1


class Processes:
    """Runs jobs in `slots` processes.

    A process that dies is replaced, and its job is run again; the second time the job has failed, with that reason.
    What is not the fault of one network ends the search with its message: an error of the evaluator's, a data set that
    is gone, a process that dies before its evaluator is ready.
    """

    def __init__(self, slots: int, setup: Setup) -> None:
        self._slots = slots
        self._setup = setup
        self._workers: list[_Worker] = []

    @property
    def slots(self) -> int:
        """How many processes there are."""
        return self._slots

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.connection.close()  # All at once: each ends when its pipe does.
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def submit(self, job: Job) -> None:
        """Send a job to a worker that has none; one is started where all have theirs."""
        for worker in [worker for worker in self._workers if worker.job is None and not worker.is_alive]:
            worker.end()
            self._workers.remove(worker)
        idle = next((worker for worker in self._workers if worker.job is None), None)
        if idle is None:
            assert len(self._workers) < self._slots, "more jobs than slots"
            idle = _Worker(self._setup)
            self._workers.append(idle)
        idle.run(job)

    def next_done(self) -> Done:
        """Wait for the first job to end."""
        while True:
            busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
            assert busy, "no job was submitted"
            for ready in connection.wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                answer = worker.answer()
                if answer is None:
                    done = self._replaced(worker)
                elif answer == _READY:
                    worker.is_ready, done = True, None
                else:
                    done = worker.done(answer)
                if done is not None:
                    return done

    def _replaced(self, worker: _Worker) -> Done | None:
        """Put a new process in the place of one that died, with its job; the job's failure where that is enough."""
        job, attempts, code = worker.job, worker.attempts, worker.end()
        assert job is not None
        self._workers.remove(worker)
        if not worker.is_ready:
            raise RunFailedError(
                f"a worker process ended with {_ended_by(code)} before its evaluator was ready; its output is above"
            )
        if attempts >= MOST_ATTEMPTS:
            return Done(job, None, f"its worker process ended {attempts} times, the last time with {_ended_by(code)}")
        replacement = _Worker(self._setup)
        self._workers.append(replacement)
        replacement.run(job, attempts + 1)
        return None


class _Worker:
    """A process, the pipe to it, and the job that it runs."""

    def __init__(self, setup: Setup) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.job: Job | None = None
        self.attempts = 0
        self.is_ready = False
        with _threads_for_children(setup.threads), _without_main_module(), _without_interrupts():
            self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, setup), daemon=True)
            self._process.start()
        theirs.close()

    def run(self, job: Job, attempts: int = 1) -> None:
        self.job, self.attempts = job, attempts
        with suppress(OSError):  # Where it has died, waiting for its result shows that.
            self.connection.send(job.to_json())

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def answer(self) -> dict[str, Any] | None:
        """What the process says next; None where it has died."""
        try:
            answer: dict[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            return None
        return answer

    def done(self, answer: Mapping[str, Any]) -> Done:
        """What came of the job. Raises RunFailedError for an error that is not the fault of one network."""
        assert self.job is not None
        job, self.job = self.job, None
        if "error" in answer:
            raise RunFailedError(f"a worker process cannot go on: {answer['error']}")
        return Done(job, _unpacked(answer), answer["failure"])

    def end(self) -> int | None:
        """End the process; returns its exit code."""
        self.connection.close()
        self._process.join(0.2)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        return self._process.exitcode


def _serve(pipe: Connection, setup: Setup) -> None:
    """A worker process: run the jobs that come through `pipe`, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business, which ends its workers.
    _set_interrupts(blocked=False)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    evaluators: dict[str, Evaluator] = {}
    while True:
        try:
            job = Job.from_json(pipe.recv())
        except (EOFError, OSError):
            return
        try:
            if job.evaluator not in evaluators:
                evaluators[job.evaluator] = _evaluator(job.evaluator, setup)
                pipe.send(_READY)
            answer = _packed(run_job(evaluators[job.evaluator], job))
        except NasError as error:
            answer = {"error": str(error)}
        except Exception as error:  # Said where a person sees it: the driver's process.
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            pipe.send(answer)
        except OSError:
            return
        except Exception as error:  # Whatever pickling raises, before anything is sent.
            pipe.send({"error": f"a result that cannot be sent to another process: {error}"})


def _evaluator(name: str, setup: Setup) -> Evaluator:
    import torch

    from nas.accuracy.evaluators.registry import build_evaluator
    from nas.search.experiment import Experiment
    from nas.search.prepare import task_of

    torch.set_num_threads(setup.threads)
    evaluator = build_evaluator(name, task_of(Experiment(**setup.experiment)))
    evaluator.begin(Path(setup.folder), Silent())
    return evaluator


def _packed(done: Done) -> dict[str, Any]:
    """A result as plain data; weights are the bytes that torch writes."""
    if done.evaluation is None:
        return {"failure": done.failure, "score": None}
    import torch

    evaluation, weights = done.evaluation, None
    if evaluation.weights is not None:
        wrong = [name for name, weight in evaluation.weights.items() if not isinstance(weight, torch.Tensor)]
        if wrong:
            raise NasError(f"the weights of a network must be tensors, but {', '.join(wrong[:3])} are none")
        buffer = io.BytesIO()
        torch.save(dict(evaluation.weights), buffer)
        weights = buffer.getvalue()
    return {"failure": "", "score": evaluation.score.to_json(), "weights": weights, "note": evaluation.note}


def _unpacked(answer: Mapping[str, Any]) -> Evaluation | None:
    """The inverse of `_packed`."""
    if answer["score"] is None:
        return None
    weights = None
    if answer["weights"] is not None:
        import torch

        weights = torch.load(io.BytesIO(answer["weights"]), map_location="cpu", weights_only=True)
    return Evaluation(Score.from_json(answer["score"]), weights, answer["note"])


def _end_with_parent() -> None:
    """End this process at once when the driver's has ended: nobody is left to take the result."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _threads_for_children(threads: int) -> Iterator[None]:
    """Processes that are started inside read this number of threads when they load what computes."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started inside are not interrupted by Ctrl-C before they ignore it."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # The first process would start it, and starting it unblocks interrupts.
    _set_interrupts(blocked=True)
    try:
        yield
    finally:
        _set_interrupts(blocked=False)


def _set_interrupts(*, blocked: bool) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK if blocked else signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Processes that are started inside do not run the driver's script again, which would begin the search anew."""
    main = sys.modules["__main__"]
    before = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    main.__file__, main.__spec__ = None, None
    try:
        yield
    finally:
        for name in ("__file__", "__spec__"):
            if name in before:
                setattr(main, name, before[name])
            else:
                delattr(main, name)


def _ended_by(code: int | None) -> str:
    if code is not None and code < 0:
        known = -code in set(signal.Signals)  # real-time signals have no names
        return f"signal {signal.Signals(-code).name if known else -code}"
    return f"exit code {code}"
