"""Networks by name: built with random weights that are a function of a seed."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import nn

from train.networks import NETWORKS, require_network


def build_network(name: str, options: Mapping[str, Any], scale: int, seed: int) -> nn.Module:
    """A network with its own random initialisation, a function of `seed` alone.

    options: sizes that differ from the defaults in `NETWORKS`. Raises `UsageError` for an unknown name, option or size.
    """
    require_network(name, options)
    module, _, maker = NETWORKS[name].place.partition(":")
    with seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")  # spandrel's transformers call it in the old way
        return getattr(import_module(module), maker)(scale=scale, **{**NETWORKS[name].options, **options})


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's layers initialise from the global generator: lend it a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def forbid_tf32() -> None:
    """Compute float32 in float32 from now on: PyTorch lets CUDA's convolutions use TF32, with 10 bits instead of 23."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def num_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
