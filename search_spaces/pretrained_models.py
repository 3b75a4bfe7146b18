"""timm's pretrained networks of up to 24 million parameters that students may start from. This module is no space."""

from __future__ import annotations

from typing import NamedTuple


class PretrainedModel(NamedTuple):
    """A network with weights in timm.

    Attributes:
        family: Group of similar networks.
        name: timm name, with that of the weights.
        num_params: Number of parameters, for 10 classes.
        macs: Multiply-accumulates for one RGB image of 224 pixels, for 10 classes.
        licence: Licence of the weights, as timm states it.
    """

    family: str
    name: str
    num_params: int
    macs: int
    licence: str


REFERENCE_SIZE = 224
"""Image size of `PretrainedModel.macs`, pixels."""

MODELS: tuple[PretrainedModel, ...] = (
    PretrainedModel("convnext", "test_convnext.r160_in1k", 207_778, 61_083_648, "apache-2.0"),
    PretrainedModel("convnext", "convnext_atto.d2_in1k", 3_377_730, 547_015_680, "apache-2.0"),
    PretrainedModel("convnext", "convnext_femto.d1_in1k", 4_836_634, 779_249_664, "apache-2.0"),
    PretrainedModel("convnext", "convnext_pico.d1_in1k", 8_537_802, 1_366_548_480, "apache-2.0"),
    PretrainedModel("convnext", "convnext_nano.d1h_in1k", 14_958_970, 2_444_894_720, "apache-2.0"),
    PretrainedModel("convnext", "convnextv2_atto.fcmae_ft_in1k", 3_390_610, 547_015_680, "cc-by-nc-4.0"),
    PretrainedModel("convnext", "convnextv2_femto.fcmae_ft_in1k", 4_852_090, 779_249_664, "cc-by-nc-4.0"),
    PretrainedModel("convnext", "convnextv2_pico.fcmae_ft_in1k", 8_558_410, 1_366_548_480, "cc-by-nc-4.0"),
    PretrainedModel("edgenext", "edgenext_xx_small.in1k", 1_159_906, 197_331_638, "mit"),
    PretrainedModel("edgenext", "edgenext_x_small.in1k", 2_145_734, 408_080_192, "mit"),
    PretrainedModel("edgenext", "edgenext_small.usi_in1k", 5_284_882, 959_278_196, "mit"),
    PretrainedModel("efficientnet", "test_efficientnet.r160_in1k", 101_766, 111_810_752, "apache-2.0"),
    PretrainedModel("efficientnet", "tinynet_e.in1k", 774_782, 87_158_992, "apache-2.0"),
    PretrainedModel("efficientnet", "tinynet_d.in1k", 1_070_256, 102_124_752, "apache-2.0"),
    PretrainedModel("efficientnet", "tinynet_c.in1k", 1_189_044, 138_430_992, "apache-2.0"),
    PretrainedModel("efficientnet", "tinynet_a.in1k", 4_919_782, 456_498_016, "apache-2.0"),
    PretrainedModel("efficientnet", "efficientnet_lite0.ra_in1k", 3_383_818, 383_920_352, "apache-2.0"),
    PretrainedModel("efficientnet", "efficientnet_b0.ra_in1k", 4_020_358, 384_547_552, "apache-2.0"),
    PretrainedModel("efficientnet", "efficientnet_b1.ft_in1k", 6_525_994, 568_384_480, "apache-2.0"),
    PretrainedModel("efficientnet", "efficientnet_b2.ra_in1k", 7_715_084, 657_569_520, "apache-2.0"),
    PretrainedModel("efficientnet", "efficientnet_b3.ra2_in1k", 10_711_602, 961_187_600, "apache-2.0"),
    PretrainedModel("efficientvit", "efficientvit_m0.r224_in1k", 2_143_846, 79_003_520, "mit"),
    PretrainedModel("efficientvit", "efficientvit_b0.r224_in1k", 2_141_818, 98_966_016, "apache-2.0"),
    PretrainedModel("efficientvit", "efficientvit_b1.r224_in1k", 7_517_034, 517_630_592, "apache-2.0"),
    PretrainedModel("ghostnet", "ghostnet_100.in1k", 3_914_318, 139_883_312, "apache-2.0"),
    PretrainedModel("lcnet", "lcnet_050.ra2_in1k", 612_666, 43_463_808, "apache-2.0"),
    PretrainedModel("lcnet", "lcnet_075.ra2_in1k", 1_090_098, 93_519_296, "apache-2.0"),
    PretrainedModel("lcnet", "lcnet_100.ra2_in1k", 1_685_610, 154_433_280, "apache-2.0"),
    PretrainedModel("mnasnet", "mnasnet_small.lamb_in1k", 762_074, 67_071_984, "apache-2.0"),
    PretrainedModel("mnasnet", "semnasnet_075.rmsp_in1k", 1_644_088, 222_181_280, "apache-2.0"),
    PretrainedModel("mnasnet", "semnasnet_100.rmsp_in1k", 2_618_848, 310_311_872, "apache-2.0"),
    PretrainedModel("mobilenetv2", "mobilenetv2_050.lamb_in1k", 700_490, 95_864_640, "apache-2.0"),
    PretrainedModel("mobilenetv2", "mobilenetv2_100.ra_in1k", 2_236_682, 299_507_072, "apache-2.0"),
    PretrainedModel("mobilenetv2", "mobilenetv2_110d.ra_in1k", 3_248_330, 429_248_880, "apache-2.0"),
    PretrainedModel("mobilenetv2", "mobilenetv2_140.ra_in1k", 4_333_706, 580_421_744, "apache-2.0"),
    PretrainedModel("mobilenetv3", "mobilenetv3_small_050.lamb_in1k", 578_474, 23_174_928, "apache-2.0"),
    PretrainedModel("mobilenetv3", "mobilenetv3_small_075.lamb_in1k", 1_027_122, 42_385_584, "apache-2.0"),
    PretrainedModel("mobilenetv3", "mobilenetv3_small_100.lamb_in1k", 1_528_106, 55_496_640, "apache-2.0"),
    PretrainedModel("mobilenetv3", "mobilenetv3_large_100.ra_in1k", 4_214_842, 215_322_560, "apache-2.0"),
    PretrainedModel("mobilenetv3", "mobilenetv3_rw.rmsp_in1k", 4_211_728, 215_320_736, "apache-2.0"),
    PretrainedModel("mobilenetv4", "mobilenetv4_conv_small_050.e3000_r224_in1k", 970_762, 63_474_208, "apache-2.0"),
    PretrainedModel("mobilenetv4", "mobilenetv4_conv_small.e2400_r224_in1k", 2_505_834, 184_738_368, "apache-2.0"),
    PretrainedModel("mobilenetv4", "mobilenetv4_conv_medium.e500_r224_in1k", 8_447_322, 826_382_784, "apache-2.0"),
    PretrainedModel("mobilevit", "mobilevit_xxs.cvnets_in1k", 954_234, 301_178_496, "cvnets-license"),
    PretrainedModel("mobilevit", "mobilevit_xs.cvnets_in1k", 1_936_698, 771_960_128, "cvnets-license"),
    PretrainedModel("mobilevit", "mobilevit_s.cvnets_in1k", 4_944_042, 1_520_873_728, "cvnets-license"),
    PretrainedModel("regnet", "regnetx_002.pycls_in1k", 2_319_482, 198_675_552, "mit"),
    PretrainedModel("regnet", "regnety_002.pycls_in1k", 2_797_686, 199_149_760, "mit"),
    PretrainedModel("regnet", "regnetx_004.pycls_in1k", 4_776_362, 397_297_408, "mit"),
    PretrainedModel("regnet", "regnety_004.tv2_in1k", 3_907_554, 401_407_248, "bsd-3-clause"),
    PretrainedModel("regnet", "regnety_008.pycls_in1k", 5_501_858, 796_416_512, "mit"),
    PretrainedModel("regnet", "regnety_016.tv2_in1k", 10_322_320, 1_611_197_040, "bsd-3-clause"),
    PretrainedModel("repvgg", "repvgg_a0.rvgg_in1k", 7_041_194, 1_360_183_808, "mit"),
    PretrainedModel("repvgg", "repvgg_a1.rvgg_in1k", 11_521_674, 2_362_700_288, "mit"),
    PretrainedModel("resnet", "test_resnet.r160_in1k", 373_658, 200_805_312, "apache-2.0"),
    PretrainedModel("resnet", "resnet10t.c3_in1k", 4_927_618, 1_096_752_128, "apache-2.0"),
    PretrainedModel("resnet", "resnet14t.c3_in1k", 8_053_122, 1_674_795_008, "apache-2.0"),
    PretrainedModel("resnet", "resnet18.a1_in1k", 11_181_642, 1_813_566_464, "apache-2.0"),
    PretrainedModel("resnet", "resnet26.bt_in1k", 13_966_666, 2_340_229_120, "apache-2.0"),
    PretrainedModel("resnet", "resnet34.a1_in1k", 21_289_802, 3_663_254_528, "apache-2.0"),
    PretrainedModel("resnet", "resnet50.a1_in1k", 23_528_522, 4_087_156_736, "apache-2.0"),
    PretrainedModel("tiny_vit", "tiny_vit_5m_224.in1k", 5_070_046, 1_254_857_920, "apache-2.0"),
    PretrainedModel("tiny_vit", "tiny_vit_11m_224.in1k", 10_546_030, 2_015_602_624, "apache-2.0"),
    PretrainedModel("vit", "test_vit.r160_in1k", 313_034, 87_854_464, "apache-2.0"),
    PretrainedModel("vit", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", 5_526_346, 1_253_493_120, "apache-2.0"),
    PretrainedModel("vit", "deit_tiny_patch16_224.fb_in1k", 5_526_346, 1_253_493_120, "apache-2.0"),
    PretrainedModel("vit", "vit_small_patch16_224.augreg_in21k_ft_in1k", 21_669_514, 4_598_502_144, "apache-2.0"),
    PretrainedModel("vit", "deit_small_patch16_224.fb_in1k", 21_669_514, 4_598_502_144, "apache-2.0"),
)
"""The networks. `tests/search/spaces/test_pretrained.py` compares them with timm."""
