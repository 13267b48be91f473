"""Worker processes: they know nothing of Ctrl-C, and a signal never leaves half of their start behind."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gen.processes import interrupts_wait
from tests.gen.watching import DEADLINE_SECONDS, group_is_alive, poll, servers_of, workers_of

ROOT = Path(__file__).parents[2]


def test_an_interrupt_takes_effect_at_the_end_of_the_block():
    reached = []

    def block() -> None:
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert reached == ["the end"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_in_the_block_stays_what_it_is():
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="mine"), interrupts_wait():
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) == handler


def test_a_thread_that_signals_never_reach_may_hold_the_block_too():
    def block() -> str:
        with interrupts_wait():
            return "done"

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(block).result() == "done"


LOADED = """
import os
from gen.processes import process_pool, start_process
with process_pool(1, start_process) as pool:
    loaded = [pool.submit(eval, f"{name!r} in __import__('sys').modules") for name in ("gen.shards", "gen.shardcheck")]
    print(*[each.result() for each in loaded], pool.submit(os.getenv, "OPENBLAS_NUM_THREADS").result())
"""


def test_a_worker_begins_with_what_it_needs_and_one_thread():
    """In a process of its own: a server that another test has started serves them all."""
    result = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("True True 1\n", "")


@pytest.mark.parametrize("begun", [servers_of, workers_of], ids=["server", "worker"])
def test_ctrl_c_while_the_workers_start_says_so_and_no_more(begun, start, tmp_path):
    process = start(tmp_path, "--count", "96", "--workers", "2", stderr=subprocess.PIPE)
    poll(lambda: begun(process.pid) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    assert said.splitlines()[-1] == b"interrupted; run the same command again to go on"
    assert b"Traceback" not in said
    poll(lambda: not group_is_alive(process.pid))


def test_a_folder_for_temporary_files_with_a_long_path_is_named(start, tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    process = start(tmp_path, "--count", "8", "--workers", "2", stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1
    assert said.decode().strip() == (
        f"error: no worker can be started: AF_UNIX path too long, in {folder}; set TMPDIR to a shorter path"
    )


@pytest.mark.parametrize("finished", [None, 0, 1, 5])
def test_a_killed_server_is_said_and_the_same_command_finishes(finished, start, render, tmp_path):
    """finished: shards when the system kills the server; None: as soon as it is there."""
    folder = tmp_path / "noise"
    process = start(tmp_path, "--count", "96", "--workers", "2", stderr=subprocess.PIPE)
    poll(lambda: servers_of(process.pid) or process.poll() is not None)
    (server,) = servers_of(process.pid)
    if finished is not None:
        poll(lambda: workers_of(process.pid) and len([*folder.glob("*.tar")]) >= finished)
    os.kill(server, signal.SIGKILL)
    _, said = process.communicate(timeout=DEADLINE_SECONDS)
    assert b"Traceback" not in said
    if process.returncode:
        assert process.returncode == 1
        assert b"a worker was killed (out of memory?)" in said
        assert b"shards failed; run the same command again to retry only those" in said
    poll(lambda: not group_is_alive(process.pid))
    render(tmp_path, "--count", "96")
    assert len([*folder.glob("*.tar")]) == 24
    assert not [*folder.rglob(".tmp-*")]
