"""Save and resume a training; refuse another one's checkpoint.

A checkpoint holds a whole `TrainingState` (train.py): weights, optimiser, gradient scaler, the figures of each epoch
that is done, and the scores earned after some of them.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

from nas.accuracy.training.sealed_file import DamagedFileError, read_sealed, write_sealed
from nas.accuracy.training.train import Epoch, TrainingState
from nas.accuracy.training.training_identity import TrainingIdentity
from nas.errors import RunFailedError
from nas.files import shown

_KIND = "checkpoint"


class CheckpointError(RunFailedError):
    """A checkpoint that cannot be resumed from; the text says why."""


def save_checkpoint(path: Path, state: TrainingState, identity: TrainingIdentity) -> None:
    """Write `state`, whole or not at all; makes the folder where it is missing.

    Raises RunFailedError where it cannot be written.
    """
    content = {
        "training": identity.digest,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "scaler": state.scaler.state_dict(),
        "history": [astuple(epoch) for epoch in state.history],
        "partial_top1": state.partial_top1,
    }
    write_sealed(path, _KIND, content)


def load_checkpoint(path: Path, state: TrainingState, identity: TrainingIdentity) -> None:
    """Restore `state`, fresh from `begin_training`, from the checkpoint at `path`.

    Raises CheckpointError for a file that is damaged, unreadable or of another training. Do not use `state` then: it
    may be half restored.
    """
    try:
        content = read_sealed(path, _KIND)
        if content["training"] != identity.digest:
            raise CheckpointError(f"{shown(path)} is of another training")
        state.network.load_state_dict(content["network"])
        state.optimiser.load_state_dict(content["optimiser"])
        state.scaler.load_state_dict(content["scaler"])
        state.history[:] = [Epoch(*figures) for figures in content["history"]]
        state.partial_top1.update(content["partial_top1"])
    except DamagedFileError as error:
        raise CheckpointError(str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{shown(path)} does not fit: {reason}") from error
