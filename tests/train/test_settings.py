"""TrainSettings: defaults < YAML < command line; what cannot be meant is refused by name."""

from pathlib import Path

import pytest

from shared.config import parse
from shared.errors import UsageError
from train.settings import NetworkSettings, TrainSettings


def read(*argv: str) -> TrainSettings:
    return parse(TrainSettings, list(argv), "train/run.py", "")


def config(folder: Path, text: str) -> str:
    (folder / "x.yaml").write_text(text)
    return str(folder / "x.yaml")


def test_the_defaults_are_the_papers() -> None:
    settings = read()
    assert settings == TrainSettings()
    assert (settings.iterations, settings.interval_steps, settings.batch_size) == (400_000, 5_000, 48)
    assert (settings.lr, settings.ema, settings.policy, settings.mode) == (1e-4, 0.999, "rebalance", "shared")
    assert (settings.shards, settings.run, settings.references) == ("shards", "runs/default", None)


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = config(
        tmp_path,
        "lr: 1.0e-3\nbatch_size: 8\nflip: false\ntasks: [noise, mild]\n"
        "network: {name: rrdbnet, options: {num_feat: 8}}",
    )
    settings = read("--config", path, "--batch-size", "16", "--network.options.num_block", "2")
    assert (settings.lr, settings.batch_size, settings.flip) == (1e-3, 16, False)
    assert settings.tasks == ["noise", "mild"]
    assert settings.network == NetworkSettings("rrdbnet", {"num_feat": 8, "num_block": 2})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("learning_rate: 1.0", "learning_rate"),
        ("network: {size: 3}", "size"),
        ("iterations: many", "iterations"),
        ("iterations: 2.5", "iterations"),
        ("flip: 7", "flip"),
        ("mode: both", "mode"),
        ("network: {options: {num_feat: large}}", "options"),
    ],
)
def test_an_unknown_key_or_a_wrong_type_in_the_file_is_refused_by_name(tmp_path: Path, text: str, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        read("--config", config(tmp_path, text))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--interval-steps", "3000"], "iterations is 400000: it must be a multiple of interval_steps 3000"),
        (["--iterations", "0"], "iterations is 0: it must be at least 1"),
        (["--interval-steps", "0"], "interval_steps is 0: it must be at least 1"),
        (["--batch-size", "-1"], "batch_size is -1: it must be at least 1"),
        (["--log-steps", "0"], "log_steps is 0"),
        (["--save-steps", "0"], "save_steps is 0"),
        (["--keep", "0"], "keep is 0"),
        (["--window-shards", "0"], "window_shards is 0"),
        (["--workers", "-1"], "workers is -1: it must be at least 0"),
        (["--ema", "1"], r"ema is 1.0: it must be in \[0, 1\)"),
        (["--lr", "0"], "lr is 0.0: it must be positive"),
        (["--lr", "-0.1"], "lr is -0.1: it must be positive"),
        (["--lr", "nan"], "lr.*Expected a float"),
        (["--mode", "single"], "--mode single needs --task"),
        (["--interations", "5"], "interations"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_values_that_no_run_can_have_are_refused(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(*argv)
