"""Training from a web server and from a bucket: the same run as from a folder, whatever the way does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gen.render import main as render
from shared.shards.manifest import load_manifest
from shared.storage.remote import Remote
from tests.shared.mixing.bucket import serving_bucket, upload
from tests.train.command import flags, run, succeed
from tests.train.conftest import TASKS
from tests.train.records import intervals, metrics, require_same_run
from tests.train.web import Web, cut_off, flipped, serving, slow, unavailable
from train.report.__main__ import main as report


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


def test_a_run_from_a_web_server_is_the_run_from_the_folder(
    web: Web, shards: Path, local: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(names(shards)):  # a bad day
        web.answers[name] = [(unavailable, cut_off, flipped, slow)[number % 4]]
    succeed(from_url(web.url, tasks=TASKS, workers=2), tmp_path)
    require_same_run(tmp_path / "run", local)
    tars = [name for name in web.gets if name.endswith(".tar")]
    again = 3 * len(names(shards)) // 4  # those that were slow arrived
    assert len(tars) == len(names(shards)) + len(names(shards, "-val")) + again


def test_a_password_in_the_url_is_in_no_file_of_a_run_and_a_resume_gives_it_again(
    web: Web, local: Path, tmp_path: Path
) -> None:
    secret = "s3cr3t"
    url = web.url.replace("://", f"://me:{secret}@")
    said = [succeed(from_url(url, tasks=TASKS, iterations=each), tmp_path) for each in (5, 10)]
    require_same_run(tmp_path / "run", local)
    web.missing.add("manifest.json")
    said.append(run(from_url(url, tasks=TASKS, iterations=15), tmp_path))
    assert said[-1].code != 0
    assert not [outcome for outcome in said if secret in outcome.stdout + outcome.stderr]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert f"shards: {web.url.replace('://', '://me:***@')}\n" in (tmp_path / "run" / "config.yaml").read_text()
    assert report([str(tmp_path / "run")]) == 0  # without what only the datasets tell
    assert secret not in (tmp_path / "run" / "report.html").read_text()


def test_a_small_cache_is_enough_for_the_window_at_hand(web: Web, local: Path, shards: Path, tmp_path: Path) -> None:
    largest = max(entry.filesize for task in TASKS for entry in load_manifest(shards / task).shardlist)
    argv = from_url(web.url, tasks=TASKS, workers=0, cache_gb=3 * largest / 1e9)
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", local)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")) <= 3 * largest


def test_a_missing_shard_puts_its_task_on_the_fly_or_stops_the_run_by_its_url(
    web: Web, shards: Path, tmp_path: Path
) -> None:
    missing = [entry.url for entry in load_manifest(shards / "noise").shardlist]
    web.missing |= {*missing}
    succeed(from_url(web.url, tasks=TASKS), tmp_path)
    for line in intervals(tmp_path / "run")[:-1]:
        assert line["sources"] == ["shards", "fly", "shards"]
        assert set(line["missing"]["noise"]) <= {*missing}
        assert line["data/fallback/noise"] == line["quotas"][1]
    outcome = run(from_url(web.url, tasks=TASKS, source="shards", run="stopped"), tmp_path)
    assert outcome.code == 1
    (error,) = outcome.errors
    assert f"{web.url}/noise/noise-x4-" in error
    assert "is not there, though its manifest lists it" in error
    assert metrics(tmp_path / "stopped") == []


# ---- a bucket


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    with serving_bucket("training") as env:
        yield env


def test_a_run_from_a_bucket_is_the_run_from_the_folder_and_takes_up_what_grows(
    bucket: dict[str, str], shards: Path, local: Path, tmp_path: Path
) -> None:
    upload(shards, "s3://training/shards")
    argv = from_url("s3://training/shards")
    succeed(argv, tmp_path, env=bucket)
    require_same_run(tmp_path / "run", local)
    words = ["--patch", "76", "--rows-per-shard", "8", "--workers", "1", "--count", "40"]
    render(["--subspace", "noise", "--out", "s3://training/shards", *words])
    succeed([*argv, "--iterations", "20"], tmp_path, env=bucket)
    rows = [line["rows"] for line in intervals(tmp_path / "run")[:-1]]
    assert rows == [[28, 28, 28], [28, 28, 28], [28, 40, 28], [28, 40, 28]]


def test_a_shard_that_was_replaced_in_the_bucket_is_not_trained_on(
    bucket: dict[str, str], shards: Path, tmp_path: Path
) -> None:
    upload(shards, "s3://training/replaced")
    entry = load_manifest(shards / "noise").shardlist[0]
    data = bytearray((shards / "noise" / entry.url).read_bytes())
    data[700] ^= 1
    (Remote("s3://training/replaced/noise") / entry.url).write(bytes(data))
    succeed(from_url("s3://training/replaced", source="shards", max_damage=1.0), tmp_path, env=bucket)
    lines = intervals(tmp_path / "run")[:-1]
    assert {row for line in lines for owner, row in line["lost"] if owner == 1} <= set(range(8))
    assert sum(line["substituted"][1] for line in lines) > 0
