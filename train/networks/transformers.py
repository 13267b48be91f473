"""SwinIR and HAT for real-world images: spandrel's architectures, equal to the official code, with official keys.

SwinIR: arXiv 2108.10257; paper: RealSwinIR; M 11,715,559 and L 28,013,059 parameters. L: embed_dim 240, num_groups 9,
num_heads 8, resi_convs 3. HAT, the hybrid attention transformer: arXiv 2205.04437; paper: RealHAT; 20,772,507
parameters.

Both functions give a network from lr, float [B, 3, h, w], RGB in [0, 1], to float [B, 3, scale h, scale w]. They raise
`UsageError` for a scale that the network has not, or sizes that do not divide.
"""

from typing import Any

from torch import nn

from shared.errors import UsageError
from train.networks.depth import replace_drop_paths

DROP_PATH = 0.1
TRAIN_LR_SIDE = 64


def swinir(scale: int, resi_convs: int, **sizes: int) -> nn.Module:
    """SwinIR; sizes as of `_transformer`."""
    from spandrel.architectures.SwinIR import SwinIR  # seconds of imports that only who wants it waits for

    if scale not in (2, 4, 8):
        raise UsageError(f"scale is {scale}: swinir upscales by 2, 4 or 8")
    if resi_convs not in (1, 3):
        raise UsageError(f"network option resi_convs is {resi_convs}: it must be 1 or 3")
    fixed = {"upsampler": "nearest+conv", "resi_connection": f"{resi_convs}conv"}
    return _transformer(SwinIR, fixed, scale, **sizes)


def hat(scale: int, compress_ratio: int, squeeze_factor: int, **sizes: int) -> nn.Module:
    """HAT; sizes as of `_transformer`."""
    from spandrel.architectures.HAT import HAT  # seconds of imports that only who wants it waits for

    if scale not in (2, 3, 4):
        raise UsageError(f"scale is {scale}: hat upscales by 2, 3 or 4")
    if sizes["embed_dim"] < (least := max(compress_ratio, squeeze_factor)):
        raise UsageError(
            f"network option embed_dim is {sizes['embed_dim']}: it must be at least {least}, the larger of "
            "compress_ratio and squeeze_factor, which divide it"
        )
    fixed = {"upsampler": "pixelshuffle", "resi_connection": "1conv", "conv_scale": 0.01, "overlap_ratio": 0.5}
    ratios = {"compress_ratio": compress_ratio, "squeeze_factor": squeeze_factor}
    return _transformer(HAT, fixed | ratios, scale, **sizes)


def _transformer(
    architecture: Any,
    fixed: dict[str, Any],
    scale: int,
    embed_dim: int,
    num_groups: int,
    depth: int,
    num_heads: int,
    window_size: int,
    mlp_ratio: int,
) -> nn.Module:
    """A network of groups of residual blocks of windowed attention. fixed: further arguments of the architecture."""
    if embed_dim % num_heads:
        raise UsageError(f"network option embed_dim is {embed_dim}: it must be a multiple of num_heads {num_heads}")
    network = architecture(
        upscale=scale,
        img_size=TRAIN_LR_SIDE,
        window_size=window_size,
        img_range=1.0,
        depths=[depth] * num_groups,
        embed_dim=embed_dim,
        num_heads=[num_heads] * num_groups,
        mlp_ratio=mlp_ratio,
        drop_path_rate=DROP_PATH,
        **fixed,
    )
    replace_drop_paths(network)
    return network
