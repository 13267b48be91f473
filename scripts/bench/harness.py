"""What the benchmarks share: the machine, clocks, turns, memory and tables."""

import os
import platform
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch

from train.evaluation.summaries import markdown

T = TypeVar("T")


class Cost(NamedTuple):
    """Seconds of wall time, and of CPU time over this process and its children, or of this process alone.

    waited: seconds of waiting for data. peak_mb: peak of memory, MiB.
    """

    wall: float
    cpu: float
    waited: float = 0.0
    peak_mb: float = 0.0


Figures = dict[str, dict[str, float]]
"""What was measured of each side, by its name; the names of its figures are the heads of a table."""


def machine(device: torch.device | None = None) -> str:
    """One line: the device, its host and the versions that matter."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    host = f"{len(os.sched_getaffinity(0))} cores of {model[1] if model else platform.machine()}"
    name = f"{torch.cuda.get_device_name()}, " if device and device.type == "cuda" else ""
    return f"{name}{host}; Python {platform.python_version()}, torch {torch.__version__}, OpenCV {cv2.__version__}"


def accelerator() -> torch.device:
    """The GPU, or else the CPU with one thread."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(1)
    return torch.device("cpu")


def show(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print(markdown(head, lines), flush=True)


def show_figures(figures: Figures) -> None:
    """Print a line for each side and a column for each figure, of three digits or whole."""
    lines = [
        [side, *(f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in found.values())]
        for side, found in figures.items()
    ]
    show(["", *next(iter(figures.values()))], lines)


# ---- time


def cost_of(
    function: Callable[[], object], device: torch.device | None = None, cpu_clock: Callable[[], float] | None = None
) -> Cost:
    """The time of one call, with what it leaves to the device. cpu_clock: default `family_cpu_seconds`."""
    cpu_clock = cpu_clock or family_cpu_seconds
    finish(device)
    wall, cpu = time.perf_counter(), cpu_clock()
    function()
    finish(device)
    return Cost(time.perf_counter() - wall, cpu_clock() - cpu)


class StageClock:
    """Adds the CPU time of blocks to entries, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.running = True

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] += (time.process_time() - start) * self.running


class Waits(Iterator[T]):
    """A stream, and the seconds that each of its items was waited for."""

    def __init__(self, stream: Iterator[T]) -> None:
        self._stream = stream
        self.seconds: list[float] = []

    def __next__(self) -> T:
        start = time.perf_counter()
        item = next(self._stream)
        self.seconds.append(time.perf_counter() - start)
        return item


def unit_ms() -> float:
    """Milliseconds of CPU time that a 21 x 21 filter on 256 x 256 x 3 takes now, mean of 20 calls."""
    image = np.zeros((256, 256, 3), np.float32)
    start = time.process_time()
    for _ in range(20):
        cv2.filter2D(image, -1, np.ones((21, 21), np.float32))
    return 1000 * (time.process_time() - start) / 20


def finish(device: torch.device | None) -> None:
    """Wait for the device."""
    if device and device.type == "cuda":
        torch.cuda.synchronize()


def take_turns(sides: Mapping[str, Callable[[], T]], turns: int) -> dict[str, list[T]]:
    """What each side gives, turn by turn."""
    taken: dict[str, list[T]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            taken[name].append(side())
    return taken


def figures_of(taken: Mapping[str, Sequence[Cost]], samples: int, ratios: Mapping[str, tuple[str, str]]) -> Figures:
    """Rate and CPU time of each side by the medians over its turns of so many samples, and ratios to other sides.

    ratios: by name, another side and `wall` or `cpu`: the median over the turns of its time divided by the side's.
    """
    found: Figures = {}
    for name, costs in taken.items():
        found[name] = {
            "samples/s": samples / statistics.median(cost.wall for cost in costs),
            "CPU ms a sample": 1000 * statistics.median(cost.cpu for cost in costs) / samples,
        }
        for title, (base, clock) in ratios.items():
            found[name][title] = median_ratio(*([getattr(c, clock) for c in side] for side in (taken[base], costs)))
    return found


def median_ratio(base: Sequence[float], other: Sequence[float]) -> float:
    """Median over the turns of base / other."""
    return statistics.median(b / o for b, o in zip(base, other, strict=True))


# ---- processes and memory


def family() -> list[int]:
    """This process and its children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [os.getpid(), *map(int, children.split())]


def family_cpu_seconds() -> float:
    """CPU time of this process and its living children."""
    ticks = 0
    for pid in family()[1:]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def held_mb(pid: int | str = "self", name: str = "RssAnon") -> float:
    """Memory of a process in MB: RssAnon without mapped files, VmHWM the peak with them."""
    found = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def forget_peak(device: torch.device | None = None) -> None:
    """Let the peak of memory, of the accelerator or of this process, begin anew."""
    if device and device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: torch.device | None = None) -> float:
    """Peak of memory since `forget_peak`, of the accelerator or of this process."""
    if device and device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return held_mb(name="VmHWM")
