"""One dataset behind a web server, and an empty cache of its shards."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.shards.cache import ShardCache
from shared.shards.manifest import ShardEntry, load_manifest
from shared.storage.retry import RetryPolicy
from tests.train.web import Web, serving


@pytest.fixture
def folder(shards: Path, tmp_path: Path) -> Path:
    """A copy of one dataset: three shards of eight rows and a short one."""
    shutil.copytree(shards / "noise", tmp_path / "web/noise")
    return tmp_path / "web/noise"


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with serving(folder.parent) as web:
        yield web


@pytest.fixture
def entries(folder: Path) -> list[ShardEntry]:
    return load_manifest(folder).shardlist


@pytest.fixture
def waits() -> list[float]:
    """How long was waited before each further attempt, instead of waiting."""
    return []


@pytest.fixture
def cache(tmp_path: Path, waits: list[float]) -> ShardCache:
    return ShardCache(tmp_path / "cache", 1 << 30, RetryPolicy(sleep=waits.append))
