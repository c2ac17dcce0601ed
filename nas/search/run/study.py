"""Study: allots the numbers of a run's trials, keeps those that have ended, and shows the sampler what it may see.

The sampler works on an Optuna study in memory. Each trial is written to the persistent storage once, whole, when it has
ended. So suggesting fifty parameters costs no disk access (one by one they cost 0.15 s a trial in a journal file), a
killed process leaves no trial RUNNING for ever, and Optuna's own tools can read the storage all the same.

A number is allotted when a trial is asked for, and several trials may be in flight. They are kept in the order in which
they end, each under its own number. The sampler is told of them when the search says so: what it draws is then decided
by the order of asking, not by which training happened to end first. After a kill, numbers that were in flight are asked
for again, and those behind them that had ended are taken from the storage.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.errors import NasError
from nas.search.quantities import quantity_of
from nas.search.trial import PARTIAL, PREDICTED, TRAINED, Trial

RECORD = "record"
_METRIC_NAMES = "study:metric_names"  # ours, for Optuna Dashboard; not the sampler's


class Study:
    """An Optuna study in memory, and the storage that every ended trial goes to.

    A trial is asked for (`ask`), kept when it has ended (`keep`), and shown to the sampler (`settle`). Up to `slots` of
    them are in flight. So the last `slots` - 1 trained trials of a study that is gone on with are asked for again:
    when the next one is drawn, they are in flight.

    Of a number that was allotted, `_trials` has the trial once it has ended, `_flying` Optuna's until it is settled.
    `_ahead` has the records of trials that have ended and are yet to be asked for again.
    """

    def __init__(
        self, kept: optuna.Study, storage: BaseStorage, place: str, objectives: Sequence[str], slots: int = 1
    ) -> None:
        self._kept = kept
        self._storage = storage
        self._place = place
        self._objectives = tuple(objectives)
        self._memory = InMemoryStorage()
        self.optuna = optuna.create_study(storage=self._memory, directions=directions(objectives))
        for key, value in self._state_in(storage, kept).items():
            self._memory.set_study_system_attr(self._id_in(self._memory, self.optuna), key, value)
        self._trials: dict[int, Trial] = {}
        self._flying: dict[int, optuna.Trial] = {}
        self._ahead: dict[int, FrozenTrial] = {}
        # What the sampler noted about the study while it drew each trial in flight (NSGA-II: a generation's parents).
        self._noted: dict[int, dict[str, Any]] = {}
        for frozen in kept.get_trials(deepcopy=False):
            if frozen.state.is_finished():
                trial = self._record(frozen)
                self._trials.setdefault(trial.number, trial)
                self._ahead.setdefault(trial.number, frozen)
        for number in range(self._first_to_ask_for(slots)):
            self.optuna.add_trial(self._ahead.pop(number))

    def _first_to_ask_for(self, slots: int) -> int:
        """The first number that was in flight when the search was stopped, or would be when the next one is drawn."""
        gap = next(number for number in itertools.count() if number not in self._trials)
        trained = [number for number in range(gap) if self._trials[number].status in TRAINED]
        flying = trained[-(slots - 1) :] if slots > 1 else []
        return flying[0] if flying else gap

    @property
    def next_number(self) -> int:
        """The number that is allotted next."""
        return len(self.optuna.get_trials(deepcopy=False))

    def trials(self) -> tuple[Trial, ...]:
        """Every trial that has ended, in the order of their numbers."""
        return tuple(self._trials[number] for number in sorted(self._trials))

    def settled(self) -> tuple[Trial, ...]:
        """The trials that the sampler sees, in the order of their numbers."""
        numbers = range(self.next_number)
        return tuple(self._trials[n] for n in numbers if n in self._trials and n not in self._flying)

    def ended(self, number: int) -> Trial | None:
        """What became of trial `number`; None where it has not ended. It may be yet to be asked for again."""
        return self._trials.get(number)

    def refused_last(self) -> tuple[Trial, ...]:
        """The draws that were turned down since the last trial that was trained or is in flight, in order."""
        refused: list[Trial] = []
        for number in reversed(range(self.next_number)):
            trial = self._trials.get(number)
            if trial is None or number in self._flying or trial.status not in ("infeasible", "duplicate"):
                break
            refused.append(trial)
        return tuple(reversed(refused))

    def ask(self, sampler: BaseSampler, planned: Mapping[str, Any] | None = None) -> optuna.Trial:
        """The next trial, in flight from now on. What is `planned`, by parameter, is not drawn.

        A trial that had ended before has the parameters that it had, and what its sampler noted of it.
        """
        number = self.next_number
        record = self._ahead.get(number)
        if record is not None:
            attributes = {**record.system_attrs, "fixed_params": dict(record.params)}
            self.optuna.add_trial(create_trial(state=TrialState.WAITING, system_attrs=attributes))
        elif planned is not None:
            self.optuna.enqueue_trial(dict(planned))
        self.optuna.sampler = sampler
        before = self._state_in(self._memory, self.optuna)
        trial = self.optuna.ask()
        self._flying[number] = trial
        # The sampler thinks here. NSGA-II counts a planned network to its generation by this, too, which it forgets
        # where nothing is left to sample.
        _ = trial.relative_params
        after = self._state_in(self._memory, self.optuna)
        self._noted[number] = {key: value for key, value in after.items() if before.get(key) != value}
        return trial

    def has_record(self) -> bool:
        """Whether the next trial had ended before the search was stopped, so that its parameters are known."""
        return self.next_number in self._ahead

    def predicted(self, number: int) -> tuple[float, float] | None:
        """Mean and standard deviation of the score that the sampler expects of a trial, where it has a model."""
        if number in self._trials:
            return self._trials[number].predicted
        foretold = self._memory.get_trial(self._flying[number]._trial_id).system_attrs.get(PREDICTED)
        return (foretold["mean"], foretold["std"]) if foretold else None

    def keep(self, trial: Trial) -> None:
        """Write a trial that has ended to the storage. One that is kept already stays as it is."""
        if trial.number in self._trials:
            return
        asked = self._flying[trial.number]
        asked.set_user_attr("status", trial.status)
        asked.set_user_attr("reason", trial.reason)
        asked.set_user_attr(RECORD, trial.to_json())
        score = trial.network.score
        if trial.status == "stopped" and score is not None:
            # For samplers: the value so far, and the part of the whole training that it was earned with.
            asked.set_user_attr(PARTIAL, {"value": score.value, "budget": score.budget_share})
        frozen = copy.copy(self._memory.get_trial(asked._trial_id))
        frozen.state, frozen.values = self._outcome(trial)
        frozen.datetime_complete = datetime.now()
        with explained(self._place):
            # Not what a later trial in flight has noted: this one, asked for again, would draw otherwise.
            for key, value in self._noted.pop(trial.number, {}).items():
                self._storage.set_study_system_attr(self._id_in(self._storage, self._kept), key, value)
            self._kept.add_trial(frozen)
        self._trials[trial.number] = trial

    def settle(self, number: int) -> None:
        """Show a trial that is kept to the sampler."""
        trial = self._trials[number]
        asked = self._flying.pop(number)
        before = self._ahead.pop(number, None)
        if before is not None:
            for key, value in before.user_attrs.items():
                asked.set_user_attr(key, value)
        state, values = self._outcome(trial)
        if state == TrialState.COMPLETE:
            self.optuna.tell(asked, values)
        else:
            self.optuna.tell(asked, state=state)

    def _outcome(self, trial: Trial) -> tuple[TrialState, list[float] | None]:
        if trial.status == "complete":
            return TrialState.COMPLETE, [trial.network.value(name) for name in self._objectives]
        return (TrialState.FAIL if trial.status == "failed" else TrialState.PRUNED), None

    def _state_in(self, storage: BaseStorage, study: optuna.Study) -> dict[str, Any]:
        attributes = storage.get_study_system_attrs(self._id_in(storage, study))
        return {key: value for key, value in attributes.items() if key != _METRIC_NAMES}

    @staticmethod
    def _id_in(storage: BaseStorage, study: optuna.Study) -> int:
        return storage.get_study_id_from_name(study.study_name)

    def _record(self, frozen: FrozenTrial) -> Trial:
        record = frozen.user_attrs.get(RECORD)
        if record is None:
            raise NasError(
                f"trial {frozen.number} in {self._place} was not written by this program. Give the search a storage "
                "of its own."
            )
        try:
            return Trial.from_json(record)
        except (AttributeError, KeyError, TypeError, ValueError, NasError) as error:
            raise NasError(
                f"trial {frozen.number} in {self._place} must be a record that this program wrote, but has another "
                f"shape ({type(error).__name__}: {error}). Restore it, or start anew with --run."
            ) from error


def directions(objectives: Sequence[str]) -> list[StudyDirection]:
    """Which way is better, for each objective."""
    return [
        StudyDirection.MAXIMIZE if quantity_of(name).larger_is_better else StudyDirection.MINIMIZE
        for name in objectives
    ]


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Whatever a storage's driver raises becomes one line."""
    try:
        yield
    except NasError:
        raise
    except Exception as error:  # Each database's driver raises errors of its own.
        first = (str(error).splitlines() or [""])[0]
        raise NasError(f"cannot use the storage {place}: {type(error).__name__}: {first}") from error
