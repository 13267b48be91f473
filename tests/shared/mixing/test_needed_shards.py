"""Which shards hold given rows, which of them are missing, and when an interval needs them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.mixing.needed_shards import coming_requests, missing_shards, shard_requests, shards_of
from shared.mixing.tasks import Task, find_tasks
from shared.mixing.tickets import IntervalTickets, Supply
from shared.shards.cache import ShardCache
from shared.shards.manifest import load_manifest
from shared.storage.remote import Remote
from shared.storage.retry import RetryPolicy
from tests.shared.mixing.damage import cut, tar
from tests.train.web import Web, serving

NOWHERE = RetryPolicy(delays_seconds=())


@pytest.fixture
def web(shards: Path) -> Iterator[Web]:
    with serving(shards) as web:
        yield web


def test_the_shard_of_every_row(tasks: list[Task]) -> None:
    assert shards_of(tasks[1], np.arange(28)).tolist() == [0] * 8 + [1] * 8 + [2] * 8 + [3] * 4


def test_missing_and_cut_shards_are_counted_by_their_rows(copy: Path) -> None:
    tar(copy / "noise", 1).unlink()
    cut(tar(copy / "noise", 3))
    (task,) = find_tasks(copy, ["noise"])
    assert missing_shards(task, np.arange(28)) == {tar(copy / "noise", 1).name: 8, tar(copy / "noise", 3).name: 4}
    assert missing_shards(task, np.array([0, 9, 9, 20])) == {tar(copy / "noise", 1).name: 2}
    assert missing_shards(task, np.arange(8)) == {}


def test_a_server_that_does_not_answer_has_no_shards_but_those_that_are_kept(
    web: Web, shards: Path, tmp_path: Path
) -> None:
    cache = ShardCache(tmp_path / "cache", 1 << 30, NOWHERE)
    (task,) = find_tasks(Remote(web.url), ["noise"], cache=cache)
    entries = load_manifest(shards / "noise").shardlist
    cache.fetch(Remote(f"{web.url}/noise/{entries[2].url}"), entries[2])
    web.close()
    assert missing_shards(task, np.arange(28)) == {entries[0].url: 8, entries[1].url: 8, entries[3].url: 4}


def test_shards_are_needed_from_their_first_to_their_last_step(web: Web) -> None:
    tasks = find_tasks(Remote(web.url), ["mild", "noise"], cache=ShardCache(Path("unused"), 1))
    rows = {0: np.array([3, 9, 4, 26]), 1: np.array([27, 0, 26])}
    supplies = [Supply("shards", np.full(len(rows[n]), n), rows[n]) for n in (0, 1)]
    supplies.append(Supply("fly", np.array([-1]), np.array([-1])))
    tickets = IntervalTickets([4, 3, 1], supplies, [0, 0, 0], 2, 0, 0)
    slots = tickets.slots.tolist()
    steps = {n: [slot // 2 for slot, task in enumerate(slots) if task == n] for n in (0, 1)}
    found = [(request.entry.url, request.first, request.last) for request in shard_requests(tasks, tickets)]
    mild, noise = ([entry.url for entry in task.train_manifest.shardlist] for task in tasks if task.train_manifest)
    assert sorted(found) == sorted(
        [
            (mild[0], steps[0][0], steps[0][2]),
            (mild[1], steps[0][1], steps[0][1]),
            (mild[3], steps[0][3], steps[0][3]),
            (noise[3], steps[1][0], steps[1][2]),
            (noise[0], steps[1][1], steps[1][1]),
        ]
    )
    assert [first for _, first, _ in found] == sorted(first for _, first, _ in found)
    coming = coming_requests(tasks[0], np.array([9, 3, 10]), 4)
    assert [(request.entry.url, request.first, request.last) for request in coming] == [
        (mild[1], 4, 4),
        (mild[0], 4, 4),
    ]


def test_shards_in_a_folder_need_no_fetching(tasks: list[Task]) -> None:
    tickets = IntervalTickets([4], [Supply("shards", np.zeros(4, np.int64), np.arange(4))], [0], 2, 0, 0)
    assert shard_requests(tasks[:1], tickets) == coming_requests(tasks[0], np.arange(4), 2) == []
