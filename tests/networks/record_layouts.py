"""Record the names and shapes of torchvision's and timm's tensors, and the logits of their networks.

    python tests/networks/record_layouts.py

writes `layouts.json` beside this file, which test_pretrained.py compares our networks with. It needs torchvision and
timm, which the tests do not. Weights are generated from each tensor's name, so that nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.networks.pretrained.load import recognise

RECORD = Path(__file__).with_name("layouts.json")
RESOLUTION = 64
LOGITS = 10
MOST_LOGIT = 10

# The library's name of each network, and ours.
TORCHVISION = {
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "mobilenet_v3_small": "mobilenet_v3_small",
    **{f"efficientnet_b{i}": f"efficientnet_b{i}" for i in range(8)},
    **{f"efficientnet_v2_{size}": f"efficientnet_v2_{size}" for size in "sml"},
    "mnasnet0_5": "mnasnet_b1_050",
    "mnasnet0_75": "mnasnet_b1_075",
    "mnasnet1_0": "mnasnet_b1",
    "mnasnet1_3": "mnasnet_b1_130",
    "shufflenet_v2_x0_5": "shufflenet_v2_050",
    "shufflenet_v2_x1_0": "shufflenet_v2_100",
    "shufflenet_v2_x1_5": "shufflenet_v2_150",
    "shufflenet_v2_x2_0": "shufflenet_v2_200",
}
TIMM = {
    "mobilenetv1_100": "mobilenet_v1",
    "mobilenetv2_035": "mobilenet_v2_035",
    "mobilenetv2_050": "mobilenet_v2_050",
    "mobilenetv2_075": "mobilenet_v2_075",
    "mobilenetv2_100": "mobilenet_v2",
    "mobilenetv2_140": "mobilenet_v2_140",
    "mobilenetv3_large_075": "mobilenet_v3_large_075",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "mobilenetv3_small_075": "mobilenet_v3_small_075",
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "mobilenetv3_rw": "mobilenet_v3_rw",
    **{f"mobilenetv4_conv_{size}": f"mobilenet_v4_conv_{size}" for size in ("small", "medium", "large")},
    **{f"mobilenet_edgetpu_v2_{size}": f"mobilenet_edgetpu_v2_{size}" for size in ("xs", "s", "m", "l")},
    **{f"lcnet_{width}": f"lcnet_{width}" for width in ("035", "050", "075", "100", "150")},
    "mnasnet_050": "mnasnet_b1_050",
    "mnasnet_075": "mnasnet_b1_075",
    "mnasnet_100": "mnasnet_b1",
    "mnasnet_140": "mnasnet_b1_140",
    "mnasnet_small": "mnasnet_small",
    "semnasnet_050": "mnasnet_a1_050",
    "semnasnet_075": "mnasnet_a1_075",
    "semnasnet_100": "mnasnet_a1",
    "semnasnet_140": "mnasnet_a1_140",
    "spnasnet_100": "single_path_nas",
    "fbnetc_100": "fbnet_c",
    **{f"fbnetv3_{size}": f"fbnet_v3_{size}" for size in "bdg"},
    **{f"efficientnet_b{i}": f"efficientnet_b{i}" for i in range(6)},
    **{f"efficientnet_lite{i}": f"efficientnet_lite{i}" for i in range(5)},
    **{f"efficientnet_e{size}": f"efficientnet_edgetpu_{size}" for size in "sml"},
    **{f"mixnet_{size}": f"mixnet_{size}" for size in "sml"},
    **{f"ghostnet_{width}": f"ghostnet_{width}" for width in ("050", "100", "130")},
    **{
        f"repghostnet_{width}": f"repghostnet_{width}"
        for width in ("050", "058", "080", "100", "111", "130", "150", "200")
    },
    **{f"mobileone_s{i}": f"mobileone_s{i}" for i in range(5)},
    **{f"mobilevit_{size}": f"mobilevit_{size}" for size in ("xxs", "xs", "s")},
    **{f"efficientvit_b{i}": f"efficientvit_b{i}" for i in range(4)},
}


def made_up(name: str, shape: Iterable[int], gain: float) -> Tensor:
    """The float32 tensor `name`, the same everywhere; normalisations multiply by about `gain`."""
    shape = tuple(shape)
    uniform = np.random.default_rng(zlib.crc32(name.encode())).random(int(np.prod(shape)), dtype=np.float32)
    kind = name.rsplit(".", 1)[1]
    if kind == "num_batches_tracked":
        return torch.zeros((), dtype=torch.int64)
    if kind == "running_var":
        values = 0.5 + uniform
    elif kind == "weight" and len(shape) == 1:
        values = np.float32(gain) * (0.5 + uniform)
    elif kind == "weight":
        # Variance 2 / inputs: half of them will be zero after a ReLU.
        values = (uniform - 0.5) * np.float32(np.sqrt(24 / np.prod(shape[1:])))
    else:
        values = (uniform - 0.5) * np.float32(0.4)
    return torch.from_numpy(values.reshape(shape))


def image() -> Tensor:
    """One made-up image in float64."""
    pixels = np.random.default_rng(0).random((1, 3, RESOLUTION, RESOLUTION))
    return torch.from_numpy(4 * pixels - 2)


def digest(shapes: Mapping[str, Iterable[int]]) -> str:
    """A hash of all names and shapes. A 1×1 convolution counts as the linear layer that it is."""
    lines = []
    for name, shape in sorted(shapes.items()):
        sizes = tuple(shape)
        lines.append(f"{name} {sizes[:2] if sizes[2:] == (1, 1) else sizes}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@torch.no_grad()
def recorded(library: str, name: str, reference: str, network: nn.Module) -> dict[str, Any]:
    """What layouts.json has of one network."""
    state = network.state_dict()
    layout = recognise(state)
    prefix, _, _ = layout.place.partition("{}")
    network.double().eval()
    # Blocks that add many branches would make numbers so large that activations and gates do nothing but saturate.
    gain, logits = 1.0, torch.full((LOGITS,), torch.inf)
    while logits.abs().max() > MOST_LOGIT:
        for key, tensor in network.state_dict().items():
            tensor.copy_(made_up(key, tensor.shape, gain))
        logits = network(image())[0, :LOGITS]
        gain, used = round(0.9 * gain, 3), gain
    return {
        "library": library,
        "name": name,
        "reference": reference,
        "family": layout.family,
        "tensors": len(state),
        "blocks": " ".join(
            ".".join(part for part in place.removeprefix(prefix).split(".") if part.isdigit())
            for place in layout.places(state)
        ),
        "digest": digest({key: tensor.shape for key, tensor in state.items()}),
        "gain": used,
        "logits": [round(value, 6) for value in logits.tolist()],
    }


def main() -> None:
    """Record all networks."""
    import timm
    import torchvision

    version = torchvision.__version__.partition("+")[0]
    rows = [
        recorded(f"torchvision {version}", name, reference, torchvision.models.get_model(name))
        for name, reference in TORCHVISION.items()
    ]
    rows += [
        recorded(f"timm {timm.__version__}", name, reference, timm.create_model(name))
        for name, reference in TIMM.items()
    ]
    RECORD.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
