"""SwinIR for real-world images (arXiv 2108.10257; paper: RealSwinIR; M 11,715,559 and L 28,013,059 parameters).

L: embed_dim 240, num_groups 9, num_heads 8, resi_convs 3. The architecture is spandrel's, equal to the official code.
"""

from torch import nn

from shared.errors import UsageError
from train.networks.depth import replace_drop_paths

DROP_PATH = 0.1
TRAIN_LR_SIDE = 64


def swinir(
    scale: int = 4,
    embed_dim: int = 180,
    num_groups: int = 6,
    depth: int = 6,
    num_heads: int = 6,
    window_size: int = 8,
    mlp_ratio: int = 2,
    resi_convs: int = 1,
) -> nn.Module:
    """A network from lr, float [B, 3, h, w], RGB in [0, 1], to float [B, 3, scale h, scale w], with official keys.

    Raises `UsageError` for a scale that it has not, or sizes that do not divide.
    """
    from spandrel.architectures.SwinIR import SwinIR  # seconds of imports that only who wants it waits for

    if scale not in (2, 4, 8):
        raise UsageError(f"scale is {scale}: swinir upscales by 2, 4 or 8")
    if resi_convs not in (1, 3):
        raise UsageError(f"network option resi_convs is {resi_convs}: it must be 1 or 3")
    if embed_dim % num_heads:
        raise UsageError(f"network option embed_dim is {embed_dim}: it must be a multiple of num_heads {num_heads}")
    network = SwinIR(
        upscale=scale,
        img_size=TRAIN_LR_SIDE,
        window_size=window_size,
        img_range=1.0,
        depths=[depth] * num_groups,
        embed_dim=embed_dim,
        num_heads=[num_heads] * num_groups,
        mlp_ratio=mlp_ratio,
        upsampler="nearest+conv",
        resi_connection=f"{resi_convs}conv",
        drop_path_rate=DROP_PATH,
    )
    replace_drop_paths(network)
    return network
