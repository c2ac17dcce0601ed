"""The published networks by name, and reading a network from a file.

There is a file for each family. Each network is a table with named columns, as in the paper that is cited above it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from nas.errors import NasError, nearest_first
from nas.networks.architecture import Architecture
from nas.networks.references.edgetpu import (
    EDGETPU_V2_L,
    EDGETPU_V2_M,
    EDGETPU_V2_S,
    EDGETPU_V2_XS,
    mobilenet_edgetpu_v2,
)
from nas.networks.references.efficientnet import (
    EFFICIENTNET_EDGETPU_SIZES,
    EFFICIENTNET_LITE_SIZES,
    EFFICIENTNET_SIZES,
    efficientnet,
    efficientnet_edgetpu,
    efficientnet_lite,
)
from nas.networks.references.efficientnet_v2 import (
    EFFICIENTNET_V2_L,
    EFFICIENTNET_V2_M,
    EFFICIENTNET_V2_S,
    EFFICIENTNET_V2_SIZES,
    efficientnet_v2,
    efficientnet_v2_base,
)
from nas.networks.references.efficientvit import efficientvit_b0, efficientvit_b1, efficientvit_b2, efficientvit_b3
from nas.networks.references.fbnet import fbnet_c, fbnet_v3_b, fbnet_v3_d, fbnet_v3_g
from nas.networks.references.ghostnet import ghostnet, repghostnet
from nas.networks.references.lcnet import lcnet
from nas.networks.references.mixnet import mixnet_m, mixnet_s
from nas.networks.references.mnasnet import mnasnet_a1, mnasnet_b1, mnasnet_small
from nas.networks.references.mobilenet_v1 import mobilenet_v1
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_rw, mobilenet_v3_small
from nas.networks.references.mobilenet_v4 import (
    mobilenet_v4_conv_large,
    mobilenet_v4_conv_medium,
    mobilenet_v4_conv_small,
)
from nas.networks.references.mobileone import (
    MOBILEONE_S0,
    MOBILEONE_S1,
    MOBILEONE_S2,
    MOBILEONE_S3,
    MOBILEONE_S4,
    mobileone,
)
from nas.networks.references.mobilevit import mobilevit_s, mobilevit_xs, mobilevit_xxs
from nas.networks.references.ofa import ofa_mobilenet_v3
from nas.networks.references.proxyless import proxyless_cpu, proxyless_gpu, proxyless_mobile, proxyless_mobile_14
from nas.networks.references.shufflenet import shufflenet_v1, shufflenet_v2
from nas.networks.references.spnas import single_path_nas

_NEAREST = 8

# Grouped by family, as the files of this folder.
REFERENCES: Mapping[str, Callable[[], Architecture]] = {
    # MobileNetV1
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_025": partial(mobilenet_v1, width=0.25),
    "mobilenet_v1_050": partial(mobilenet_v1, width=0.5),
    "mobilenet_v1_075": partial(mobilenet_v1, width=0.75),
    # MobileNetV2
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_035": partial(mobilenet_v2, width=0.35),
    "mobilenet_v2_050": partial(mobilenet_v2, width=0.5),
    "mobilenet_v2_075": partial(mobilenet_v2, width=0.75),
    "mobilenet_v2_130": partial(mobilenet_v2, width=1.3),
    "mobilenet_v2_140": partial(mobilenet_v2, width=1.4),
    # MobileNetV3
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large_075": partial(mobilenet_v3_large, width=0.75, slim=True),
    "mobilenet_v3_small_075": partial(mobilenet_v3_small, width=0.75, slim=True),
    "mobilenet_v3_large_075_torchvision": partial(mobilenet_v3_large, width=0.75),
    "mobilenet_v3_large_minimalistic": partial(mobilenet_v3_large, minimalistic=True),
    "mobilenet_v3_small_minimalistic": partial(mobilenet_v3_small, minimalistic=True),
    "mobilenet_v3_rw": mobilenet_v3_rw,
    # MobileNetV4
    "mobilenet_v4_conv_small": mobilenet_v4_conv_small,
    "mobilenet_v4_conv_medium": mobilenet_v4_conv_medium,
    "mobilenet_v4_conv_large": mobilenet_v4_conv_large,
    # MobileNetEdgeTPUV2
    "mobilenet_edgetpu_v2_xs": partial(mobilenet_edgetpu_v2, EDGETPU_V2_XS),
    "mobilenet_edgetpu_v2_s": partial(mobilenet_edgetpu_v2, EDGETPU_V2_S),
    "mobilenet_edgetpu_v2_m": partial(mobilenet_edgetpu_v2, EDGETPU_V2_M),
    "mobilenet_edgetpu_v2_l": partial(mobilenet_edgetpu_v2, EDGETPU_V2_L),
    # Once-for-all, by the width of the super-network
    "ofa_mbv3_w10_largest": ofa_mobilenet_v3,
    "ofa_mbv3_w10_smallest": partial(ofa_mobilenet_v3, depth=2, kernel_size=3, expand_ratio=3),
    "ofa_mbv3_w12_largest": partial(ofa_mobilenet_v3, width=1.2),
    "ofa_mbv3_w12_smallest": partial(ofa_mobilenet_v3, width=1.2, depth=2, kernel_size=3, expand_ratio=3),
    # PP-LCNet
    "lcnet_025": partial(lcnet, width=0.25),
    "lcnet_035": partial(lcnet, width=0.35),
    "lcnet_050": partial(lcnet, width=0.5),
    "lcnet_075": partial(lcnet, width=0.75),
    "lcnet_100": lcnet,
    "lcnet_150": partial(lcnet, width=1.5),
    "lcnet_200": partial(lcnet, width=2.0),
    "lcnet_250": partial(lcnet, width=2.5),
    # MnasNet
    "mnasnet_a1": mnasnet_a1,
    "mnasnet_a1_050": partial(mnasnet_a1, width=0.5),
    "mnasnet_a1_075": partial(mnasnet_a1, width=0.75),
    "mnasnet_a1_130": partial(mnasnet_a1, width=1.3),
    "mnasnet_a1_140": partial(mnasnet_a1, width=1.4),
    "mnasnet_b1": mnasnet_b1,
    "mnasnet_b1_050": partial(mnasnet_b1, width=0.5),
    "mnasnet_b1_075": partial(mnasnet_b1, width=0.75),
    "mnasnet_b1_130": partial(mnasnet_b1, width=1.3),
    "mnasnet_b1_140": partial(mnasnet_b1, width=1.4),
    "mnasnet_small": mnasnet_small,
    # EfficientNet: b0 to b7, lite0 to lite4, edgetpu_s to edgetpu_l
    **{f"efficientnet_{name}": partial(efficientnet, **size._asdict()) for name, size in EFFICIENTNET_SIZES.items()},
    **{
        f"efficientnet_{name}": partial(efficientnet_lite, **size._asdict())
        for name, size in EFFICIENTNET_LITE_SIZES.items()
    },
    **{
        f"efficientnet_edgetpu_{name}": partial(efficientnet_edgetpu, **size._asdict())
        for name, size in EFFICIENTNET_EDGETPU_SIZES.items()
    },
    # EfficientNetV2: s, m, l and b0 to b3
    "efficientnet_v2_s": partial(efficientnet_v2, EFFICIENTNET_V2_S, resolution=384),
    "efficientnet_v2_m": partial(efficientnet_v2, EFFICIENTNET_V2_M, resolution=480),
    "efficientnet_v2_l": partial(efficientnet_v2, EFFICIENTNET_V2_L, resolution=480),
    **{
        f"efficientnet_v2_{name}": partial(efficientnet_v2_base, **size._asdict())
        for name, size in EFFICIENTNET_V2_SIZES.items()
    },
    # FBNet and FBNetV3
    "fbnet_c": fbnet_c,
    "fbnet_v3_b": fbnet_v3_b,
    "fbnet_v3_d": fbnet_v3_d,
    "fbnet_v3_g": fbnet_v3_g,
    # ProxylessNAS
    "proxyless_mobile": proxyless_mobile,
    "proxyless_mobile_14": proxyless_mobile_14,
    "proxyless_cpu": proxyless_cpu,
    "proxyless_gpu": proxyless_gpu,
    # Single-Path NAS
    "single_path_nas": single_path_nas,
    # MixNet
    "mixnet_s": mixnet_s,
    "mixnet_m": mixnet_m,
    "mixnet_l": partial(mixnet_m, width=1.3),
    # ShuffleNetV1, by groups and width
    "shufflenet_v1_g1": partial(shufflenet_v1, 1),
    "shufflenet_v1_g2": partial(shufflenet_v1, 2),
    "shufflenet_v1_g3": partial(shufflenet_v1, 3),
    "shufflenet_v1_g4": partial(shufflenet_v1, 4),
    "shufflenet_v1_g8": partial(shufflenet_v1, 8),
    "shufflenet_v1_g3_050": partial(shufflenet_v1, 3, width=0.5),
    "shufflenet_v1_g3_150": partial(shufflenet_v1, 3, width=1.5),
    "shufflenet_v1_g3_200": partial(shufflenet_v1, 3, width=2.0),
    "shufflenet_v1_g8_050": partial(shufflenet_v1, 8, width=0.5),
    "shufflenet_v1_g8_150": partial(shufflenet_v1, 8, width=1.5),
    "shufflenet_v1_g8_200": partial(shufflenet_v1, 8, width=2.0),
    # ShuffleNetV2
    "shufflenet_v2_050": partial(shufflenet_v2, width=0.5),
    "shufflenet_v2_100": shufflenet_v2,
    "shufflenet_v2_150": partial(shufflenet_v2, width=1.5),
    "shufflenet_v2_200": partial(shufflenet_v2, width=2.0),
    # GhostNet
    "ghostnet_050": partial(ghostnet, width=0.5),
    "ghostnet_100": ghostnet,
    "ghostnet_130": partial(ghostnet, width=1.3),
    # RepGhostNet, as it is trained
    "repghostnet_050": partial(repghostnet, width=0.5),
    "repghostnet_058": partial(repghostnet, width=0.58),
    "repghostnet_080": partial(repghostnet, width=0.8),
    "repghostnet_100": repghostnet,
    "repghostnet_111": partial(repghostnet, width=1.11),
    "repghostnet_130": partial(repghostnet, width=1.3),
    "repghostnet_150": partial(repghostnet, width=1.5),
    "repghostnet_200": partial(repghostnet, width=2.0),
    # MobileOne, as it is trained
    "mobileone_s0": partial(mobileone, MOBILEONE_S0),
    "mobileone_s1": partial(mobileone, MOBILEONE_S1),
    "mobileone_s2": partial(mobileone, MOBILEONE_S2),
    "mobileone_s3": partial(mobileone, MOBILEONE_S3),
    "mobileone_s4": partial(mobileone, MOBILEONE_S4),
    # MobileViT
    "mobilevit_xxs": mobilevit_xxs,
    "mobilevit_xs": mobilevit_xs,
    "mobilevit_s": mobilevit_s,
    # EfficientViT (of MIT)
    "efficientvit_b0": efficientvit_b0,
    "efficientvit_b1": efficientvit_b1,
    "efficientvit_b2": efficientvit_b2,
    "efficientvit_b3": efficientvit_b3,
}


def reference(name: str) -> Architecture:
    """The published network called `name`, as published. Raises NasError (with the nearest names) for any other."""
    if name not in REFERENCES:
        raise NasError(unknown_network("reference network", name, REFERENCES))
    return REFERENCES[name]()


def unknown_network(kind: str, name: str, names: Iterable[str]) -> str:
    """The message that there is no `kind` called `name`, with the nearest of `names`: all of them would fill a page."""
    nearest = ", ".join(nearest_first(name, names)[:_NEAREST])
    return f"unknown {kind} {name!r}. Nearest: {nearest}. `python -m nas.networks list` shows all networks."


def find_network(name: str) -> Architecture:
    """The published network called `name`, or the one in the file `name` (ending in .json).

    The file holds the result of `Architecture.to_json`, by itself or under the key "architecture", or it is the file of
    a search's pick. Raises NasError for an unknown name, and for a file without an architecture.
    """
    if not name.endswith(".json"):
        return reference(name)
    try:
        data = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NasError(f"cannot read {name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise NasError(f"malformed JSON: {error} ({name})") from error
    for key in ("trial", "network", "architecture"):
        if isinstance(data, dict) and key in data:
            data = data[key]
    try:
        return Architecture.from_json(data)
    except NasError as error:
        raise NasError(f"{error} ({name})") from error
