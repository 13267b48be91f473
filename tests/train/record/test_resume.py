"""A run goes on with the settings it was begun with, but for those that alter no sample and no loss."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from shared.config import parse
from shared.errors import UsageError
from train.record.resume import FREE, require_resumable
from train.settings import GANSettings, NetworkSettings, TrainSettings

BEGUN = TrainSettings(iterations=20, interval_steps=5, batch_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BEGUN.save(tmp_path)
    return tmp_path


def test_the_saved_settings_are_a_config_file_that_gives_the_same_run(folder: Path) -> None:
    assert parse(TrainSettings, ["--config", str(folder / "config.yaml")], "train/run.py", "") == BEGUN
    require_resumable(folder, BEGUN)


def test_a_folder_without_a_run_takes_any_settings(tmp_path: Path) -> None:
    require_resumable(tmp_path, TrainSettings())


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


def test_what_alters_no_sample_and_no_loss_may_change(folder: Path) -> None:
    numbers = {
        "iterations": 40,
        "workers": 0,
        "log_steps": 1,
        "save_steps": 2,
        "keep": 1,
        "max_damage": 0.5,
        "cache_gb": 1,
    }
    words = dict.fromkeys(("run", "references", "groups", "task", "vgg19", "cache"), "x")
    changes = {**numbers, **words, "mode": "references", "trackers": ["none"], "dry_run": True}
    assert changes.keys() == FREE
    for name, value in changes.items():
        require_resumable(folder, replace(BEGUN, **{name: value}))


def test_a_run_can_be_lengthened_not_cut(folder: Path) -> None:
    with pytest.raises(UsageError, match="begun with iterations = 20: a run can be lengthened, not cut"):
        require_resumable(folder, replace(BEGUN, iterations=10))


def test_every_setting_is_either_free_or_compared(folder: Path) -> None:
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert set(saved) == set(TrainSettings.__dataclass_fields__)


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
