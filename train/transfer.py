"""Between host and device, without waiting: batches on their way in, losses on their way out."""

from functools import lru_cache

import torch


class Readback:
    """What a device computes: queued now, read later, waiting only for what was queued before it."""

    def __init__(self, value: torch.Tensor) -> None:
        self._value, self._arrived = value, None
        if value.is_cuda:
            self._value = torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> torch.Tensor:
        """The value, on the CPU."""
        if self._arrived:
            self._arrived.synchronize()
        return self._value


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
