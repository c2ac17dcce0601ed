"""ProxylessNAS's networks for a phone, a CPU and a GPU.

arXiv:1812.00332, figure 4. The tables are those of the configurations that the authors published with the pretrained
networks (proxyless_mobile.config and others, in han-cai/files), without the layers that became identities.
"""

from __future__ import annotations

from nas.networks.architecture import Architecture, Block
from nas.networks.references.stages import Stage, mbconv_stages

# For a Pixel 1.
PROXYLESS_MOBILE = (
    Stage(channels=16, repeats=1, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=32, repeats=1, stride=2, kernel_size=5, expand_ratio=3),
    Stage(channels=32, repeats=1, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=40, repeats=1, stride=2, kernel_size=7, expand_ratio=3),
    Stage(channels=40, repeats=1, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=40, repeats=2, stride=1, kernel_size=5, expand_ratio=3),
    Stage(channels=80, repeats=1, stride=2, kernel_size=7, expand_ratio=6),
    Stage(channels=80, repeats=3, stride=1, kernel_size=5, expand_ratio=3),
    Stage(channels=96, repeats=1, stride=1, kernel_size=5, expand_ratio=6),
    Stage(channels=96, repeats=3, stride=1, kernel_size=5, expand_ratio=3),
    Stage(channels=192, repeats=1, stride=2, kernel_size=7, expand_ratio=6),
    Stage(channels=192, repeats=1, stride=1, kernel_size=7, expand_ratio=6),
    Stage(channels=192, repeats=2, stride=1, kernel_size=7, expand_ratio=3),
    Stage(channels=320, repeats=1, stride=1, kernel_size=7, expand_ratio=6),
)

# For a Pixel 1, 1.4 times as wide. No rule of rounding gives these channels, so each width is listed.
_MOBILE_14_CHANNELS = {16: 24, 32: 40, 40: 56, 80: 112, 96: 136, 192: 256, 320: 448}
PROXYLESS_MOBILE_14 = tuple(stage._replace(channels=_MOBILE_14_CHANNELS[stage.channels]) for stage in PROXYLESS_MOBILE)

# For a server's CPU, a Xeon E5-2640 v4.
PROXYLESS_CPU = (
    Stage(channels=24, repeats=1, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=32, repeats=1, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=32, repeats=3, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=48, repeats=1, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=48, repeats=2, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=48, repeats=1, stride=1, kernel_size=5, expand_ratio=3),
    Stage(channels=88, repeats=1, stride=2, kernel_size=3, expand_ratio=6),
    Stage(channels=88, repeats=1, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=104, repeats=1, stride=1, kernel_size=5, expand_ratio=6),
    Stage(channels=104, repeats=3, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=216, repeats=1, stride=2, kernel_size=5, expand_ratio=6),
    Stage(channels=216, repeats=2, stride=1, kernel_size=5, expand_ratio=3),
    Stage(channels=216, repeats=1, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=360, repeats=1, stride=1, kernel_size=5, expand_ratio=6),
)

# For a server's GPU, a V100.
PROXYLESS_GPU = (
    Stage(channels=24, repeats=1, stride=1, kernel_size=3, expand_ratio=1),
    Stage(channels=32, repeats=1, stride=2, kernel_size=5, expand_ratio=3),
    Stage(channels=56, repeats=1, stride=2, kernel_size=7, expand_ratio=3),
    Stage(channels=56, repeats=1, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=112, repeats=1, stride=2, kernel_size=7, expand_ratio=6),
    Stage(channels=112, repeats=1, stride=1, kernel_size=5, expand_ratio=3),
    Stage(channels=128, repeats=1, stride=1, kernel_size=5, expand_ratio=6),
    Stage(channels=128, repeats=1, stride=1, kernel_size=3, expand_ratio=3),
    Stage(channels=128, repeats=1, stride=1, kernel_size=5, expand_ratio=3),
    Stage(channels=256, repeats=1, stride=2, kernel_size=7, expand_ratio=6),
    Stage(channels=256, repeats=2, stride=1, kernel_size=7, expand_ratio=6),
    Stage(channels=256, repeats=1, stride=1, kernel_size=5, expand_ratio=6),
    Stage(channels=432, repeats=1, stride=1, kernel_size=7, expand_ratio=6),
)


def proxyless_mobile(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """ProxylessNAS's network for a Pixel 1: 320 million MACs, as the authors say."""
    return _proxyless(PROXYLESS_MOBILE, 32, 1280, resolution, classes)


def proxyless_mobile_14(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """ProxylessNAS's network for a Pixel 1, 1.4 times as wide: 581 million MACs, as the authors say."""
    return _proxyless(PROXYLESS_MOBILE_14, 48, 1792, resolution, classes)


def proxyless_cpu(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """ProxylessNAS's network for a server's CPU."""
    return _proxyless(PROXYLESS_CPU, 40, 1432, resolution, classes)


def proxyless_gpu(*, resolution: int = 224, classes: int = 1000) -> Architecture:
    """ProxylessNAS's network for a server's GPU."""
    return _proxyless(PROXYLESS_GPU, 40, 1728, resolution, classes)


def _proxyless(
    stages: tuple[Stage, ...], stem_channels: int, head_channels: int, resolution: int, classes: int
) -> Architecture:
    blocks = (
        Block("conv", stem_channels, kernel_size=3, stride=2, activation="relu6"),
        *mbconv_stages(stages, stem_channels, activation="relu6"),
        Block("conv", head_channels, activation="relu6"),
        Block("pool"),
        Block("linear", classes),
    )
    return Architecture(resolution, classes, blocks)
