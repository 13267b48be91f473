"""Experiments at a size of seconds."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from scripts.reproduce.scales import SCALES
from shared.images import encode_png

SMALLER = {
    "iterations: 600": "iterations: 4",
    "interval_steps: 100": "interval_steps: 2",
    "batch_size: 8": "batch_size: 2",
    "num_feat: 16, num_block: 4": "num_feat: 4, num_block: 1",
    "workers: 1": "workers: 0",
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[list[str], Path]:
    """Flags for an experiment at the scale `tiny`, and the folder of its results."""
    recipe = SCALES["small"].recipe.read_text()
    for text, smaller in SMALLER.items():
        assert text in recipe
        recipe = recipe.replace(text, smaller)
    (tmp_path / "tiny.yaml").write_text(recipe)
    sizes = {
        "train_rows": 8,
        "val_rows": 4,
        "test_rows": 4,
        "train_patch": 76,
        "val_patch": 76,
        "configurations": 2,
        "values": 6,
    }
    sizes |= {"plans": 4, "random_tasks": 4, "patterns": 2, "fine_tune_steps": 2}
    grouping = ("--grouping.steps", "2", "--grouping.images", "1", "--grouping.thresholds_db", "[10.0, -10.0]")
    scale = replace(
        SCALES["small"],
        name="tiny",
        recipe=tmp_path / "tiny.yaml",
        pretrain=("--iterations", "2", "--interval-steps", "2"),
        other_networks={"rrdbnet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 4}},
        grouping=grouping,
        **sizes,
    )
    monkeypatch.setitem(SCALES, "tiny", scale)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})  # one worker: none is started
    return ["--scale", "tiny", "--out", str(tmp_path / "out")], tmp_path / "out" / "tiny"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A test set of three pictures, 96 x 80 pixels and a quarter of it."""
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        hr = cv2.resize(random.integers(0, 256, (6, 5, 3), np.uint8), (80, 96), interpolation=cv2.INTER_CUBIC)
        for kind, picture in (("HR", hr), ("LR", cv2.resize(hr, (20, 24), interpolation=cv2.INTER_AREA))):
            (tmp_path / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "pairs" / kind / f"{name}.png").write_bytes(encode_png(picture))
    return tmp_path / "pairs"
