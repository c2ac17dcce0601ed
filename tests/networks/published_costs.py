"""The exact parameters and MACs of published networks, counted in a library or published in a paper.

Rows are by family, each group under the library (with its version) or the paper. Counted are all trainable parameters,
and the MACs of convolutions and linear layers for one image, as in `Costs`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from nas.networks.architecture import Architecture
from nas.networks.references import reference
from nas.networks.references.mobilenet_v1 import mobilenet_v1
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from nas.networks.references.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from nas.networks.references.mobilenet_v4 import mobilenet_v4_conv_medium
from nas.networks.references.ofa import ofa_mobilenet_v3


class PublishedCosts(NamedTuple):
    """A network (a name of `REFERENCES`, or a function and its options) with the resolution and costs that it has."""

    network: str | partial[Architecture] | Callable[[], Architecture]
    resolution: int
    params: int
    macs: int

    def build(self) -> Architecture:
        """The network as we have it."""
        return reference(self.network) if isinstance(self.network, str) else self.network()

    def __str__(self) -> str:
        """Such as `mobilenet_v2 width=0.75 resolution=160`."""
        if isinstance(self.network, str):
            return self.network
        if not isinstance(self.network, partial):
            return self.network.__name__
        return " ".join([self.network.func.__name__, *(f"{k}={v}" for k, v in self.network.keywords.items())])


PUBLISHED_COSTS = (
    # MobileNetV1: timm 1.0.31
    PublishedCosts("mobilenet_v1", 224, 4_231_976, 568_740_352),
    PublishedCosts("mobilenet_v1_025", 224, 470_072, 41_030_272),
    PublishedCosts("mobilenet_v1_050", 224, 1_331_592, 149_497_088),
    PublishedCosts("mobilenet_v1_075", 224, 2_585_560, 325_400_448),
    PublishedCosts(partial(mobilenet_v1, resolution=192), 192, 4_231_976, 418_121_728),
    PublishedCosts(partial(mobilenet_v1, resolution=160), 160, 4_231_976, 290_675_200),
    PublishedCosts(partial(mobilenet_v1, resolution=128), 128, 4_231_976, 186_400_768),
    PublishedCosts(partial(mobilenet_v1, width=0.25, resolution=128), 128, 470_072, 13_570_048),
    # MobileNetV2: torchvision 0.28
    PublishedCosts("mobilenet_v2", 224, 3_504_872, 300_774_272),
    PublishedCosts("mobilenet_v2_035", 224, 1_677_128, 59_285_808),
    PublishedCosts("mobilenet_v2_050", 224, 1_968_680, 97_131_840),
    PublishedCosts("mobilenet_v2_075", 224, 2_636_424, 209_069_792),
    PublishedCosts("mobilenet_v2_130", 224, 5_386_792, 509_374_560),
    PublishedCosts("mobilenet_v2_140", 224, 6_108_776, 582_195_824),
    PublishedCosts(partial(mobilenet_v2, resolution=96), 96, 3_504_872, 56_289_152),
    PublishedCosts(partial(mobilenet_v2, width=0.75, resolution=160), 160, 2_636_424, 107_295_200),
    # MobileNetV3: torchvision 0.28
    PublishedCosts("mobilenet_v3_large", 224, 5_483_032, 216_589_760),
    PublishedCosts("mobilenet_v3_small", 224, 2_542_856, 56_510_400),
    PublishedCosts("mobilenet_v3_large_075_torchvision", 224, 3_377_576, 140_033_816),
    PublishedCosts(partial(mobilenet_v3_large, width=0.5), 224, 1_734_576, 64_962_192),
    PublishedCosts(partial(mobilenet_v3_small, width=0.75), 224, 1_653_920, 39_115_576),
    PublishedCosts(partial(mobilenet_v3_small, width=0.5), 224, 917_264, 18_970_736),
    # MobileNetV3, the authors' widths and variants, and timm's reading: timm 1.0.31
    PublishedCosts("mobilenet_v3_large_075", 224, 3_993_528, 154_560_624),
    PublishedCosts("mobilenet_v3_small_075", 224, 2_041_872, 43_399_344),
    PublishedCosts("mobilenet_v3_large_minimalistic", 224, 3_924_288, 209_136_704),
    PublishedCosts("mobilenet_v3_small_minimalistic", 224, 2_044_736, 52_288_448),
    PublishedCosts("mobilenet_v3_rw", 224, 5_479_918, 216_587_936),
    # MobileNetV4: timm 1.0.31
    PublishedCosts("mobilenet_v4_conv_small", 224, 3_774_024, 186_005_568),
    PublishedCosts("mobilenet_v4_conv_medium", 256, 9_715_512, 1_080_244_224),
    PublishedCosts(partial(mobilenet_v4_conv_medium, resolution=320), 320, 9_715_512, 1_686_470_400),
    PublishedCosts("mobilenet_v4_conv_large", 384, 32_590_864, 6_376_220_672),
    # MobileNetEdgeTPUV2: timm 1.0.31
    PublishedCosts("mobilenet_edgetpu_v2_xs", 224, 4_459_880, 688_214_528),
    PublishedCosts("mobilenet_edgetpu_v2_s", 224, 5_986_456, 1_198_002_688),
    PublishedCosts("mobilenet_edgetpu_v2_m", 224, 8_462_888, 1_835_637_440),
    PublishedCosts("mobilenet_edgetpu_v2_l", 224, 10_921_640, 2_530_786_432),
    # Once-for-all: ofa 0.1.0
    PublishedCosts("ofa_mbv3_w10_largest", 224, 7_664_760, 566_170_656),
    PublishedCosts("ofa_mbv3_w10_smallest", 224, 3_410_792, 121_278_672),
    PublishedCosts("ofa_mbv3_w12_largest", 224, 10_701_632, 843_101_040),
    PublishedCosts("ofa_mbv3_w12_smallest", 224, 4_602_456, 193_078_200),
    PublishedCosts(partial(ofa_mobilenet_v3, depth=3, kernel_size=5, expand_ratio=4), 224, 4_551_792, 250_746_944),
    # PP-LCNet: timm 1.0.31
    PublishedCosts("lcnet_025", 224, 1_522_464, 16_773_440),
    PublishedCosts("lcnet_035", 224, 1_644_370, 27_357_832),
    PublishedCosts("lcnet_050", 224, 1_880_856, 44_731_008),
    PublishedCosts("lcnet_075", 224, 2_358_288, 94_786_496),
    PublishedCosts("lcnet_100", 224, 2_953_800, 155_700_480),
    PublishedCosts("lcnet_150", 224, 4_501_112, 334_188_416),
    PublishedCosts("lcnet_200", 224, 6_522_792, 580_194_816),
    PublishedCosts("lcnet_250", 224, 9_018_840, 893_719_680),
    # MnasNet-A1 and -small: timm 1.0.31 (semnasnet_050 and others, mnasnet_small)
    PublishedCosts("mnasnet_a1_050", 224, 2_082_006, 103_162_992),
    PublishedCosts("mnasnet_a1_075", 224, 2_912_278, 223_448_480),
    PublishedCosts("mnasnet_a1", 224, 3_887_038, 311_579_072),
    PublishedCosts("mnasnet_a1_130", 224, 5_468_486, 525_980_736),
    PublishedCosts("mnasnet_a1_140", 224, 6_105_992, 586_317_952),
    PublishedCosts("mnasnet_small", 224, 2_030_264, 68_339_184),
    # MnasNet-B1: torchvision 0.28 and, at width 1.4, timm 1.0.31
    PublishedCosts("mnasnet_b1_050", 224, 2_218_512, 104_455_968),
    PublishedCosts("mnasnet_b1_075", 224, 3_170_208, 215_493_104),
    PublishedCosts("mnasnet_b1", 224, 4_383_312, 314_415_872),
    PublishedCosts("mnasnet_b1_130", 224, 6_282_256, 526_362_432),
    PublishedCosts("mnasnet_b1_140", 224, 7_115_728, 588_799_408),
    # EfficientNet: torchvision 0.28
    PublishedCosts("efficientnet_b0", 224, 5_288_548, 385_814_752),
    PublishedCosts("efficientnet_b1", 240, 7_794_184, 686_802_832),
    PublishedCosts("efficientnet_b2", 260, 9_109_994, 993_561_872),
    PublishedCosts("efficientnet_b3", 300, 12_233_232, 1_827_141_392),
    PublishedCosts("efficientnet_b4", 380, 19_341_616, 4_393_771_024),
    PublishedCosts("efficientnet_b5", 456, 30_389_784, 10_266_384_752),
    PublishedCosts("efficientnet_b6", 528, 43_040_704, 19_067_593_536),
    PublishedCosts("efficientnet_b7", 600, 66_347_960, 37_745_884_192),
    # EfficientNet-Lite and -EdgeTPU: timm 1.0.31 (efficientnet_es, _em and _el)
    PublishedCosts("efficientnet_lite0", 224, 4_652_008, 385_187_552),
    PublishedCosts("efficientnet_lite1", 240, 5_416_680, 600_185_232),
    PublishedCosts("efficientnet_lite2", 260, 6_092_072, 859_736_272),
    PublishedCosts("efficientnet_lite3", 280, 8_197_096, 1_383_321_872),
    PublishedCosts("efficientnet_lite4", 300, 13_006_568, 2_553_034_336),
    PublishedCosts("efficientnet_edgetpu_s", 224, 5_438_392, 1_788_731_008),
    PublishedCosts("efficientnet_edgetpu_m", 240, 6_899_496, 3_013_321_088),
    PublishedCosts("efficientnet_edgetpu_l", 300, 10_589_712, 7_936_082_848),
    # EfficientNetV2: torchvision 0.28 and, from b0, timm 1.0.31 (tf_efficientnetv2_b0 and others)
    PublishedCosts("efficientnet_v2_s", 384, 21_458_488, 8_365_617_152),
    PublishedCosts("efficientnet_v2_m", 480, 54_139_356, 24_582_460_384),
    PublishedCosts("efficientnet_v2_l", 480, 118_515_272, 56_079_699_008),
    PublishedCosts("efficientnet_v2_b0", 224, 7_139_704, 718_086_176),
    PublishedCosts("efficientnet_v2_b1", 240, 8_141_052, 1_196_819_360),
    PublishedCosts("efficientnet_v2_b2", 260, 10_096_086, 1_697_542_832),
    PublishedCosts("efficientnet_v2_b3", 300, 14_358_406, 3_011_458_816),
    # FBNet and Single-Path NAS: timm 1.0.31 (fbnetc_100, fbnetv3_b and others, spnasnet_100)
    PublishedCosts("fbnet_c", 224, 5_572_200, 384_960_160),
    PublishedCosts("fbnet_v3_b", 224, 8_598_464, 407_508_576),
    PublishedCosts("fbnet_v3_d", 224, 10_306_272, 501_971_056),
    PublishedCosts("fbnet_v3_g", 240, 16_623_888, 1_253_584_000),
    PublishedCosts("single_path_nas", 224, 4_421_616, 333_467_072),
    # ProxylessNAS: counted in torch 2.13 for the authors' configurations. Parameters are those that pytorchcv's tests
    # have; the authors say 320 and 581 million MACs for the mobile ones (mit-han-lab/proxylessnas)
    PublishedCosts("proxyless_mobile", 224, 4_080_512, 320_427_584),
    PublishedCosts("proxyless_mobile_14", 224, 6_857_568, 580_883_408),
    PublishedCosts("proxyless_cpu", 224, 4_361_648, 439_243_864),
    PublishedCosts("proxyless_gpu", 224, 7_119_848, 465_260_160),
    # MixNet: timm 1.0.31
    PublishedCosts("mixnet_s", 224, 4_134_606, 239_173_360),
    PublishedCosts("mixnet_m", 224, 5_014_382, 339_172_672),
    PublishedCosts("mixnet_l", 224, 7_329_252, 555_251_792),
    # ShuffleNetV2: torchvision 0.28
    PublishedCosts("shufflenet_v2_050", 224, 1_366_792, 40_476_448),
    PublishedCosts("shufflenet_v2_100", 224, 2_278_604, 144_907_992),
    PublishedCosts("shufflenet_v2_150", 224, 3_503_624, 295_759_392),
    PublishedCosts("shufflenet_v2_200", 224, 7_393_996, 583_253_464),
    # GhostNet: timm 1.0.31
    PublishedCosts("ghostnet_050", 224, 2_587_292, 42_328_152),
    PublishedCosts("ghostnet_100", 224, 5_182_508, 141_150_512),
    PublishedCosts("ghostnet_130", 224, 7_358_820, 227_003_256),
    # RepGhostNet, as it is trained: timm 1.0.31
    PublishedCosts("repghostnet_050", 224, 2_313_968, 43_314_720),
    PublishedCosts("repghostnet_058", 224, 2_546_388, 59_804_016),
    PublishedCosts("repghostnet_080", 224, 3_278_968, 95_518_948),
    PublishedCosts("repghostnet_100", 224, 4_073_604, 142_394_128),
    PublishedCosts("repghostnet_111", 224, 4_539_984, 170_124_224),
    PublishedCosts("repghostnet_130", 224, 5_478_612, 231_123_652),
    PublishedCosts("repghostnet_150", 224, 6_575_336, 301_315_856),
    PublishedCosts("repghostnet_200", 224, 9_796_124, 515_869_856),
    # MobileOne, as it is trained: timm 1.0.31
    PublishedCosts("mobileone_s0", 224, 5_293_272, 1_051_935_232),
    PublishedCosts("mobileone_s1", 224, 4_825_192, 830_062_080),
    PublishedCosts("mobileone_s2", 224, 7_884_648, 1_304_027_392),
    PublishedCosts("mobileone_s3", 224, 10_170_600, 1_902_112_768),
    PublishedCosts("mobileone_s4", 224, 14_951_248, 2_986_802_432),
    # MobileViT: timm 1.0.31
    PublishedCosts("mobilevit_xxs", 256, 1_272_024, 329_179_648),
    PublishedCosts("mobilevit_xs", 256, 2_317_848, 908_635_136),
    PublishedCosts("mobilevit_s", 256, 5_578_632, 1_823_196_160),
    # EfficientViT: timm 1.0.31, without the products of attention
    PublishedCosts("efficientvit_b0", 224, 3_410_008, 97_674_240),
    PublishedCosts("efficientvit_b1", 224, 9_102_024, 510_684_672),
    PublishedCosts("efficientvit_b2", 224, 24_330_712, 1_550_166_016),
    PublishedCosts("efficientvit_b3", 224, 48_646_056, 3_884_278_272),
)
