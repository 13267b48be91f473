"""HAT, the hybrid attention transformer (arXiv 2205.04437; paper: RealHAT; 20,772,507 parameters).

The architecture is spandrel's, equal to the official code.
"""

from torch import nn

from shared.errors import UsageError
from train.networks.depth import replace_drop_paths

DROP_PATH = 0.1
TRAIN_LR_SIDE = 64


def hat(
    scale: int = 4,
    embed_dim: int = 180,
    num_groups: int = 6,
    depth: int = 6,
    num_heads: int = 6,
    window_size: int = 16,
    mlp_ratio: int = 2,
    compress_ratio: int = 3,
    squeeze_factor: int = 30,
) -> nn.Module:
    """A network from lr, float [B, 3, h, w], RGB in [0, 1], to float [B, 3, scale h, scale w], with official keys.

    Raises `UsageError` for a scale that it has not, or sizes that do not divide.
    """
    from spandrel.architectures.HAT import HAT  # seconds of imports that only who wants it waits for

    if scale not in (2, 3, 4):
        raise UsageError(f"scale is {scale}: hat upscales by 2, 3 or 4")
    if embed_dim % num_heads:
        raise UsageError(f"network option embed_dim is {embed_dim}: it must be a multiple of num_heads {num_heads}")
    if embed_dim < (least := max(compress_ratio, squeeze_factor)):
        raise UsageError(
            f"network option embed_dim is {embed_dim}: it must be at least {least}, the larger of compress_ratio and "
            "squeeze_factor, which divide it"
        )
    network = HAT(
        upscale=scale,
        img_size=TRAIN_LR_SIDE,
        window_size=window_size,
        compress_ratio=compress_ratio,
        squeeze_factor=squeeze_factor,
        conv_scale=0.01,
        overlap_ratio=0.5,
        img_range=1.0,
        depths=[depth] * num_groups,
        embed_dim=embed_dim,
        num_heads=[num_heads] * num_groups,
        mlp_ratio=mlp_ratio,
        upsampler="pixelshuffle",
        resi_connection="1conv",
        drop_path_rate=DROP_PATH,
    )
    replace_drop_paths(network)
    return network
