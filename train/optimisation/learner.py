"""The learner: the networks in training with their optimisers, and the average of the generator that is evaluated."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared.errors import UsageError
from train.networks import GENERATOR
from train.networks.weights import NetworkSpec, Weights, fill, load_weights
from train.optimisation.stages import Stage, make_stage
from train.record.checkpoint import EMA, MODEL, load_optimizers, save_checkpoint
from train.record.state import State
from train.settings import ScheduleSettings, TrainSettings

ADAM_BETAS = (0.9, 0.99)


class Learner:
    """Everything that an optimiser step changes.

    networks, optimizers: by name, as the stage trains them, possibly in a launcher's wrappers; the generator is first.
    ema: the averaged generator.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        settings: TrainSettings,
        initial: Weights,
        checkpoint: Path | None,
        device: torch.device,
    ) -> None:
        """Begin from `initial`, or resume from a checkpoint folder."""
        self.spec, self.settings, self.device = spec, settings, device
        begun = replace(settings, init_discriminator=None) if checkpoint else settings  # that file may be gone by now
        self.stage: Stage = make_stage(begun)
        generator = spec.load(load_weights(checkpoint / f"{MODEL}.safetensors") if checkpoint else initial, "init")
        self.plain: dict[str, nn.Module] = {GENERATOR: generator, **self.stage.companions()}
        self.ema = deepcopy(generator).requires_grad_(False)
        if checkpoint:
            fill(self.ema, load_weights(checkpoint / f"{EMA}.safetensors"), str(checkpoint))
            for name in list(self.plain)[1:]:
                fill(self.plain[name], load_weights(checkpoint / f"{name}.safetensors"), str(checkpoint))
        memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        for network in (*self.plain.values(), self.ema):
            network.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        self.stage.to(device, memory_format)
        self.optimizers: dict[str, Any] = {name: self._optimizer(network) for name, network in self.plain.items()}
        if checkpoint:
            states = load_optimizers(checkpoint)
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(states[name])
        self._bare_optimizers = dict(self.optimizers)
        self._buffers = [(name, buffer) for name, buffer in self.ema.named_buffers() if name in self.ema.state_dict()]
        self._scaler: Any = None
        self.networks = dict(self.plain)

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """One kernel for all weights where there is one; on a CPU the plain form is as fast.

        Raises `UsageError` for options that the optimiser does not have.
        """
        settings = self.settings
        kind = getattr(torch.optim, settings.optimizer)
        known = inspect.signature(kind).parameters
        options: dict[str, Any] = {"betas": ADAM_BETAS} if "betas" in known else {}
        if "fused" in known:
            options["fused"] = self.device.type == "cuda"
        try:
            return kind(network.parameters(), lr=settings.lr, **{**options, **settings.optimizer_options})
        except (TypeError, ValueError) as error:
            names = ", ".join(name for name in known if name not in ("params", "lr"))
            raise UsageError(
                f"optimizer_options are {settings.optimizer_options}: {error}; {settings.optimizer} has {names}"
            ) from error

    def prepare(self, wrap: Callable[[Any], Any], scaler: Any = None) -> None:
        """Let a launcher wrap networks and optimisers, one by one; compile the networks if that is asked for.

        scaler: of the gradients of all networks, in half precision.
        """
        self._scaler = scaler
        self.networks = {name: wrap(network) for name, network in self.networks.items()}
        self.optimizers = {name: wrap(optimizer) for name, optimizer in self.optimizers.items()}
        if self.settings.compile:
            for network in self.plain.values():
                network.compile()  # in place: names of weights stay as they are

    def begin_step(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self.stage.begin_step(self.networks)

    def step(self, step: int) -> None:
        """Step with every network, after `step` steps, and move the averaged weights towards the generator's.

        Buffers, such as the statistics of batch normalisation, are taken as they are.
        """
        if self.settings.schedule != ScheduleSettings():
            for bare in self._bare_optimizers.values():
                for group in bare.param_groups:
                    group["lr"] = self.settings.learning_rate(step)
        if self._scaler:  # Accelerate's optimisers would each change the scale, before the next one has used it
            for bare in self._bare_optimizers.values():
                self._scaler.step(bare)
            self._scaler.update()
        else:
            for optimizer in self.optimizers.values():
                optimizer.step()
        averaged: list[torch.Tensor] = list(self.ema.parameters())
        current: list[torch.Tensor] = list(self.plain[GENERATOR].parameters())
        with torch.no_grad():
            torch._foreach_lerp_(averaged, current, 1 - self.settings.ema_decay(step))
            for name, buffer in self._buffers:
                buffer.copy_(self.plain[GENERATOR].get_buffer(name))

    def save(self, folder: Path, state: State, scaler: dict[str, Any] | None) -> None:
        """Write a checkpoint into the run's folder. scaler: state of the scaling of gradients in half precision."""
        generator, *others = ((name, network.state_dict()) for name, network in self.plain.items())
        networks = {MODEL: generator[1], EMA: self.ema.state_dict(), **dict(others)}
        optimizers: dict[str, Any] = {name: one.state_dict() for name, one in self._bare_optimizers.items()}
        if scaler:
            optimizers["scaler"] = scaler
        save_checkpoint(folder, state, self.spec, networks, optimizers, self.settings.keep)
