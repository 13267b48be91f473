"""Small photographs, and the commands as tests call them: patch 76, four rows a shard, one worker."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gen.render
from tests.gen.bucket import render_to, server, staging, store, url
from tests.gen.camera import adopted, camera_pairs
from tests.gen.pictures import texture, write_picture

__all__ = ["adopted", "camera_pairs", "render_to", "server", "staging", "store", "url"]
ROOT = Path(__file__).parents[2]
SMALL = ("--patch", "76", "--rows-per-shard", "4", "--workers", "1")


@pytest.fixture(scope="session")
def picture() -> Callable[..., Path]:
    """picture(path, seed or array, [height, width]) writes one."""

    def make(path: Path, content: int | np.ndarray, *size: int) -> Path:
        return write_picture(path, texture(content, *size) if isinstance(content, int) else content)

    return make


@pytest.fixture(scope="session")
def hr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six photographs of several sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(6):
        write_picture(folder / f"p{seed}.png", texture(seed, 80 + 8 * seed, 120 - 4 * seed))
    return folder


@pytest.fixture(scope="session")
def render(hr: Path) -> Callable[..., Path]:
    """render(out, *options) runs the command in this process and gives the folder of the dataset `noise`."""

    def run(out: Path, *options: str) -> Path:
        arguments = ["--subspace", "noise", "--hr", str(hr), "--out", str(out), "--count", "10", *SMALL, *options]
        assert gen.render.main(arguments) == 0
        subspace = arguments[len(arguments) - 1 - arguments[::-1].index("--subspace") + 1]
        return out / (subspace if "val" not in options else f"{subspace}-val")

    return run


@pytest.fixture(scope="session")
def rendered(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of ten rows in three shards; look, do not touch."""
    return render(tmp_path_factory.mktemp("rendered"))


@pytest.fixture
def dataset(rendered: Path, tmp_path: Path) -> Path:
    """A copy of `rendered` to break."""
    return shutil.copytree(rendered, tmp_path / "noise")


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess]:
    """command("gen.render", *options) runs it as a person does, in a process of its own."""

    def run(module: str, *options: str) -> subprocess.CompletedProcess:
        line = [sys.executable, "-W", "error", "-m", module, *options]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def start(hr: Path) -> Callable[..., subprocess.Popen]:
    """start(out, *options) begins a render in a process group of its own."""

    def run(out: Path, *options: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen:
        line = [sys.executable, "-m", "gen.render", "--subspace", "noise", "--hr", str(hr), "--out", str(out)]
        return subprocess.Popen(
            [*line, *SMALL, *options], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
        )

    return run


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, str]]:
    """contents(folder): SHA-256 of every visible file, by name."""

    def read(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return read


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", os.fspath(tmp_path / "hf"))
