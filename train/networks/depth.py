"""Stochastic depth keyed by ticket: a sample skips the same branches in any batch, on any rank, in any resumed run.

Deep Networks with Stochastic Depth (arXiv 1603.09382), drawn for each sample, as the transformers' DropPath does.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from shared.seeds import words

Key = tuple[int | str, ...]
BRANCHES = 2
"""Branches of a block that share one module: attention, then the multilayer perceptron."""


class StochasticDepth(nn.Module):
    """x times 0 with `probability`, else times 1 / (1 - probability), drawn anew for each sample and branch.

    Without drawn factors, or in evaluation, x.
    """

    factors: torch.Tensor | None

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.branch = 0
        self.register_buffer("factors", None, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: float [B, tokens, channels]."""
        if not self.training or self.factors is None:
            return x
        factors = self.factors[self.branch]
        self.branch = (self.branch + 1) % BRANCHES
        return x * factors.to(x.dtype)[:, None, None]


def replace_drop_paths(network: nn.Module) -> None:
    """Put a `StochasticDepth` in the place of every DropPath of a network, whosever class it is."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child).__name__ == "DropPath":
                probability = cast(float, child.drop_prob)
                setattr(parent, name, StochasticDepth(probability))


def draw_depth(network: nn.Module, keys: Sequence[Key], device: torch.device) -> None:
    """Draw the branches that each sample of a batch skips. keys: the samples' own, such as (seed, task, ordinal)."""
    layers = [module for module in network.modules() if isinstance(module, StochasticDepth)]
    if not layers:
        return
    drawn = np.stack([words(BRANCHES * len(layers), "depth", *key) for key in keys], axis=1)
    units = (drawn >> np.uint64(11)) * 2.0**-53
    for layer, unit in zip(layers, units.reshape(len(layers), BRANCHES, len(keys)), strict=True):
        factors = np.where(unit < layer.probability, 0, 1 / (1 - layer.probability)).astype(np.float32)
        layer.factors = torch.from_numpy(factors).to(device, non_blocking=True)


def for_gradients(network: nn.Module) -> nn.Module:
    """A network in the mode in which the gradients of single samples are taken: no branch is skipped.

    That is evaluation, but where evaluation computes with other weights than training (`freeze_unused`).
    """
    if all(parameter.requires_grad for parameter in network.parameters()):
        return network.eval()
    for module in network.modules():
        if isinstance(module, StochasticDepth):
            module.factors = None
    return network.train()
