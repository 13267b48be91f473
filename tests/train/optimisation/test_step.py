"""One optimiser step: the mathematics of each stage, in one piece or in parts, and nothing moved by a bad loss."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shared.degradation import cpu
from shared.degradation.gpu_sharpen import sharpen
from train.networks import GENERATOR
from train.networks.weights import NetworkSpec, weights_digest
from train.optimisation.learner import Learner
from train.optimisation.losses import adversarial_loss, discriminator_loss, l1
from train.optimisation.objective import Objective, TrainingImages
from train.optimisation.step import NotFiniteError, Weigh, backward
from train.settings import GANSettings, TrainSettings

CPU = torch.device("cpu")
SPEC = NetworkSpec("msrresnet", {"num_feat": 4, "num_block": 1}, 4)
TASKS = torch.tensor([0, 1, 1, 0])
KEYS = [(0, "noise", ordinal) for ordinal in range(4)]


class OneProcess:
    """What Accelerate is to a step, for one process on a CPU."""

    def autocast(self) -> Any:
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        return tensor

    def no_sync(self, model: nn.Module) -> Any:
        return nullcontext()

    def unscale_gradients(self) -> None:
        pass


def make_learner(**changes: Any) -> Learner:
    values = {
        "stage": "gan",
        "gan": GANSettings(perceptual=0, num_feat=4),
        "lr": 1e-3,
        "ema": 0.5,
        "ema_warmup": False,
        **changes,
    }
    return Learner(SPEC, TrainSettings(**{"ema_warmup": False, **values}), SPEC.build(1).state_dict(), None, CPU)


def batch(seed: int) -> TrainingImages:
    generator = torch.Generator().manual_seed(seed)
    lr, hr, target = (torch.rand(4, 3, side, side, generator=generator) for side in (8, 32, 32))
    return TrainingImages(lr, hr, target)


def take_step(
    learner: Learner, pictures: TrainingImages, tasks: torch.Tensor, keys: list, weigh: Weigh
) -> dict[str, float]:
    losses = backward(learner, OneProcess(), pictures, tasks, keys, weigh)
    learner.step(0)
    return losses


def step(learner: Learner, pictures: TrainingImages, c: tuple[float, float] = (1.0, 1.0)) -> dict[str, float]:
    return take_step(learner, pictures, TASKS, KEYS, lambda losses, tasks: torch.tensor(c)[tasks])


def digests(learner: Learner) -> list[str]:
    return [weights_digest(network.state_dict()) for network in (*learner.plain.values(), learner.ema)]


def moments(learner: Learner, name: str) -> list[torch.Tensor]:
    """Adam's first moments: after the first step .1 times the gradient."""
    return [state["exp_avg"] for state in learner.optimizers[name].state.values()]


# ---- against Real-ESRGAN's own order of things


