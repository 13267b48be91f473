"""What users get wrong: one line that names the remedy, exit code 2 for usage and 1 for failure, no traceback."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from shared.shards.format import group_rows, read_index
from tests.train.command import Command, Outcome, flags, run, start_ranks
from tests.train.conftest import pretend_other_rows
from tests.train.records import metrics


def error_of(outcome: Outcome, code: int) -> str:
    """The one line that tells what is wrong."""
    assert "Traceback" not in outcome.stderr, outcome.stderr
    assert outcome.code == code, outcome.stderr
    (error,) = outcome.errors
    return error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["noise", "rain"]}, "task 'rain' is not in {shards}: it holds mild, noise, severe"),
        ({"mode": "single"}, "--mode single needs --task, the task to train on"),
        ({"mode": "single", "task": "rain"}, "task 'rain' is not in {shards}: choose mild, noise, severe"),
        ({"mode": "twice"}, "mode"),
        ({"interations": 10}, "unrecognized arguments: --interations"),
        ({"iterations": 12}, "iterations is 12: it must be a multiple of interval_steps 5"),
        ({"batch_size": "four"}, "batch_size"),
        ({"network.options.depth": 3}, "unknown network option 'depth': msrresnet has num_block, num_feat"),
        ({"network.options.num_feat": 0}, "network option num_feat is 0: it must be at least 1"),
        ({"network.name": "srcnn"}, "unknown network 'srcnn': choose one of msrresnet, rrdbnet"),
        (
            {"tasks": ["noise"]},
            "policy rebalance balances several tasks, and there is only noise: take --policy uniform",
        ),
        ({"policy": "magic"}, "unknown policy 'magic': choose one of rebalance, uniform"),
        ({"init": "none.pth"}, "no weights file none.pth: put one there"),
        ({"config": "none.yaml"}, "none.yaml"),
        ({"lr": -1}, "lr is -1.0: it must be positive"),
    ],
)
def test_a_request_that_cannot_be_meant(shards: Path, tmp_path: Path, changes: dict, message: str) -> None:
    outcome = run(flags(shards=shards, run="run", **changes), tmp_path)
    assert message.format(shards=shards) in error_of(outcome, 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("text", "name"), [("learning_rate: 1", "learning_rate"), ("network: {size: 1}", "size")])
def test_an_unknown_key_in_the_config_file(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert name in error_of(run(["--config", "x.yaml"], tmp_path), 2)


def test_no_shards(tmp_path: Path) -> None:
    error = error_of(run([], tmp_path), 1)
    assert "no shards in shards, which does not exist: render some with python -m gen.render --subspace all" in error


def test_no_validation_set(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards", ignore=shutil.ignore_patterns("noise-val"))
    error = error_of(run(flags(shards="shards"), tmp_path), 1)
    assert "no validation set shards/noise-val: render it with" in error
    assert "python -m gen.render --subspace noise --split val --out shards" in error


def test_two_datasets_of_one_task(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    shutil.copytree(shards / "noise", tmp_path / "shards/noise-old")
    error = error_of(run(flags(shards="shards"), tmp_path), 1)
    assert error == "error: shards/noise and shards/noise-old both hold noise, train: move one elsewhere"


def test_a_dataset_instead_of_the_folder_that_holds_it(shards: Path, tmp_path: Path) -> None:
    error = error_of(run(flags(shards=shards / "noise"), tmp_path), 2)
    assert error == f"error: shards is {shards / 'noise'}: this is one dataset, name the folder that holds it"


def test_validation_sets_of_different_crops(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    manifest = tmp_path / "shards/noise-val/manifest.json"
    values = json.loads(manifest.read_text())
    values["recipe"]["seed"] = 1
    manifest.write_text(json.dumps(values))
    error = error_of(run(flags(shards="shards"), tmp_path), 1)
    assert "val sets of noise and mild show different crops, so gaps cannot be paired" in error


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"interval_steps": 3}, "interval_steps = 5, this run has 3"),
        ({"batch_size": 8}, "batch_size = 4, this run has 8"),
        ({"lr": 0.1}, "lr = 0.005, this run has 0.1"),
        ({"network.options.num_feat": 8}, "network = {'name': 'msrresnet', 'options': {'num_block': 1, 'num_feat': 4}"),
        ({"seed": 1}, "init_sha256 = "),
    ],
)
def test_references_of_another_protocol(
    shards: Path, references: Path, tmp_path: Path, changes: dict, key: str
) -> None:
    outcome = run(flags(shards=shards, references=references, run="run", **changes), tmp_path)
    error = error_of(outcome, 1)
    assert f"reference {references / 'mild'} was trained with {key}" in error
    assert "train references of its own (--references another folder) or use the same setting" in error


def test_references_of_other_rows(shards: Path, references: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    pretend_other_rows(tmp_path / "shards/noise")
    outcome = run(flags(shards="shards", references=references, run="run"), tmp_path)
    assert f"reference {references / 'noise'} was trained with train_rows = " in error_of(outcome, 1)


def test_an_init_file_that_does_not_fit(shards: Path, tmp_path: Path) -> None:
    torch.save({"params": {"conv_first.weight": torch.zeros(4, 3, 3, 3)}}, tmp_path / "net.pth")
    error = error_of(run(flags(shards=shards, init="net.pth"), tmp_path), 1)
    assert error == (
        "error: net.pth does not fit the network: key 'body.0.conv1.bias' is not in the file; "
        "wanted is msrresnet of scale 4, num_feat 4, num_block 1; of equal name and shape are 1 of 14 tensors, 5.8% of "
        "the network, and half is the least: make the network as the file's is (--network.options), or leave --init out"
    )


def test_an_init_file_that_is_no_weights_file(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_text("<html>404</html>")
    error = error_of(run(flags(shards=shards, init="net.pth"), tmp_path), 1)
    assert "net.pth is not a weights file that can be read without running code" in error


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard(shards: Path, tmp_path: Path, workers: int) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    tar = sorted((tmp_path / "shards/noise").glob("*.tar"))[1]
    hr, _, _ = group_rows(read_index(tar.with_suffix(".idx").read_bytes()))[3]
    data = bytearray(tar.read_bytes())
    middle = hr.offset + hr.size // 2
    data[middle : middle + 64] = bytes(255 - byte for byte in data[middle : middle + 64])
    tar.write_bytes(data)
    argv = flags(shards="shards", run="run", policy="uniform", workers=workers, iterations=50)
    error = error_of(run(argv, tmp_path), 1)
    assert f"allows: shards/noise/{tar.name}: row noise-000001-00003 is damaged" in error


def test_a_shard_that_is_gone(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    tar = sorted((tmp_path / "shards/severe").glob("*.tar"))[0]
    tar.unlink()
    outcome = run(flags(shards="shards", run="run", policy="uniform", iterations=50, source="shards"), tmp_path)
    assert f"shard file shards/severe/{tar.name} is missing" in error_of(outcome, 1)


def test_two_runs_on_one_folder(shards: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, run="run", policy="uniform", iterations=100_000, interval_steps=50_000)
    first = Command(argv, tmp_path)
    first.wait_until(lambda: len(metrics(tmp_path / "run")) >= 1)
    error = error_of(run(argv, tmp_path), 1)
    assert error.startswith("error: run is being written by another process (train/run.py)")
    first.signal_group(signal.SIGTERM)
    assert "stopped at step" in first.wait().stderr


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_samples(shards: Path, tmp_path: Path) -> None:
    outcome = run(flags(shards=shards, run="run", policy="uniform", lr=1e30), tmp_path)
    error = error_of(outcome, 1)
    assert "loss is nan at step 2, samples" in error or "loss is inf at step 2, samples" in error
    assert error.endswith("take a lower --lr in another --run")
    assert "mild:" in error or "noise:" in error or "severe:" in error


def test_a_batch_that_the_processes_cannot_share(shards: Path, tmp_path: Path) -> None:
    commands = start_ranks(flags(shards=shards, run="run", batch_size=3), tmp_path)
    for command in commands:
        error = error_of(command.wait(), 2)
        assert error == "error: batch_size is 3: not a multiple of the 2 processes"
