"""Losses: each gives one number per sample, so that a policy can weigh the tasks."""

import torch
from torch.nn import functional


def l1(output_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of each sample, [B]; RGB in [0, 1]."""
    return (output_BCHW - target_BCHW).abs().mean(dim=(1, 2, 3))


def pass_for_real(scores_B1HW: torch.Tensor) -> torch.Tensor:
    """What the generator pays where its output is found out: vanilla GAN, -log sigmoid of the logits, [B]."""
    return functional.softplus(-scores_B1HW.float()).mean(dim=(1, 2, 3))


def judge(real_B1HW: torch.Tensor, fake_B1HW: torch.Tensor) -> torch.Tensor:
    """What the discriminator pays for a photograph and the output of the same sample: vanilla GAN on logits, [B]."""
    return (functional.softplus(-real_B1HW.float()) + functional.softplus(fake_B1HW.float())).mean(dim=(1, 2, 3))
