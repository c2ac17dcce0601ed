"""Failed trainings raise TrainingFailedError; programming errors pass through."""

from __future__ import annotations

import math

import pytest
import torch

from nas.accuracy.training.failures import TrainingFailedError, check_losses, memory_as_failure


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_failed_training(value: float) -> None:
    """NaN and infinity count wherever they are; the message has epoch, rate and advice. A large loss is no failure."""
    rest = {"epoch": 2, "epochs": 5, "learning_rate": 0.25, "advice": "lower it"}
    check_losses([torch.tensor(1e30), torch.tensor(0.0)], **rest)  # type: ignore[arg-type]
    with pytest.raises(TrainingFailedError, match=rf"loss became {value} in epoch 2 of 5 at .* 0\.25; lower it"):
        check_losses([torch.tensor(1.0), torch.tensor(value)], **rest)  # type: ignore[arg-type]


def test_the_allocators_own_error_is_known() -> None:
    """The error that this version of torch raises for too much memory is recognised."""
    with (
        pytest.raises(TrainingFailedError, match=r"^out of memory while training this; take less$"),
        memory_as_failure("this", "take less"),
    ):
        torch.empty(2**50)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("x"), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException) -> None:
    """A programming error is not a failed training."""
    with pytest.raises(type(error)), memory_as_failure("this", "take less"):
        raise error
