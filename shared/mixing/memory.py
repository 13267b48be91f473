"""Memory of batches that is used again: pages that the kernel must find and clear cost a sixth of decoding into them.

The training process hands out slots with the tickets, so loader workers know where to write, and takes a slot back when
the last tensor that shows it is gone. When all are in use, a batch gets memory of its own.
"""

import weakref
from typing import NamedTuple

import numpy as np
import torch

NO_SLOT = -1


class Pictures(NamedTuple):
    """Of one batch. hr: uint8 [B, H, W, 3]; lr: uint8 [B, h, w, 3]; RGB."""

    hr: np.ndarray
    lr: np.ndarray


class BatchMemory:
    """Slots for batches of one size, seen by this process and its loader workers."""

    def __init__(self, slots: int, batch_size: int, patch: int, scale: int) -> None:
        """batch_size: of this rank. patch: HR side, pixels."""
        low = patch // scale
        self._hr = torch.empty(slots, batch_size, patch, patch, 3, dtype=torch.uint8).share_memory_()
        self._lr = torch.empty(slots, batch_size, low, low, 3, dtype=torch.uint8).share_memory_()
        self._free = list(range(slots))

    def take(self) -> int:
        """A slot that nobody uses, now taken, or NO_SLOT."""
        return self._free.pop() if self._free else NO_SLOT

    def pictures(self, slot: int) -> Pictures:
        """To be written to by whoever was given the slot."""
        return Pictures(self._hr[slot].numpy(), self._lr[slot].numpy())

    def show(self, slot: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(lr, hr) as a batch has them, uint8 [B, 3, h, w] and [B, 3, H, W].

        The slot is free again when these tensors, and all that were made of them by indexing, are gone.
        """
        held = [1, 1]

        def release() -> None:
            held.pop()
            if not held:
                self._free.append(slot)

        tensors = []
        for memory in (self._lr, self._hr):
            array = memory[slot].numpy()
            weakref.finalize(array, release).atexit = False  # the storage of the tensor holds the array
            tensors.append(torch.from_numpy(array).permute(0, 3, 1, 2))
        return tensors[0], tensors[1]