def test_three_steps_of_the_gan_stage_are_those_of_real_esrgan() -> None:
    learner = make_learner()
    generator, critic = SPEC.build(1), make_learner().plain["discriminator"]
    averaged = SPEC.build(1)
    adams = [torch.optim.Adam(one.parameters(), lr=1e-3, betas=(0.9, 0.99)) for one in (generator, critic)]
    bce = functional.binary_cross_entropy_with_logits
    for number in range(3):
        lr, hr, target = pictures = batch(number)
        losses = step(learner, pictures)
        critic.refresh(3)
        for parameter in critic.parameters():
            parameter.requires_grad = False
        output = generator(lr)
        verdict = critic(output)
        loss_g = functional.l1_loss(output, target) + 0.1 * bce(verdict, torch.ones_like(verdict))
        adams[0].zero_grad()
        loss_g.backward()
        adams[0].step()
        for parameter in critic.parameters():
            parameter.requires_grad = True
        adams[1].zero_grad()
        real, fake = critic(hr), critic(output.detach())
        loss_d = bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))
        loss_d.backward()
        adams[1].step()
        for mean, current in zip(averaged.parameters(), generator.parameters(), strict=True):
            mean.data = 0.5 * mean.data + 0.5 * current.data
        assert losses == pytest.approx({"generator": loss_g.item(), "discriminator": loss_d.item()}, rel=1e-5)
    for mine, theirs in ((learner.plain["generator"], generator), (learner.ema, averaged)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5)
    for a, b in zip(learner.plain["discriminator"].parameters(), critic.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_discriminator_compares_with_the_plain_photograph_and_l1_with_the_target() -> None:
    pictures = batch(0)
    other = batch(1)
    for name, changed in (("discriminator", "hr"), ("generator", "target")):
        learner, again = make_learner(), make_learner()
        before = step(learner, pictures)
        after = step(again, pictures._replace(**{changed: getattr(other, changed)}))
        assert {key for key in before if before[key] != after[key]} == {name}


# ---- coefficients


@pytest.mark.parametrize("stage", ["psnr", "gan"])
def test_coefficients_weigh_every_network_and_are_not_normalised(stage: str) -> None:
    pictures, rows = batch(0), [1, 2]  # the samples of task 1
    weighed, alone = make_learner(stage=stage), make_learner(stage=stage)
    losses = step(weighed, pictures, (0.0, 3.0))
    part = TrainingImages(*(images[rows] for images in pictures))
    only = take_step(alone, part, TASKS[rows], KEYS[1:3], lambda losses, tasks: torch.full((2,), 3.0))
    for name in weighed.plain:
        assert losses[name] == pytest.approx(only[name] / 2, rel=1e-5)  # the same sum over a batch of 4 instead of 2
        for a, b in zip(moments(weighed, name), moments(alone, name), strict=True):
            assert torch.allclose(a, b / 2, rtol=1e-3, atol=1e-8)


def test_weights_are_asked_for_once_and_see_the_generators_losses() -> None:
    seen = []

    def weigh(losses: torch.Tensor, tasks: torch.Tensor) -> torch.Tensor:
        seen.append((losses.tolist(), tasks.tolist(), losses.requires_grad))
        return torch.ones_like(losses)

    values = take_step(make_learner(), batch(0), TASKS, KEYS, weigh)
    ((losses, tasks, has_graph),) = seen
    assert np.mean(losses) == pytest.approx(values["generator"], rel=1e-6)
    assert (tasks, has_graph) == (TASKS.tolist(), False)


# ---- parts, clipping


@pytest.mark.parametrize("stage", ["psnr", "gan"])
@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_the_same_step(stage: str, parts: int) -> None:
    whole, divided = make_learner(stage=stage), make_learner(stage=stage, accumulate=parts)
    for number in range(3):
        assert step(divided, batch(number), (0.5, 2.0)) == pytest.approx(
            step(whole, batch(number), (0.5, 2.0)), rel=1e-5
        )
    for name in whole.plain:
        for a, b in zip(whole.plain[name].parameters(), divided.plain[name].parameters(), strict=True):
            assert torch.allclose(a, b, atol=2e-5)


def test_gradients_are_clipped_to_a_norm_for_each_network() -> None:
    free, clipped = make_learner(), make_learner(clip=0.01)
    step(free, batch(0))
    step(clipped, batch(0))
    for name in free.plain:
        norm = torch.cat([moment.flatten() for moment in moments(free, name)]).norm() / 0.1
        assert norm > 0.011
        for a, b in zip(moments(free, name), moments(clipped, name), strict=True):
            assert torch.allclose(a * (0.01 / norm), b, rtol=1e-3, atol=1e-9)


# ---- half precision


class Scaled(OneProcess):
    """The launcher in half precision: losses are scaled before they go backward."""

    def __init__(self, learner: Learner) -> None:
        self._learner, self.scaler = learner, torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1)
        learner.prepare(lambda part: part, self.scaler)

    def backward(self, loss: torch.Tensor) -> None:
        self.scaler.scale(loss).backward()

    def unscale_gradients(self) -> None:
        for optimizer in self._learner.optimizers.values():
            self.scaler.unscale_(optimizer)


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_one_scale_of_the_gradients_serves_the_step_of_all_networks(clip: float) -> None:
    plain, half = make_learner(clip=clip), make_learner(clip=clip)
    launcher = Scaled(half)
    for number in range(2):  # the scale grows after each
        step(plain, batch(number))
        backward(half, launcher, batch(number), TASKS, KEYS, lambda losses, tasks: torch.ones_like(losses))
        half.step(number)
    assert launcher.scaler.get_scale() == 2.0**12
    for name in plain.plain:
        for a, b in zip(moments(plain, name), moments(half, name), strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-9)


