"""Looking at the processes of a command from outside."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

DEADLINE_SECONDS = 180


def poll(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.001)


def servers_of(command: int) -> list[int]:
    """The server of worker processes that a command has started."""
    return [pid for pid, parent in _servers_and_workers() if parent == command]


def workers_of(command: int) -> list[int]:
    """Its worker processes."""
    found = list(_servers_and_workers())
    servers = {pid for pid, parent in found if parent == command}
    return [pid for pid, parent in found if parent in servers]


def group_is_alive(group: int) -> bool:
    """Whether a process of the group still runs; zombies do not count."""
    return any(its_group == group and state not in "ZX" for _, state, _, its_group in _processes())


def _servers_and_workers() -> Iterator[tuple[int, int]]:
    """Number and parent of each."""
    for pid, _, parent, _ in _processes():
        with contextlib.suppress(OSError):
            if b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                yield pid, parent


def _processes() -> Iterator[tuple[int, str, int, int]]:
    """Number, state, parent and group of every process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, parent, group = stat.read_text().rpartition(")")[2].split()[:3]
            yield int(stat.parent.name), state, int(parent), int(group)
