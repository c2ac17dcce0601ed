"""Choose the device and the number format to train in, from the settings and what this machine has."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.accuracy.training.settings import Device, Precision
from nas.errors import NasError

# Images move to an accelerator as a whole if they take at most this share of its free memory. Otherwise they stay in
# main memory, and each batch is sent.
_IMAGES_SHARE = 0.25


def resolve_device(device: Device) -> torch.device:
    """The torch device for a setting. Raises NasError for a device that this machine does not have."""
    if device == "cuda" and not torch.cuda.is_available():
        raise NasError("device is cuda, but torch sees no CUDA device here. Choices: auto, cpu.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The number format of forward passes. Raises NasError for float16 on a CPU, where it is slow."""
    if precision == "float16" and device.type == "cpu":
        raise NasError("precision float16 needs a CUDA device. Choices on a CPU: auto, float32, bfloat16.")
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # Without AMX, bfloat16 took almost twice as long as float32 (AMD EPYC with avx512_bf16, MobileNetV3 at 16 pixels).
    return torch.bfloat16 if torch.cpu.get_capabilities().get("amx_bf16") else torch.float32


def placed(images: Tensor, device: torch.device) -> Tensor:
    """`images`, uint8 (n, 3, h, w), in channels-last memory, moved to the accelerator if they fit there well."""
    images = images.contiguous(memory_format=torch.channels_last)
    if device.type != "cuda" or images.numel() > _IMAGES_SHARE * torch.cuda.mem_get_info(device)[0]:
        return images
    return images.to(device)
