"""A run goes on with the settings it was begun with, but for those that alter no sample and no loss."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import yaml

from shared.config import parse
from shared.effects import IDENTICAL, affecting
from shared.errors import UsageError
from train.networks.weights import NetworkSpec
from train.record.checkpoint import EMA, MODEL, save_checkpoint
from train.record.resume import HR, INIT, require_resumable, require_same_contents
from train.record.state import State, recorded_identities
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
        ("hr", "photos"),
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
        "pilot_share": 0.5,
        "workers": 0,
        "log_steps": 1,
        "save_steps": 2,
        "keep": 1,
        "max_damage": 0.5,
        "cache_gb": 1,
    }
    others = {"keep_best": "worst"}
    words = dict.fromkeys(("run", "references", "groups", "task", "vgg19", "cache", "shards"), "x")
    others |= {"mode": "references", "trackers": ["none"], "dry_run": True, "tasks": ["noise"]}
    changes = {**numbers, **words, **others}
    assert changes.keys() == {each.name for each in fields(TrainSettings)} - {*affecting(TrainSettings, *IDENTICAL)}
    for name, value in changes.items():
        require_resumable(folder, replace(BEGUN, **{name: value}))


def test_a_run_can_be_lengthened_not_cut(folder: Path) -> None:
    with pytest.raises(UsageError, match="begun with iterations = 20: a run can be lengthened, not cut"):
        require_resumable(folder, replace(BEGUN, iterations=10))


def test_every_setting_says_what_it_affects_and_is_saved(folder: Path) -> None:
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert set(saved) == {each.name for each in fields(TrainSettings)}
    assert None not in [each.metadata["affects"] for each in fields(TrainSettings)]


def test_what_counts_by_its_content_may_lie_under_another_path(tmp_path: Path) -> None:
    replace(BEGUN, init="old/net.pth", hr="old/hr").save(tmp_path)
    require_resumable(tmp_path, replace(BEGUN, init="new/net.pth", hr="new/hr/"))
    with pytest.raises(UsageError, match="was begun with hr = 'old/hr', now it is None"):
        require_resumable(tmp_path, replace(BEGUN, init="new/net.pth"))


def test_other_content_is_refused_whatever_its_path(tmp_path: Path) -> None:
    weights = {MODEL: {"w": torch.zeros(1)}, EMA: {"w": torch.zeros(1)}}
    state = State(5, [20], datasets={"noise/train": "n", INIT: "abc"})
    save_checkpoint(tmp_path, state, NetworkSpec("msrresnet", {}, 4), weights, {}, 1)
    assert recorded_identities(tmp_path) == {"noise/train": "n", INIT: "abc"}
    require_same_contents(tmp_path, {INIT: "abc", HR: "an older run did not record it"})
    require_same_contents(tmp_path, {})
    with pytest.raises(UsageError, match=r"begun with other content of --init \(sha256 abc, now abd\): give the old"):
        require_same_contents(tmp_path, {INIT: "abd"})


def test_a_run_begun_before_a_setting_existed_had_it_at_its_default(folder: Path) -> None:
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    for name in ("clip", "moments", "vgg19"):
        del saved[name]
    del saved["gan"]["num_feat"], saved["estimator"]["reference"], saved["network"]["options"]
    (folder / "config.yaml").write_text(yaml.safe_dump(saved))
    require_resumable(folder, BEGUN)
    changes = {"clip": 1.0, "gan": GANSettings(num_feat=32), "network": NetworkSettings(options={"num_feat": 8})}
    for name, value in changes.items():
        with pytest.raises(UsageError, match=f"was begun with {name} = "):
            require_resumable(folder, replace(BEGUN, **{name: value}))


def test_a_run_of_a_version_with_more_options_is_refused(folder: Path) -> None:
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**saved, "option_of_another_time": 7}))
    with pytest.raises(UsageError, match=r"has an option 'option_of_another_time' that this version does not know"):
        require_resumable(folder, BEGUN)


def test_an_option_that_was_removed_is_dropped_where_it_had_no_effect(folder: Path) -> None:
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    saved["estimator"] |= {"logit_ema": 0.0, "cap": 1.0, "trim": 0.0}
    (folder / "config.yaml").write_text(yaml.safe_dump(saved))
    require_resumable(folder, BEGUN)
    for name, value in {"logit_ema": 0.5, "cap": 0.2, "trim": 0.5}.items():
        changed = {**saved, "estimator": {**saved["estimator"], name: value}}
        (folder / "config.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(UsageError, match=f"has {name} = {value}, an option that was removed: version 0.1 can"):
            require_resumable(folder, BEGUN)
