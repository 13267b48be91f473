"""Whether CUDA may compute float32 convolutions and products with TF32, which keeps 10 bits of 23."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """TF32 allowed or forbidden within; PyTorch itself allows it in convolutions. Of no effect on a CPU."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32
    cudnn.allow_tf32 = products.allow_tf32 = allowed
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32 = before
