"""Networks, with the key names of the official checkpoints. A new network is one file and one line below."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from shared.errors import UsageError
from train.networks.hat import hat
from train.networks.msrresnet import MSRResNet
from train.networks.rrdbnet import RRDBNet
from train.networks.swinir import swinir

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "msrresnet": MSRResNet,
    "rrdbnet": RRDBNet,
    "swinir": swinir,
    "hat": hat,
}
GENERATOR = "generator"
"""The network that is evaluated, averaged and published."""
DETECTED = "spandrel"
"""Stands for the network, of any that spandrel knows, that a file holds the weights of."""


def build_network(name: str, options: Mapping[str, Any], scale: int, seed: int) -> nn.Module:
    """A network with its own random initialisation, a function of `seed` alone.

    options: sizes, as keyword arguments of the class. Raises `UsageError` for an unknown name, option or size.
    """
    if name not in NETWORKS:
        raise UsageError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}, or {DETECTED} with a file")
    known = set(inspect.signature(NETWORKS[name]).parameters) - {"scale"}
    for option in options:
        if option not in known:
            raise UsageError(f"unknown network option {option!r}: {name} has {', '.join(sorted(known))}")
    for option, size in options.items():
        if size < 1:
            raise UsageError(f"network option {option} is {size}: it must be at least 1")
    with seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")  # spandrel's transformers call it in the old way
        return NETWORKS[name](scale=scale, **options)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's layers initialise from the global generator: lend it a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def num_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
