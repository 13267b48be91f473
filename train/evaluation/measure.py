"""Measuring a network on validation pairs."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from shared.errors import RunError
from shared.metrics import psnr_y, to_8bit_values, to_float
from shared.shards.format import Pair
from shared.shards.reader import Dataset

EQUAL_DB = 100.0
"""PSNR of an image that is reproduced exactly, such as a flat black one, where infinity would spoil a mean."""


class ValPair(NamedTuple):
    """A validation crop and its LR image; uint8 [H, W, 3] and [h, w, 3], RGB."""

    hr: np.ndarray
    lr: np.ndarray


Rows = Dataset | Sequence[ValPair]
"""Pairs to measure on, by number."""


def measure(network: nn.Module, rows: Rows, numbers: Sequence[int], device: torch.device) -> list[float]:
    """PSNR on Y, border of `scale` pixels cropped, of the network's 8-bit output on the given rows, dB, at most 100.

    `network` maps RGB float [1, 3, h, w] in [0, 1] to [1, 3, H, W]. Every image goes through it alone and on one
    thread, so that its value depends neither on the number of threads and processes nor on the other images; on a CPU
    the images share the threads. Raises `RunError` that names the row for an output that is not finite.
    """
    threads = torch.get_num_threads()
    with one_thread():
        if device.type != "cpu" or threads == 1:
            return [_psnr(network, rows[number], number, device) for number in numbers]
        with ThreadPoolExecutor(threads) as pool:
            pairs = map(rows.__getitem__, numbers)
            return list(pool.map(lambda pair, number: _psnr(network, pair, number, device), pairs, numbers))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run each of PyTorch's operations on one thread, also those of threads that are started meanwhile."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def to_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 [H, W, 3] as float32 [1, 3, H, W] in [0, 1]."""
    return to_float(torch.from_numpy(image).permute(2, 0, 1)[None].to(device))


@torch.no_grad()
def _psnr(network: nn.Module, pair: Pair | ValPair, number: int, device: torch.device) -> float:
    lr, hr = (to_tensor(image, device) for image in (pair.lr, pair.hr))
    output = network(lr)
    if not output.isfinite().all():
        raise RunError(
            f"the network's output on validation row {number} is not finite: take a lower --lr in another --run"
        )
    scale = hr.shape[-1] // lr.shape[-1]
    return psnr_y(to_8bit_values(output), hr, border=scale).clamp(max=EQUAL_DB).item()


@torch.no_grad()
def sample_image(network: nn.Module, rows: Rows, number: int, device: torch.device) -> np.ndarray:
    """LR (upscaled by nearest neighbour), the network's output and HR of a row side by side, uint8 [H, 3 W, 3], RGB."""
    pair = rows[number]
    scale = pair.hr.shape[0] // pair.lr.shape[0]
    values = to_8bit_values(network(to_tensor(pair.lr, device)))[0]
    output = values.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return np.hstack([pair.lr.repeat(scale, axis=0).repeat(scale, axis=1), output, pair.hr])


def photographs_of(rows: Dataset) -> list[str]:
    """The photograph of every validation row, by its hash."""
    return [rows.meta(number).hr_sha256 for number in range(len(rows))]
