"""What a launcher asks for is obeyed, or refused in words that say what to give."""

import os
from pathlib import Path

import pytest
import torch

from shared.errors import UsageError
from tests.train.command import flags, run
from train.launcher import require_all_processes, require_launcher
from train.networks.build import forbid_tf32
from train.settings import TrainSettings

BY_ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO", "ACCELERATE_USE_CPU": "True"}


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({}, {}),
        (BY_ACCELERATE, {}),
        (BY_ACCELERATE, {"precision": "bf16"}),
        ({**BY_ACCELERATE, "ACCELERATE_MIXED_PRECISION": "bf16"}, {"precision": "bf16"}),
        ({**BY_ACCELERATE, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1"}, {"accumulate": 2}),
        ({**BY_ACCELERATE, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"}, {"accumulate": 2}),
        ({**BY_ACCELERATE, "ACCELERATE_USE_FSDP": "false"}, {}),
    ],
)
def test_what_agrees_with_the_settings_passes(environment: dict, settings: dict) -> None:
    require_launcher(environment, TrainSettings(**settings))


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"ACCELERATE_MIXED_PRECISION": "bf16"},
            "bf16, and --precision is fp32: give --precision bf16",
        ),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, "mixed precision fp8"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "4 gradient accumulation steps, .* give --accumulate 4"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "configured for DeepSpeed: .* choose multi-GPU"),
        ({"ACCELERATE_USE_FSDP": "true"}, "configured for FSDP"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "dynamo backend inductor: give --compile"),
    ],
)
def test_what_does_not_is_refused_in_words(environment: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        require_launcher(environment, TrainSettings())


def test_an_address_that_everybody_inherits_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**BY_ACCELERATE, "MASTER_PORT": "29500"}
    with pytest.raises(UsageError, match="asked for several processes and started one"):
        require_all_processes(environment, 1)
    mine = os.getpid()
    name = next(name for name in ("PATH", "HOME") if f"{name}=".encode() in Path(f"/proc/{mine}/environ").read_bytes())
    monkeypatch.setattr(os, "getppid", lambda: mine)  # as if this process, which was given that, were the launcher
    monkeypatch.setattr("train.launcher.ADDRESS", name)
    require_all_processes({**BY_ACCELERATE, name: "x"}, 1)


def test_the_command_refuses_before_it_trains(shards: Path, tmp_path: Path) -> None:
    outcome = run(flags(shards=shards, run="run"), tmp_path, env={"ACCELERATE_USE_FSDP": "true"})
    assert outcome.code == 2
    assert outcome.errors[0].startswith("error: Accelerate is configured for FSDP")


def test_fp32_means_fp32() -> None:
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    forbid_tf32()
    assert [backend.allow_tf32 for backend in backends] == [False, False]
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
