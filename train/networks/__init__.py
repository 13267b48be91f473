"""Networks, with the key names of the official checkpoints. A new network is one file and one line below."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from shared.errors import UsageError
from train.networks.msrresnet import MSRResNet
from train.networks.rrdbnet import RRDBNet

NETWORKS: dict[str, type[nn.Module]] = {"msrresnet": MSRResNet, "rrdbnet": RRDBNet}


def build_network(name: str, options: Mapping[str, Any], scale: int, seed: int) -> nn.Module:
    """A network with its own random initialisation, a function of `seed` alone.

    options: sizes, as keyword arguments of the class. Raises `UsageError` for an unknown name, option or size.
    """
    if name not in NETWORKS:
        raise UsageError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}")
    known = set(inspect.signature(NETWORKS[name]).parameters) - {"scale"}
    for option in options:
        if option not in known:
            raise UsageError(f"unknown network option {option!r}: {name} has {', '.join(sorted(known))}")
    for option, size in options.items():
        if size < 1:
            raise UsageError(f"network option {option} is {size}: it must be at least 1")
    with torch.random.fork_rng(devices=[]):  # PyTorch's layers initialise from the global generator: lend it a seed
        torch.manual_seed(seed)
        return NETWORKS[name](scale=scale, **options)


def num_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
