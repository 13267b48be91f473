"""What all tests share: the `--slow` switch, that nothing is kept outside their own folders, and a disk that fills."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["REALSR_CACHE"] = ""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored, and inherited so


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes: give --slow"))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[str], Path]]:
    """small_disk(options) mounts a tmpfs; the test is skipped where that is refused."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        result = subprocess.run(line, capture_output=True, text=True)
        if result.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {result.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
