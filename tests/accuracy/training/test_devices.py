"""Devices and number formats are those of the settings, or refused where the machine lacks them."""

from __future__ import annotations

import pytest
import torch

from nas.accuracy.training.devices import placed, resolve_device, resolve_precision
from nas.errors import NasError


def test_precision_follows_the_device() -> None:
    """A CPU has no float16, and bfloat16 by itself only with AMX."""
    cpu = torch.device("cpu")
    amx = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    assert resolve_precision("auto", cpu) == (torch.bfloat16 if amx else torch.float32)
    with pytest.raises(NasError, match="float16 needs a CUDA device"):
        resolve_precision("float16", cpu)


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is named must exist; auto takes one that does."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(NasError, match=r"^device is cuda, but torch sees no CUDA device here\. Choices: auto, cpu"):
        resolve_device("cuda")


def test_images_are_placed_as_they_are_gathered_from() -> None:
    """Images end in channels-last memory with the same pixels; those that are there already are not copied."""
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    there = placed(images, torch.device("cpu"))
    assert torch.equal(there, images)
    assert there.is_contiguous(memory_format=torch.channels_last)
    assert placed(there, torch.device("cpu")).data_ptr() == there.data_ptr()
