"""Loader workers and shared memory: too little of it is refused in one line, or fewer batches are loaded ahead."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.errors import RunError
from shared.mixing.samples import Samples, batch_bytes
from shared.mixing.tasks import Task
from shared.mixing.tickets import Ticket
from shared.mixing.workers import IN_USE, PREFETCH, Workers
from tests.shared.mixing.delivery import make_loader, steps_of

BATCH_BYTES = batch_bytes(1, 76, 4)


def let_free(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let /dev/shm have room for so many batches of one sample."""
    status = SimpleNamespace(f_bavail=batches * BATCH_BYTES, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: status)


def loaded_ahead(tasks: list[Task], workers: int) -> int:
    """Batches that each worker loads ahead: how many have been asked for when the first one is not taken yet."""
    asked = []

    def tickets() -> Iterator[list[Ticket]]:
        for ordinal in range(50):
            asked.append(ordinal)
            yield [Ticket(0, ordinal, "shards", 0, ordinal % 28)]

    loading = Workers(Samples(tasks, 0, True, [28] * 3), workers, BATCH_BYTES, False, None)
    loading.batches(tickets())
    loading.close()
    assert len(asked) % workers == 0
    return len(asked) // workers


@pytest.mark.parametrize(
    ("free", "workers", "ahead"),
    [(IN_USE + 1, 1, 1), (IN_USE + 2, 2, 1), (IN_USE + 5, 2, 2), (IN_USE + 3, 1, 3), (10**6, 1, PREFETCH)],
)
def test_so_many_batches_are_loaded_ahead_as_shared_memory_holds(
    free: int, workers: int, ahead: int, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_free(free, monkeypatch)
    assert loaded_ahead(tasks, workers) == ahead


def test_ranks_of_one_node_share_its_memory(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    let_free(2 * (IN_USE + 2), monkeypatch)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert loaded_ahead(tasks, 1) == 2


def test_too_little_shared_memory_is_refused_in_one_line(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_free(4 * (IN_USE + 1), monkeypatch)  # of batches of four
    with make_loader(shards, workers=1) as loader:
        assert len(steps_of(loader.interval([1, 1, 1], 5))) == 5
    with pytest.raises(RunError) as found:
        make_loader(shards, workers=2)
    (line,) = str(found.value).splitlines()
    assert line.startswith("2 loader workers need")
    assert "--shm-size" in line
    assert "--workers 0" in line
    with make_loader(shards, workers=0) as loader:
        assert len(steps_of(loader.interval([1, 1, 1], 5))) == 5


def test_where_shared_memory_lies_elsewhere_it_is_not_asked(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_file_system(path: str) -> None:
        raise FileNotFoundError(2, "no such file", path)

    monkeypatch.setattr(os, "statvfs", no_such_file_system)
    assert loaded_ahead(tasks, 1) == PREFETCH
