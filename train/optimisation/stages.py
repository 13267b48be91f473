"""Stages: which networks train, and on which losses. A new stage is one file and one line below.

A stage gives losses of single samples and never their mean: the loop weighs them by the policy's coefficients, goes
backward, and steps once for all networks. So a coefficient reaches every network that a sample trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from shared.errors import UsageError

if TYPE_CHECKING:  # names of stages must be known before PyTorch is imported
    import torch
    from torch import nn

    from train.optimisation.objective import Objective, TrainingImages
    from train.settings import TrainSettings


class Stage:
    """Losses of a batch for each trained network. The defaults are those of a stage of the generator alone."""

    def __init__(self, settings: TrainSettings) -> None:
        """Raises `UsageError` for a file that the losses need and that is not there."""

    def require_patch(self, patch: int) -> None:
        """Raises `UsageError` when the stage cannot take HR patches of `patch` pixels."""

    def companions(self) -> dict[str, nn.Module]:
        """The networks that are trained beside the generator, by name, as they begin."""
        return {}

    def contents(self) -> dict[str, str]:
        """Digests of the files that the losses depend on, by the name of the option (`train/record/resume.py`)."""
        return {}

    def to(self, device: torch.device, memory_format: torch.memory_format) -> None:
        """Move the networks that are not trained."""

    def begin_step(self, networks: Mapping[str, nn.Module]) -> None:
        """Prepare an optimiser step; called before its first batch."""

    def objectives(self, networks: Mapping[str, nn.Module], images: TrainingImages) -> Iterator[Objective]:
        """One objective for each trained network, the generator's first.

        The caller goes backward on each before it asks for the next. networks: as prepared for training, by name.
        """
        raise NotImplementedError


STAGES = {"psnr": "train.optimisation.psnr:PSNR", "gan": "train.optimisation.gan:GAN"}
"""Where each stage is made, as module:class."""


def require_stage(name: str) -> None:
    """Raises `UsageError` for an unknown stage."""
    if name not in STAGES:
        raise UsageError(f"unknown stage {name!r}: choose one of {', '.join(STAGES)}")


def make_stage(settings: TrainSettings) -> Stage:
    """The stage that the settings name. Raises `UsageError` for an unknown one, or for a file that it lacks."""
    require_stage(settings.stage)
    module, _, name = STAGES[settings.stage].partition(":")
    return getattr(import_module(module), name)(settings)
