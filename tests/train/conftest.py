"""Tiny shards, references and an uninterrupted run, each made once for all tests of the trainer (also under xdist)."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gen.adopt import main as adopt
from gen.render import main as render
from shared.images import encode_png
from shared.mixing.tasks import Task, find_tasks
from tests.gen.pictures import texture, write_picture
from tests.train.command import flags, succeed
from train.networks.build import build_network

TASKS = ["mild", "noise", "severe"]
PATCH, ROWS, VAL_ROWS, ROWS_PER_SHARD = 76, 28, 8, 8
"""28 rows in shards of 8: the last one is short."""

Once = Callable[[str, Callable[[Path], None]], Path]


def pytest_collection_finish() -> None:
    """Start the server that commands are forked from: a test of the generator would start another, deaf to Ctrl-C."""
    forkserver.ensure_running()


def pretend_other_rows(dataset: Path) -> None:
    """Let the manifest of a dataset say that its first shard is another."""
    manifest = dataset / "manifest.json"
    values = json.loads(manifest.read_text())
    values["shardlist"][0]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(values))


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder unless another test process has made it."""
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = common / name, common / f"{name}.done"
        with (common / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def shards(once: Once) -> Path:
    """Train and val datasets of three tasks."""

    def fill(folder: Path) -> None:
        for task in TASKS:
            for split, count in (("train", ROWS), ("val", VAL_ROWS)):
                sizes = ["--patch", str(PATCH), "--count", str(count), "--rows-per-shard", str(ROWS_PER_SHARD)]
                render(["--subspace", task, "--split", split, "--out", str(folder), *sizes, "--workers", "1"])

    return once("shards", fill)


@pytest.fixture(scope="session")
def with_camera(once: Once, shards: Path) -> Path:
    """The datasets of the three tasks, and pairs that were made elsewhere as a fourth, `camera`.

    It has 19 rows to train on and 6 to validate on, of 3 HR images of its own.
    """

    def fill(folder: Path) -> None:
        shutil.copytree(shards, folder, dirs_exist_ok=True)
        for split, sizes in (("train", [(76, 76), (152, 228), (76, 912)]), ("val", [(76, 152)] * 3)):
            source = folder / "sources" / split
            for seed, (height, width) in enumerate(sizes):
                hr = texture(1000 * len(split) + seed, height, width)
                lr = cv2.resize(hr, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
                for name, image in (("gt", hr), ("lq", cv2.GaussianBlur(lr, (0, 0), 0.7))):
                    write_picture(source / name / f"{seed}.png", image)
            words = ["--split", split, "--patch", str(PATCH), "--rows-per-shard", str(ROWS_PER_SHARD)]
            assert adopt([str(source), *words, "--whole", "--out", str(folder), "--workers", "1"]) == 0

    return once("with-camera", fill)


@pytest.fixture(scope="session")
def tasks(shards: Path) -> list[Task]:
    """The tasks of the shards, in the order of their partition."""
    return find_tasks(shards)


@pytest.fixture(scope="session")
def references(once: Once, shards: Path) -> Path:
    """Single-task references of all tasks, made by --mode references."""

    def fill(folder: Path) -> None:
        succeed(flags(mode="references", shards=shards, references=folder), folder)

    return once("references", fill)


@pytest.fixture(scope="session")
def whole_run(once: Once, shards: Path, references: Path) -> Path:
    """A shared run of three intervals that nothing has interrupted."""

    def fill(folder: Path) -> None:
        succeed(flags(shards=shards, references=references, run=folder), folder)

    return once("whole-run", fill)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of 4 channels and one block in official keys, of random weights."""
    path = tmp_path_factory.mktemp("net") / "net.pth"
    torch.save({"params": build_network("msrresnet", {"num_feat": 4, "num_block": 1}, 4, 0).state_dict()}, path)
    return path


@pytest.fixture
def hr_images(tmp_path: Path) -> Path:
    """Twelve images of noise."""
    (tmp_path / "hr").mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (90 + number, 100, 3), dtype=np.uint8)
        (tmp_path / f"hr/{number:02d}.png").write_bytes(encode_png(pixels))
    return tmp_path / "hr"
