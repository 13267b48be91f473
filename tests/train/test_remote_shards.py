"""Training from a web server and from a bucket: the same run as from a folder, whatever the way does."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gen.render import main as render
from shared.errors import RunError, UsageError
from shared.mixing.availability import missing_shards, wanted_shards
from shared.mixing.tasks import find_tasks
from shared.shards.cache import ShardCache
from shared.shards.manifest import load_manifest
from shared.storage.remote import Remote, RetryPolicy, place
from tests.train.command import flags, run, succeed
from tests.train.conftest import TASKS
from tests.train.records import final_weights, intervals, metrics, require_same_run
from tests.train.web import Web, cut_off, flipped, serving, slow, unavailable

NOWHERE = RetryPolicy(delays_seconds=())


@pytest.fixture
def web(shards: Path) -> Iterator[Web]:
    with serving(shards) as web:
        yield web


@pytest.fixture(scope="module")
def local(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run from the folder."""
    folder = tmp_path_factory.mktemp("local")
    succeed(flags(shards=shards, run="run", policy="uniform", iterations=10), folder)
    return folder / "run"


def from_url(url: str, **changes) -> list[str]:
    options = {"run": "run", "policy": "uniform", "iterations": 10, "cache": "cache", **changes}
    return flags(shards=url, **options)


def names(shards: Path, split: str = "") -> list[str]:
    """The tars of all tasks."""
    return [entry.url for task in TASKS for entry in load_manifest(shards / f"{task}{split}").shardlist]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_from_a_web_server_is_the_run_from_the_folder(workers, web, shards, local, tmp_path) -> None:
    for number, name in enumerate(names(shards)):  # a bad day
        web.answers[name] = [(unavailable, cut_off, flipped, slow)[number % 4]]
    succeed(from_url(web.url, tasks=TASKS, workers=workers), tmp_path)
    require_same_run(tmp_path / "run", local)
    tars = [name for name in web.gets if name.endswith(".tar")]
    again = 3 * len(names(shards)) // 4  # those that were slow arrived
    assert len(tars) == len(names(shards)) + len(names(shards, "-val")) + again
    web.gets.clear()
    succeed(from_url(web.url, tasks=TASKS, workers=workers, run="second"), tmp_path)
    assert not [name for name in web.gets if name.endswith(".tar")]  # all of it is kept


def test_a_small_cache_is_enough_for_the_window_at_hand(web, local, shards, tmp_path) -> None:
    largest = max(entry.filesize for task in TASKS for entry in load_manifest(shards / task).shardlist)
    argv = from_url(web.url, tasks=TASKS, workers=2, cache_gb=3 * largest / 1e9)
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", local)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")) <= 3 * largest


def test_a_missing_shard_puts_its_task_on_the_fly(web, shards, tmp_path) -> None:
    names = [entry.url for entry in load_manifest(shards / "noise").shardlist]
    web.missing |= set(names)
    succeed(from_url(web.url, tasks=TASKS), tmp_path)
    for line in intervals(tmp_path / "run")[:-1]:
        assert line["sources"] == ["shards", "fly", "shards"]
        assert set(line["missing"]["noise"]) <= set(names)
        assert line["data/fallback/noise"] == line["quotas"][1]


def test_without_a_fallback_missing_shards_stop_the_run_by_their_urls(web, shards, tmp_path) -> None:
    web.missing |= {entry.url for entry in load_manifest(shards / "noise").shardlist}
    outcome = run(from_url(web.url, tasks=TASKS, source="shards"), tmp_path)
    assert outcome.code == 1
    (error,) = outcome.errors
    assert f"{web.url}/noise/noise-x4-" in error
    assert "is not there, though its manifest lists it" in error
    assert metrics(tmp_path / "run") == []


