"""The same samples from a folder, a web server, a bucket and a hub."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from shared.errors import RunError, UsageError
from shared.mixing.tasks import find_tasks
from shared.shards.cache import ShardCache
from shared.shards.manifest import load_manifest
from shared.shards.reader import open_rows
from shared.storage.remote import Remote
from shared.storage.retry import RetryPolicy
from tests.shared.mixing.bucket import serving_bucket, upload
from tests.shared.mixing.delivery import Sample, joined, make_loader, on_ranks, samples_of, steps_of, through_json
from tests.train.conftest import TASKS
from tests.train.web import Web, cut_off, flipped, serving, unavailable

WEIGHTS = [({"mild": 1, "noise": 2, "severe": 1}, 5), ({"noise": 1}, 3)]


def deliver(shards: Any, **changes: Any) -> list[list[Sample]]:
    """The samples of every step of two intervals."""
    with make_loader(shards, **changes) as loader:
        return [samples_of(batch) for weights, steps in WEIGHTS for batch in loader.interval(weights, steps)]


@pytest.fixture(scope="module")
def expected(shards: Path) -> list[list[Sample]]:
    return deliver(shards)


@pytest.fixture
def web(shards: Path) -> Iterator[Web]:
    with serving(shards) as web:
        yield web


@pytest.mark.parametrize("workers", [0, 1])
def test_http(workers: int, web: Web, expected: list[list[Sample]], shards: Path, tmp_path: Path) -> None:
    for task in TASKS:
        for number, entry in enumerate(load_manifest(shards / task).shardlist):
            web.answers[entry.url] = [(unavailable, cut_off, flipped)[number % 3]]  # each is asked for again
    quick = ShardCache(tmp_path / "cache", 1 << 30, RetryPolicy(delays_seconds=(0.0, 0.0)))
    assert deliver(web.url, tasks=TASKS, cache=quick, workers=workers) == expected
    web.missing |= {entry.url for task in TASKS for entry in load_manifest(shards / task).shardlist}
    assert deliver(web.url, tasks=TASKS, cache=tmp_path / "cache") == expected  # all of it is kept


def test_http_cannot_be_listed_so_tasks_are_named(web: Web) -> None:
    with pytest.raises(UsageError, match=r"http cannot be listed, so name the tasks"):
        make_loader(web.url)
    with pytest.raises(RunError, match="no shards in http://"):
        find_tasks(Remote(web.url), ["blur"])
    with pytest.raises(UsageError, match="task 'blur' is not in http://"):
        make_loader(web.url, tasks=["noise", "blur"])
    assert [task.name for task in find_tasks(Remote(web.url), ["severe", "mild"])] == ["mild", "severe"]


def test_ranks_and_resumed_loaders_share_one_cache(
    web: Web, expected: list[list[Sample]], shards: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"tasks": TASKS, "cache": tmp_path / "cache"}
    ranks = on_ranks(2, lambda rank: deliver(web.url, **options, **rank))
    assert joined(ranks) == expected
    tars = [name for name in web.gets if name.endswith(".tar")]
    assert len(tars) == len({*tars})  # none is fetched twice
    with make_loader(shards) as local:
        for _ in zip(range(3), local.interval(*WEIGHTS[0]), strict=False):
            state = through_json(local.state_dict())
    with make_loader(web.url, **options) as loader:
        loader.load_state_dict(state)
        assert steps_of(loader.interval()) == expected[3:5]


def test_an_interval_that_is_left_again_and_again_is_delivered_from_a_url_too(
    web: Web, expected: list[list[Sample]], tmp_path: Path
) -> None:
    with make_loader(web.url, tasks=TASKS, cache=tmp_path / "cache") as loader:
        steps = []
        for _ in range(5):
            batches = loader.interval(*WEIGHTS[0]) if not steps else loader.interval()
            steps.append(samples_of(next(batches)))
        assert steps == expected[:5]
        assert next(batches, None) is None


def test_a_missing_shard_puts_its_task_on_the_fly(web: Web, shards: Path, tmp_path: Path) -> None:
    names = [entry.url for entry in load_manifest(shards / "noise").shardlist]
    web.missing |= {*names}
    with make_loader(web.url, tasks=TASKS, cache=tmp_path / "cache") as loader:
        list(loader.interval(*WEIGHTS[0]))
        assert loader.record
        assert loader.record.sources == ["shards", "fly", "shards"]
        assert set(loader.record.missing["noise"]) <= {*names}
    with (
        make_loader(web.url, tasks=TASKS, cache=tmp_path / "cache", source="shards") as loader,
        pytest.raises(RunError, match=rf"{web.url}/noise/noise-x4-\w+-\d+\.tar is not there, though its manifest"),
    ):
        list(loader.interval(*WEIGHTS[0]))


# ---- a bucket


@pytest.fixture(scope="module")
def bucket(shards: Path) -> Iterator[str]:
    with serving_bucket("mixing"):
        upload(shards, "s3://mixing/shards")
        yield "s3://mixing/shards"


def test_s3(bucket: str, expected: list[list[Sample]], tmp_path: Path) -> None:
    assert deliver(bucket, cache=tmp_path / "cache") == expected  # listed, no names needed
    assert deliver(f"{bucket}/", cache=tmp_path / "cache", workers=1) == expected


def test_rows_of_a_bucket_are_read_one_by_one(bucket: str, shards: Path) -> None:
    stored, remote = open_rows(shards / "noise"), open_rows(f"{bucket}/noise")
    assert len(remote) == len(stored) == 28
    for row in (0, 27):
        assert (remote[row].hr == stored[row].hr).all()
        assert (remote[row].lr == stored[row].lr).all()
        assert remote[row].row == stored[row].row


# ---- a hub


def test_hf(shards: Path, expected: list[list[Sample]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub(LocalFileSystem):
        """What fsspec's file system of the hub is to us, over a local folder."""

        protocol = "hf"
        cachable = False

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return super()._strip_protocol(path.replace("hf://datasets/someone/pairs", str(shards)))

    monkeypatch.setitem(import_module("fsspec.registry")._registry, "hf", Hub)
    url = "hf://datasets/someone/pairs"
    assert deliver(url, cache=tmp_path / "cache") == expected
    assert list((tmp_path / "cache").glob("*.tar"))  # they came by way of the cache, as from any url
    assert open_rows(f"{url}/noise")[3].row == open_rows(shards / "noise")[3].row
