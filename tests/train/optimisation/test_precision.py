"""Half precision and compiled networks: other arithmetic in the steps, the same run around them."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.command import flags, run, succeed
from tests.train.records import final_weights, intervals, metrics, require_same_run
from train.networks.weights import load_weights
from train.record.checkpoint import load_optimizers
from train.record.state import latest_checkpoint


@pytest.fixture(scope="module")
def argv(shards: Path) -> list[str]:
    return flags(shards=shards, run="run", policy="uniform", workers=0)


@pytest.fixture(scope="module")
def fp32(argv: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fp32")
    succeed(argv, folder)
    return folder / "run"


@pytest.fixture(scope="module")
def bf16(argv: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bf16")
    succeed([*argv, "--precision", "bf16"], folder)
    return folder / "run"


def test_bf16_loses_little_and_only_in_training(bf16: Path, fp32: Path) -> None:
    for mine, theirs in zip(metrics(bf16), metrics(fp32), strict=True):
        assert mine["counts"] == theirs["counts"]
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=0.02)  # 8 bits of mantissa
    assert intervals(bf16)[0]["shared_db"] == intervals(fp32)[0]["shared_db"]  # evaluation is fp32
    found = np.array(intervals(bf16)[-1]["shared_db"])
    assert np.abs(found - intervals(fp32)[-1]["shared_db"]).max() < 0.5
    assert final_weights(bf16) != final_weights(fp32)


def test_what_bf16_leaves_is_fp32(bf16: Path) -> None:
    folder = latest_checkpoint(bf16)
    for name in ("model.safetensors", "ema.safetensors", "network.pth"):
        assert {value.dtype for value in load_weights(folder / name).values()} == {torch.float32}
    states = load_optimizers(folder)["generator"]["state"].values()
    assert {state["exp_avg"].dtype for state in states} == {torch.float32}


def test_a_bf16_run_goes_on_exactly(argv: list[str], bf16: Path, tmp_path: Path) -> None:
    argv = [*argv, "--precision", "bf16"]
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", bf16)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_fp16_needs_an_accelerator(argv: list[str], tmp_path: Path) -> None:
    outcome = run([*argv, "--precision", "fp16"], tmp_path)
    assert (outcome.code, outcome.errors) == (
        2,
        ["error: precision is fp16: half precision needs a GPU; take bf16 or fp32"],
    )


@pytest.mark.slow
def test_a_compiled_network_trains_and_goes_on_as_itself(
    argv: list[str], fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.train.command.DEADLINE_SECONDS", 1800.0)  # a compiler on a busy machine
    argv = [*argv, "--compile"]
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 7))
    succeed(argv, tmp_path)
    for mine, theirs in zip(metrics(tmp_path / "run"), metrics(fp32), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
    mine, theirs = (load_weights(latest_checkpoint(folder) / "network.pth") for folder in (tmp_path / "run", fp32))
    assert mine.keys() == theirs.keys()  # no `_orig_mod.` for other tools to stumble over