def test_a_protocol_that_cannot_be_listed_needs_the_names_of_tasks(web, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"http cannot be listed, so name the tasks \(--tasks\)"):
        find_tasks(Remote(web.url))
    with pytest.raises(RunError, match="no shards in http://"):
        find_tasks(Remote(web.url), ["blur"])
    with pytest.raises(UsageError, match="task 'blur' is not in http://"):
        find_tasks(Remote(web.url), ["noise", "blur"])
    assert [task.name for task in find_tasks(Remote(web.url), ["severe", "mild"])] == ["mild", "severe"]


def test_a_server_that_does_not_answer_has_no_shards_and_is_asked_once(web, shards, tmp_path) -> None:
    cache = ShardCache(tmp_path / "cache", 1 << 30, NOWHERE)
    (task,) = find_tasks(Remote(web.url), ["noise"], cache=cache)
    entries = load_manifest(shards / "noise").shardlist
    cache.fetch(Remote(f"{web.url}/noise/{entries[2].url}"), entries[2])
    web.close()
    assert missing_shards(task, np.arange(28)) == {entries[0].url: 8, entries[1].url: 8, entries[3].url: 4}


def test_shards_are_wanted_from_their_first_to_their_last_step(web) -> None:
    tasks = find_tasks(Remote(web.url), ["mild", "noise"], cache=ShardCache(Path("unused"), 1))
    owners = np.array([0, 0, 1, 1, 0, 0, 1, -1])
    rows = np.array([3, 9, 27, 0, 4, 26, 26, -1])
    found = [(w.entry.url, w.first, w.last) for w in wanted_shards(tasks, owners, rows, batch_size=2)]
    mild, noise = ([entry.url for entry in task.train_manifest.shardlist] for task in tasks)
    assert found == [(mild[1], 0, 0), (mild[0], 0, 2), (noise[0], 1, 1), (noise[3], 1, 3), (mild[3], 2, 2)]


# ---- a bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """An S3-compatible server with an empty bucket; the environment that leads to it."""
    s3fs = pytest.importorskip("s3fs", reason="the optional extra s3 is not installed")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("training")
        yield env
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def upload(shards: Path, url: str) -> None:
    for folder in shards.iterdir():
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_file() and not path.name.startswith("."):
                (Remote(url) / folder.name / path.name).upload(path)


def test_a_run_from_a_bucket_is_the_run_from_the_folder(bucket, shards, local, tmp_path) -> None:
    upload(shards, "s3://training/shards")
    assert [task.name for task in find_tasks(place("s3://training/shards/"))] == TASKS  # listed, no names needed
    succeed(from_url("s3://training/shards"), tmp_path, env=bucket)
    require_same_run(tmp_path / "run", local)


def test_a_bucket_that_grows_is_taken_up_at_the_next_border(bucket, shards, tmp_path) -> None:
    upload(shards, "s3://training/growing")
    argv = from_url("s3://training/growing", iterations=15)
    succeed([*argv, "--iterations", "5"], tmp_path, env=bucket)
    words = ["--patch", "76", "--rows-per-shard", "8", "--workers", "1", "--count", "40"]
    render(["--subspace", "noise", "--out", "s3://training/growing", *words])
    succeed(argv, tmp_path, env=bucket)
    assert [line["rows"] for line in intervals(tmp_path / "run")[:-1]] == [[28, 28, 28], [28, 40, 28], [28, 40, 28]]


def test_a_shard_that_was_replaced_in_the_bucket_is_not_trained_on(bucket, shards, tmp_path) -> None:
    upload(shards, "s3://training/replaced")
    entry = load_manifest(shards / "noise").shardlist[0]
    data = bytearray((shards / "noise" / entry.url).read_bytes())
    data[700] ^= 1
    (Remote("s3://training/replaced/noise") / entry.url).write(bytes(data))
    argv = from_url("s3://training/replaced", source="shards", max_damage=1.0, save_steps=1)
    outcome = run(argv, tmp_path, env=bucket)
    assert outcome.code == 0, outcome.stderr
    lines = intervals(tmp_path / "run")[:-1]
    assert {row for line in lines for owner, row in line["lost"] if owner == 1} <= set(range(8))
    assert sum(line["substituted"][1] for line in lines) > 0
    assert final_weights(tmp_path / "run")
