"""Export a torch network as an ONNX graph: one way for networks that are deployed and units that are timed."""

from __future__ import annotations

import io
import warnings

import torch
from torch import Tensor, nn

from nas.errors import RunFailedError

INPUT_NAME = "image"
OUTPUT_NAME = "logits"

# 17 is the highest opset of torch's TorchScript exporter; from 14 on h-swish is a single operator.
OPSET = 17


def onnx_bytes(network: nn.Module, example: Tensor, *, name: str, any_batch_size: bool) -> bytes:
    """The bytes of an ONNX file of `network`, for inputs of the shape of `example` (with its batch size, or any).

    Raises RunFailedError, naming the network `name`, where torch cannot export it.
    """
    batch = {INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}} if any_batch_size else None
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, and kept here for now: for a member of mbv3 it took 0.7 to 2 s, with
        # nothing to install. The new one (dynamo=True) took 7 to 11 s on the same networks, needs onnxscript, and its
        # files agreed with torch no better.
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        try:
            torch.onnx.export(
                network,
                (example,),
                buffer,  # type: ignore[arg-type] # the exporter also accepts file objects
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_axes=batch,
            )
        except RuntimeError as error:  # the base of the exporter's own errors
            raise RunFailedError(f"torch cannot export {name}: {error}") from error
    return buffer.getvalue()
