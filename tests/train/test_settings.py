"""Settings: defaults < YAML < command line; what cannot be meant is refused by name."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from shared.config import parse
from shared.errors import UsageError
from train.settings import GANSettings, NetworkSettings, Settings, require_resumable


def read(*argv: str) -> Settings:
    return parse(Settings, list(argv), "train/run.py", "")


def config(folder: Path, text: str) -> str:
    (folder / "x.yaml").write_text(text)
    return str(folder / "x.yaml")


def test_the_defaults_are_the_papers() -> None:
    settings = read()
    assert settings == Settings()
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
        (["--workers", "-1"], "workers is -1: it must not be negative"),
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


# ---- resuming

BEGUN = Settings(iterations=20, interval_steps=5, batch_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BEGUN.save(tmp_path)
    return tmp_path


def test_the_saved_settings_are_a_config_file_that_gives_the_same_run(folder: Path) -> None:
    assert read("--config", str(folder / "config.yaml")) == BEGUN
    require_resumable(folder, BEGUN)


def test_a_folder_without_a_run_takes_any_settings(tmp_path: Path) -> None:
    require_resumable(tmp_path, Settings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("interval_steps", 10),
        ("batch_size", 8),
        ("lr", 1e-3),
        ("ema", 0.9),
        ("seed", 1),
        ("flip", False),
        ("window_shards", 2),
        ("policy", "uniform"),
        ("init", "net.pth"),
        ("shards", "elsewhere"),
        ("tasks", ["noise"]),
        ("network", NetworkSettings("rrdbnet")),
        ("channels_last", False),
    ],
)
def test_a_changed_setting_that_would_change_the_run_is_refused_by_name(folder: Path, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"was begun with {name} = .*give the old value to resume, or another --run"):
        require_resumable(folder, replace(BEGUN, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", 0),
        ("log_steps", 1),
        ("save_steps", 2),
        ("keep", 1),
        ("references", "x"),
        ("run", "x"),
        ("iterations", 40),
    ],
)
def test_what_alters_no_sample_and_no_loss_may_change(folder: Path, name: str, value: object) -> None:
    require_resumable(folder, replace(BEGUN, **{name: value}))


def test_a_run_can_be_lengthened_not_cut(folder: Path) -> None:
    with pytest.raises(UsageError, match="begun with iterations = 20: a run can be lengthened, not cut"):
        require_resumable(folder, replace(BEGUN, iterations=10))


def test_every_setting_is_either_free_or_compared(folder: Path) -> None:
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert set(saved) == set(Settings.__dataclass_fields__)


def test_a_run_begun_before_a_setting_existed_had_it_at_its_default(folder: Path) -> None:
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    for name in ("clip", "moments", "vgg19"):
        del saved[name]
    del saved["gan"]["num_feat"], saved["estimator"]["reference"], saved["network"]["options"]
    saved["option_of_another_time"] = 7
    (folder / "config.yaml").write_text(yaml.safe_dump(saved))
    require_resumable(folder, BEGUN)
    changes = {"clip": 1.0, "gan": GANSettings(num_feat=32), "network": NetworkSettings(options={"num_feat": 8})}
    for name, value in changes.items():
        with pytest.raises(UsageError, match=f"was begun with {name} = "):
            require_resumable(folder, replace(BEGUN, **{name: value}))
