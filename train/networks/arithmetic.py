"""Float32 on CUDA."""

import torch


def forbid_tf32() -> None:
    """Compute float32 in float32 from now on: PyTorch lets CUDA's convolutions use TF32, with 10 bits instead of 23."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
