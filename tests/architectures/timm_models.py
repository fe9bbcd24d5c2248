"""timm: one small model of each family that holds batch norms, and variants of some."""

from collections.abc import Callable

from torch import nn

from tests.architectures.architecture import Architecture, images, words

NAMES = words(
    "halonet_h1 test_byobnet mobileone_s1 convmixer_768_32 cpubone_nano cs3darknet_focus_s "
    "cspnext_tiny densenet121 dla46x_c dpn48b efficientformer_l1 efficientformerv2_s0 "
    "test_efficientnet mobilenetv2_035 efficientvim_m1 efficientvit_b0 efficientvit_m0 "
    "fasternet_t0 fastvit_t8 ghostnet_050 hardcorenas_b hgnetv2_b0 hrnet_w18_small iformer_t "
    "inception_next_atto inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small levit_128s "
    "lowformer_b0 test_coatnet maxvit_pico_rw_256 mobilenetv3_small_050 mobilevit_xxs "
    "nasnetalarge nextvit_small pnasnet5large regnetx_002 repghostnet_050 repvit_m1 res2next50 "
    "resnest14d test_resnet resnet10t resnetv2_18 rexnet_100 selecsls42 legacy_seresnet18 "
    "shvit_s1 skresnet18 starnet_s050 swiftformer_xs tiny_vit_5m_224 tresnet_m vgg11_bn "
    "visformer_tiny vit_small_resnet50d_s16_224 volo_d1_224 ese_vovnet19b_slim_dw "
    "legacy_xception xception41p xcit_nano_12_p8_224 resnet18 seresnet50 resnetblur50 repvgg_a0 "
    "gernet_s mobileone_s0 tf_efficientnet_lite0 tf_efficientnet_b0 efficientnet_cc_b0_4e "
    "tf_efficientnet_cc_b0_4e mixnet_s tf_mixnet_s tf_efficientnetv2_b0 mobilenetv4_conv_small "
    "ghostnetv2_100 ghostnetv3_050 darknet53 cspresnet50 mobilevitv2_050 coatnet_bn_0_rw_224 "
    "maxvit_rmlp_pico_rw_256 levit_conv_128s resnetv2_50 lambda_resnet26t eca_botnext26ts_256 "
    "ese_vovnet39b tf_mobilenetv3_small_minimal_100 dla34 cs3darknet_m"
)
#: These standardize weights at run time, by the operator of batch norm, and hold no batch norm.
TRAPS = ("nf_resnet26", "resnetv2_50x1_bit", "dm_nfnet_f0")
#: Where 128 pixels do not go.
SIZES = {
    "halonet_h1": 256,
    "efficientformer_l1": 224,
    "efficientformerv2_s0": 224,
    "levit_128s": 224,
    "levit_conv_128s": 224,
    "test_coatnet": 160,
    "coatnet_bn_0_rw_224": 224,
    "maxvit_pico_rw_256": 256,
    "maxvit_rmlp_pico_rw_256": 256,
    "visformer_tiny": 224,
    "vit_small_resnet50d_s16_224": 224,
    "volo_d1_224": 224,
    "eca_botnext26ts_256": 256,
}


def created(name: str) -> Callable[[], nn.Module]:
    """Return what builds a timm model."""

    def build() -> nn.Module:
        import timm

        model: nn.Module = timm.create_model(name, pretrained=False)
        return model

    return build


def _group(group: str, names: tuple[str, ...]) -> tuple[Architecture, ...]:
    return tuple(
        Architecture(group, name, created(name), images(SIZES.get(name, 128))) for name in names
    )


TIMM = _group("timm", NAMES)
TIMM_TRAPS = _group("trap", TRAPS)
