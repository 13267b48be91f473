"""What a step changes: rates by the step, any optimiser, averaged weights and buffers; all exact under resume."""

import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from shared.errors import UsageError
from tests.train.command import flags, run, succeed
from tests.train.records import metrics, require_same_run
from train.networks import GENERATOR
from train.networks.weights import NetworkSpec
from train.optimisation.learner import Learner
from train.settings import OPTIMIZERS, ScheduleSettings, TrainSettings
from train.training_plan import TrainingPlan

CPU = torch.device("cpu")
SPEC = NetworkSpec("msrresnet", {"num_feat": 4, "num_block": 1}, 4)
BASE = TrainSettings(iterations=100, interval_steps=10, lr=1.0)


def rates(**changes: object) -> list[float]:
    settings = replace(BASE, schedule=ScheduleSettings(**changes))  # type: ignore[arg-type]
    return [settings.learning_rate(step) for step in range(100)]


def test_schedules_are_functions_of_the_step() -> None:
    assert rates() == [1.0] * 100
    assert rates(warmup_steps=4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    steps = rates(name="multistep", milestones=[10, 20], gamma=0.1)
    assert [steps[step] for step in (9, 10, 19, 20, 99)] == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])
    wave = rates(name="cosine", least=0.2)
    assert (wave[0], wave[50]) == pytest.approx((1.0, 0.6))
    assert wave == sorted(wave, reverse=True)
    assert 0.2 < wave[99] < 0.21


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "multistep"}, "schedule.milestones is "),
        ({"milestones": [5]}, "milestones"),
        ({"name": "multistep", "milestones": [5, 5]}, "must be rising steps"),
        ({"gamma": 0.0}, "schedule.gamma is 0.0"),
        ({"least": 2.0}, "schedule.least is 2.0"),
        ({"warmup_steps": -1}, "schedule.warmup_steps is -1"),
    ],
)
def test_schedules_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ScheduleSettings(**changes)


def learner(**changes: object) -> Learner:
    settings = replace(BASE, **changes)  # type: ignore[arg-type]
    return Learner(SPEC, settings, SPEC.build(1).state_dict(), None, CPU)


def train(one: Learner, steps: int) -> None:
    lr = torch.linspace(0, 1, 3 * 64).view(1, 3, 8, 8)
    for step in range(steps):
        one.begin_step()
        one.networks[GENERATOR](lr).square().sum().backward()
        one.step(step)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimiser_steps_at_the_rate_of_the_schedule(name: str) -> None:
    one = learner(optimizer=name, lr=1e-3, schedule=ScheduleSettings(warmup_steps=4))
    before = [parameter.clone() for parameter in one.plain[GENERATOR].parameters()]
    train(one, 2)
    assert one.optimizers[GENERATOR].param_groups[0]["lr"] == pytest.approx(0.5e-3)
    assert any(not torch.equal(a, b) for a, b in zip(before, one.plain[GENERATOR].parameters(), strict=True))


def test_options_of_an_optimiser_reach_it_and_unknown_ones_are_refused() -> None:
    one = learner(optimizer="AdamW", optimizer_options={"weight_decay": 0.5, "betas": [0.5, 0.6]})
    group = one.optimizers[GENERATOR].param_groups[0]
    assert (group["weight_decay"], list(group["betas"])) == (0.5, [0.5, 0.6])
    assert learner().optimizers[GENERATOR].param_groups[0]["betas"] == (0.9, 0.99)
    with pytest.raises(UsageError, match=r"optimizer_options are .*nonsense.*; SGD has momentum"):
        learner(optimizer="SGD", optimizer_options={"nonsense": 1})
    with pytest.raises(UsageError, match="unknown optimizer 'LBFGS': choose one of Adam, AdamW"):
        replace(BASE, optimizer="LBFGS")


def test_averaged_weights_follow_faster_in_the_beginning() -> None:
    warm, cold = replace(BASE, ema=0.999), replace(BASE, ema=0.999, ema_warmup=False)
    assert [warm.ema_decay(step) for step in (0, 8, 90)] == pytest.approx([0.1, 0.5, 0.91])
    assert warm.ema_decay(100_000) == cold.ema_decay(0) == 0.999
    moved = {}
    for name, settings in {"warm": warm, "cold": cold}.items():
        one = learner(lr=1e-3, ema=0.999, ema_warmup=settings.ema_warmup)
        start = one.ema.state_dict()["conv_first.weight"].clone()
        train(one, 20)
        moved[name] = (one.ema.state_dict()["conv_first.weight"] - start).abs().sum().item()
    assert moved["warm"] > 10 * moved["cold"] > 0


def test_averaged_weights_come_with_the_buffers_of_the_network() -> None:
    one = learner()
    for network in (one.plain[GENERATOR], one.ema):
        network.register_buffer("seen", torch.zeros(2))
    one._buffers = [("seen", one.ema.get_buffer("seen"))]
    one.plain[GENERATOR].get_buffer("seen").add_(3)
    train(one, 1)
    assert one.ema.get_buffer("seen").tolist() == [3, 3]


def test_batch_normalisation_in_parts_of_a_batch_is_refused() -> None:
    """A part would be normalised by its own statistics; whole batches are trained, and `Learner` keeps the buffers."""
    normalised = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    for network, is_refused in ((normalised, True), (normalised[0], False)):
        plan = SimpleNamespace(spec=SimpleNamespace(load=lambda *_, found=network: found), initial={})
        TrainingPlan.require_whole_batches(plan, 1)
        with pytest.raises(UsageError, match="in 2 parts") if is_refused else nullcontext():
            TrainingPlan.require_whole_batches(plan, 2)


def test_schedule_optimiser_and_average_are_exact_under_resume(shards: Path, tmp_path: Path) -> None:
    options = {"schedule.name": "cosine", "schedule.warmup_steps": 3, "optimizer": "AdamW", "ema": 0.9}
    argv = [*flags(shards=shards, policy="uniform", **options), "--optimizer-options.weight_decay", "0.1"]
    succeed([*argv, "--run", "whole"], tmp_path)
    stopped = run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 7))
    assert "stopped at step 7" in stopped.stderr
    succeed([*argv, "--run", "run"], tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")
    seen = [line["lr"] for line in metrics(tmp_path / "run")]
    assert seen[0] < seen[2] > seen[-1] > 0
    longer = run([*argv, "--run", "run", "--iterations", "20"], tmp_path)
    assert longer.code == 2
    assert "with --schedule.name cosine the number cannot change" in longer.stderr
