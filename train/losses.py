"""Losses: each gives one number per sample, so that a policy can weigh the tasks."""

import torch


def l1(output_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of each sample, [B]; RGB in [0, 1]."""
    return (output_BCHW - target_BCHW).abs().mean(dim=(1, 2, 3))
