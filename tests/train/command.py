"""Runs `train/run.py` as a process of its own, as a person would, without paying for its imports each time.

A fork server imports torch and the trainer once; every command is a fresh fork of it that executes the script as
`__main__`, with its own standard streams, exit code and signals.
"""

import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "train" / "run.py"
DEADLINE_SECONDS = 120.0
POLL_SECONDS = 0.02

TINY: dict[str, Any] = {
    "network.options.num_feat": 4,
    "network.options.num_block": 1,
    "iterations": 15,
    "interval_steps": 5,
    "batch_size": 4,
    "lr": 0.005,
    "ema": 0.5,
    "log_steps": 1,
    "workers": 1,
    "keep": 2,
    "trackers": ["none"],
}
"""A run of three intervals of 20 samples, fast enough for a test and violent enough to move the weights."""

THREADS = "TEST_THREADS"
"""In the environment of a command: threads that it may use (default: 1)."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.train.preloaded"])


def flags(**settings: Any) -> list[str]:
    """The command line of the tiny run with these changes; a list gives several values, None leaves an option out."""
    words: list[str] = []
    for name, value in {**TINY, **settings}.items():
        if value is not None:
            words.append(f"--{name}" if "." in name else f"--{name.replace('_', '-')}")
            words += map(str, value) if isinstance(value, list) else [str(value)]
    return words


@dataclass(frozen=True)
class Outcome:
    """What a finished command leaves behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """Lines on stderr that begin with `error:`."""
        return [line for line in self.stderr.replace("\r", "\n").split("\n") if line.startswith("error:")]


class Command:
    """A running command. signal_after: (number, steps): the process signals itself in that training step."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str] | None = None,
        signal_after: tuple[int, int] | None = None,
        script: Path = SCRIPT,
    ) -> None:
        self._log = cwd / f".log-{time.monotonic_ns()}"
        self._process = _server.Process(
            target=_execute, args=(str(script), list(argv), str(cwd), dict(env or {}), signal_after, str(self._log))
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Of the process, whose loader workers are its children."""
        assert self._process.pid
        return self._process.pid

    def wait(self) -> Outcome:
        """Its outcome, when it has ended; killed when it does not end in time."""
        self._process.join(DEADLINE_SECONDS)
        if self._process.exitcode is None:
            self.signal_group(signal.SIGKILL)
            raise AssertionError(f"the command did not end:\n{self._read('err')}")
        return Outcome(self._process.exitcode, self._read("out"), self._read("err"))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as the condition holds, while the command is running."""
        end = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            self._process.join(POLL_SECONDS)
            assert self._process.exitcode is None, f"the command ended too early:\n{self._read('err')}"
            assert time.monotonic() < end, "the condition did not become true in time"

    def signal_group(self, number: int) -> None:
        """Signal the process and its loader workers, as a launcher does."""
        os.killpg(self._process.pid, number)

    def _read(self, stream: str) -> str:
        return Path(f"{self._log}.{stream}").read_text()


def run(argv: Sequence[str], cwd: Path, **options: Any) -> Outcome:
    """Run a command to its end."""
    return Command(argv, cwd, **options).wait()


def succeed(argv: Sequence[str], cwd: Path, **options: Any) -> Outcome:
    """Run a command that must succeed."""
    outcome = run(argv, cwd, **options)
    assert outcome.code == 0, outcome.stderr
    return outcome


def start_ranks(argv: list[str], cwd: Path, signal_after: tuple[int, int] | None = None) -> list[Command]:
    """The two processes that torchrun would start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        Command(argv, cwd, env={**common, "RANK": rank, "LOCAL_RANK": rank}, signal_after=signal_after)
        for rank in ("0", "1")
    ]


def _execute(
    script: str, argv: list[str], cwd: str, env: dict[str, str], signal_after: tuple[int, int] | None, log: str
) -> None:
    multiprocessing.set_start_method("fork", force=True)  # loader workers as in a plain process, not from our server
    os.setsid()
    os.chdir(cwd)
    os.environ.update(env)
    for descriptor, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{log}.{stream}", os.O_WRONLY | os.O_CREAT, 0o644), descriptor)
    _use_threads(int(env.get(THREADS, 1)))
    sys.argv = [script, *argv]
    if signal_after:
        _signal_self(*signal_after)
    runpy.run_path(script, run_name="__main__")


def _use_threads(number: int) -> None:
    """Threads of one small network that wait for each other on a busy machine make a step ten times slower."""
    import torch

    original = torch.set_num_threads
    original(number)
    torch.set_num_threads = lambda wanted: original(min(wanted, number))


def _signal_self(number: int, steps: int) -> None:
    from train.loop import Run

    original, done = Run.training_step, iter(range(1, steps + 1))

    def training_step(self: Run, *args: Any) -> Any:
        if next(done, None) == steps:
            os.kill(os.getpid(), number)
        return original(self, *args)

    Run.training_step = training_step  # type: ignore[method-assign]
