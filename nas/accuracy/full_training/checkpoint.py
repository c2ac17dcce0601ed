"""Save and resume a full training; refuse another one's checkpoint.

A checkpoint holds the facts of its training beside the weights. One that is damaged or of another training is refused
and never overwritten, because it may hold days of work.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from pathlib import Path

import torch
from torch import nn

from nas.accuracy.full_training.state import FinalEpoch, FinalPlan, FinalTraining
from nas.accuracy.training.devices import resolve_device, resolve_precision
from nas.accuracy.training.sealed_file import DamagedFileError, read_sealed, write_sealed
from nas.accuracy.training.training_identity import data_identity
from nas.differences import replaced_values
from nas.errors import NasError
from nas.files import shown

# Raise this with every change after which the same recipe and seed train other weights.
LOOP_VERSION = 1

_KIND = "final training"
_ADVICE = "Give another folder, or remove this one to train anew"


def identity_of(network: nn.Module, plan: FinalPlan) -> str:
    """Every fact that the trained weights depend on, as JSON whose keys a user understands."""
    device = resolve_device(plan.recipe.device)
    teacher = plan.teacher
    facts = {
        "version": LOOP_VERSION,
        "network and first weights": _network_digest(network),
        "data": data_identity(plan.dataset),
        "recipe": plan.recipe.model_dump(mode="json", exclude={"device", "precision"}),
        "seed": plan.seed,
        "tuning": astuple(plan.tuning),
        "teacher": teacher and [teacher.name, teacher.temperature, teacher.alpha],
        "processes": plan.processes.count,
        "device": device.type,
        "precision": str(resolve_precision(plan.recipe.precision, device)),
        "torch": str(torch.__version__),
    }
    return json.dumps(facts, sort_keys=True)


def save_final(path: Path, state: FinalTraining, identity: str) -> None:
    """Write `state`, whole or not at all. Raises RunFailedError where it cannot be written."""
    content = {
        "identity": identity,
        "network": state.network.state_dict(),
        "average": None if state.average is None else state.average.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "scaler": state.scaler.state_dict(),
        "steps": state.steps,
        "history": [astuple(epoch) for epoch in state.history],
        "best": state.best,
        "best_epoch": state.best_epoch,
    }
    write_sealed(path, _KIND, content)


def load_final(path: Path, state: FinalTraining, identity: str) -> None:
    """Restore `state` from the checkpoint at `path`.

    Raises DamagedFileError for a damaged checkpoint, NasError for one of another training. The file stays as it is.
    """
    try:
        content = read_sealed(path, _KIND)
    except DamagedFileError as error:
        raise DamagedFileError(f"{error}, and is left as it is. {_ADVICE}.") from error
    differing = replaced_values(json.loads(content["identity"]), json.loads(identity))
    if differing:
        raise NasError(f"{shown(path)} is of another training: it differs in {', '.join(differing)}. {_ADVICE}.")
    state.network.load_state_dict(content["network"])
    if state.average is not None:
        state.average.network.load_state_dict(content["average"])
    state.optimiser.load_state_dict(content["optimiser"])
    state.scaler.load_state_dict(content["scaler"])
    state.steps, state.best, state.best_epoch = content["steps"], content["best"], content["best_epoch"]
    state.history[:] = [FinalEpoch(*figures) for figures in content["history"]]


def _network_digest(network: nn.Module) -> str:
    # The printed layers count, too: with other strides or activations, the same weights are another network.
    digest = hashlib.sha256(repr(network).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
