"""The source `gpu`: LR images made from HR crops in the training process, on the device it trains on."""

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from ..degradation import gpu
from ..degradation.gpu_canvas import to_device
from ..degradation.gpu_sharpen import sharpen
from .samples import Pending

SMALL_BUDGET_BYTES = 256 << 20
"""Working memory after the device ran out of it: 48 samples of 256 pixels then really take 220 MiB instead of 610."""


class Degrader:
    """Completes batches on a device. The result does not depend on how a batch is split to fit the memory."""

    def __init__(self, scale: int, usm: bool = False, budget_bytes: int = gpu.BUDGET_BYTES) -> None:
        """usm: LR is made from the sharpened HR.

        budget_bytes: working memory of the degradation; tables and the images themselves come on top.
        """
        self._scale, self._usm, self.budget_bytes = scale, usm, budget_bytes

    def complete(
        self, lr: torch.Tensor, hr: torch.Tensor, pending: Sequence[Pending], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(lr, hr) of a batch on the device, uint8 [B, 3, h, w] and [B, 3, H, W], RGB, with the pending LR images made.

        When the device is out of memory the budget is cut to `SMALL_BUDGET_BYTES`, once and with a warning, for all
        that follows. Nothing here makes the host wait for the device.
        """
        lr, hr = onto(device, lr, hr)
        if not pending:
            return lr, hr
        places, flips = np.array([each.place for each in pending]), np.array([each.flip for each in pending])
        index, flip = to_device(places, device), to_device(flips, device)[:, None, None, None]
        crops, made = hr[index], None
        try:
            made = self._render(crops, pending)
        except torch.OutOfMemoryError:
            if self.budget_bytes <= SMALL_BUDGET_BYTES:
                raise
        if made is None:  # outside of the handler, whose traceback holds the memory that is missing
            warnings.warn(
                f"degradation on {device} ran out of memory: its budget is {SMALL_BUDGET_BYTES >> 20} MiB from now on, "
                f"was {self.budget_bytes >> 20} MiB; a smaller batch size or the source fly needs less",
                RuntimeWarning,
                stacklevel=2,
            )
            self.budget_bytes = SMALL_BUDGET_BYTES
            made = self._render(crops, pending)
        lr = lr.index_copy(0, index, torch.where(flip, made.flip(3), made))
        return lr, hr.index_copy(0, index, torch.where(flip, crops.flip(3), crops))

    def _render(self, crops_BCHW: torch.Tensor, pending: Sequence[Pending]) -> torch.Tensor:
        if self._usm:
            crops_BCHW = sharpen(crops_BCHW.float() / 255)
        return gpu.execute(crops_BCHW, [each.steps for each in pending], self._scale, self.budget_bytes)


def onto(device: torch.device, *images: torch.Tensor) -> list[torch.Tensor]:
    """Copies on the device. From pinned memory they are made beside whatever it is still computing."""
    if device.type != "cuda":
        return [image.to(device) for image in images]
    side, present = _side_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(side):
        copies = [image.to(device, non_blocking=True) for image in images]
    present.wait_stream(side)
    for copy in copies:
        copy.record_stream(present)
    return copies


@lru_cache(maxsize=1)
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