def test_gradients_that_overflow_in_one_network_leave_it_where_it_is() -> None:
    learner = make_learner()
    launcher = Scaled(learner)
    before = weights_digest(learner.plain[GENERATOR].state_dict())
    backward(learner, launcher, batch(0), TASKS, KEYS, lambda losses, tasks: torch.ones_like(losses))
    next(learner.plain[GENERATOR].parameters()).grad.fill_(torch.inf)  # type: ignore[union-attr]
    learner.step(0)
    assert weights_digest(learner.plain[GENERATOR].state_dict()) == before
    assert not learner.optimizers[GENERATOR].state
    assert learner.optimizers["discriminator"].state
    assert launcher.scaler.get_scale() == 2.0**9


# ---- a loss that is no number


class Spoilt:
    """A stage whose loss of one network is not a number for one sample."""

    def __init__(self, stage: Any, network: str) -> None:
        self.stage, self.network = stage, network

    def begin_step(self, networks: Mapping[str, nn.Module]) -> None:
        pass

    def objectives(self, networks: Mapping[str, nn.Module], pictures: TrainingImages) -> Iterator[Objective]:
        spoil = torch.tensor([0.0, 0.0, torch.nan, 0.0])
        for objective in self.stage.objectives(networks, pictures):
            bad = objective.network == self.network
            yield objective._replace(losses=objective.losses + spoil) if bad else objective


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_a_loss_of_either_network_that_is_no_number_moves_neither(network: str) -> None:
    learner = make_learner()
    learner.stage = Spoilt(learner.stage, network)
    before = digests(learner)
    with pytest.raises(NotFiniteError, match=f"the {network}'s loss is nan") as caught:
        step(learner, batch(0))
    assert caught.value.samples == [2]
    assert digests(learner) == before
    assert not learner.optimizers[GENERATOR].state


# ---- losses of single samples


def test_losses_are_those_of_single_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(3, 1, 4, 4, generator=generator) for _ in range(2))
    bce = functional.binary_cross_entropy_with_logits
    for i in range(3):
        alone = slice(i, i + 1)
        assert discriminator_loss(real, fake)[i].item() == pytest.approx(
            (bce(real[alone], torch.ones(1, 1, 4, 4)) + bce(fake[alone], torch.zeros(1, 1, 4, 4))).item(), rel=1e-5
        )
        assert adversarial_loss(fake)[i].item() == pytest.approx(
            bce(fake[alone], torch.ones(1, 1, 4, 4)).item(), rel=1e-5
        )
        assert l1(real, fake)[i].item() == pytest.approx(functional.l1_loss(real[alone], fake[alone]).item(), rel=1e-5)


def test_the_device_sharpens_as_the_shards_were_sharpened() -> None:
    photograph = np.random.Philox(0).random_raw(2 * 90 * 75 * 3).astype(np.uint8).reshape(2, 90, 75, 3)
    smooth = np.stack([cpu.cv2.GaussianBlur(image, (0, 0), 2) for image in photograph])
    images = np.concatenate([photograph, smooth])
    expected = np.stack([cpu.sharpen(image) for image in images])
    found = sharpen(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - expected).max() < 2e-5
    assert np.abs(expected - images / 255).max() > 0.02  # it does something
