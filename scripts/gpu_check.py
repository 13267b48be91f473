"""Check and measure a machine with a GPU: tests, parity, degradation and training speed, on one page.

The command runs the programs that show each of these, one after the other, within a time limit. It prints and writes a
page, ready for docs/benchmarks.md: a line for each program, then the tables that the benchmarks print. It ends with
exit code 1 when a program failed, or was skipped for lack of time. --device cpu does the same on the CPU with tiny
sizes: that says nothing about a GPU and shows that this script works.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # Python puts scripts/ there

import numpy as np
import torch

from scripts.bench.harness import machine
from shared.config import option, parse
from shared.errors import RunError, run_command
from shared.storage.json_lines import JsonLines
from train.evaluation.summaries import markdown

ROOT = Path(__file__).resolve().parents[1]
MOST_WAIT = 0.02
"""Largest share of a training step's time that may be spent waiting for data."""
WORKERS = 8
"""Loader workers. Two decode about as many pairs as a data-centre GPU trains on: the loader would be timed."""
SKIPPED = "skipped: the time limit was reached"
SMALLEST_NETWORK = ["--network.options.num_feat", "4", "--network.options.num_block", "1"]


@dataclass(frozen=True)
class GpuCheckSettings:
    """What to check."""

    out: str = option("runs/gpu_check", "folder for table.md, logs and runs")
    device: Literal["cuda", "cpu"] = option("cuda", "cpu: tiny sizes, to try this script out")
    peer: str | None = option(None, "MODULE:FUNCTION, other code for degradation, timed in the same run")
    limit_s: float = option(
        540, "seconds that the whole check may take; what does not fit is skipped, and named at the end"
    )


@dataclass(frozen=True, eq=False)
class Step:
    """A program. shown: whether the page holds what it prints. run: folder of the run that it trains, if it does."""

    name: str
    command: Sequence[str]
    shown: bool = False
    run: Path | None = None


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(GpuCheckSettings, argv, "bash scripts/gpu_check.sh", __doc__ or "")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RunError("torch sees no GPU here: nothing was checked (--device cpu tries this script out)")
    out = Path(settings.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    for finished in (*(f"runs/{name}" for name in sources(settings.device == "cuda")), "gpu-shards/severe"):
        shutil.rmtree(out / finished, ignore_errors=True)  # else it goes on
    begun = time.monotonic()
    outcomes = {step: attempt(step, out, begun + settings.limit_s) for step in steps(settings, out)}
    text = page(outcomes, out, settings.device, time.monotonic() - begun)
    (out / "table.md").write_text(text)
    print(f"\n{text}\n{out}: table.md and logs")
    return 1 if any(outcome != "passed" for outcome in outcomes.values()) else 0


def page(outcomes: dict[Step, str], out: Path, device: str, seconds: float) -> str:
    """Markdown: a line for each program, then the output of those that are shown."""
    where = machine(torch.device(device)) + ("" if device == "cuda" else " (tiny sizes, no GPU)")
    lines = [[step.name, outcome, speed(step.run) if step.run else ""] for step, outcome in outcomes.items()]
    logs = [log_of(step, out) for step, outcome in outcomes.items() if step.shown and outcome != SKIPPED]
    tables = [f"{log.stem}:\n\n{log.read_text()}" for log in logs]
    head = f"`bash scripts/gpu_check.sh` on {where}, {seconds:.0f} s:\n"
    return "\n".join([head, markdown(["check", "outcome", "speed"], lines), *tables])


def log_of(step: Step, out: Path) -> Path:
    """Where the output of a program is kept."""
    return out / f"{step.name.replace(' ', '-')}.log"


def attempt(step: Step, out: Path, deadline: float) -> str:
    """Run a program, with its workers, until the deadline at most. Returns what became of it."""
    left = deadline - time.monotonic()
    if left < 1:
        return SKIPPED
    print(f"== {step.name}", flush=True)
    log, environment = log_of(step, out), {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    with log.open("w") as file:
        process = subprocess.Popen(
            step.command, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            code = process.wait(left)
        except subprocess.TimeoutExpired:
            return f"ended by the time limit after {left:.0f} s: {log.name}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        return f"failed with exit code {code}: {log.name}"
    is_starved = step.run is not None and torch.cuda.is_available() and data_wait(step.run) > MOST_WAIT
    return f"waits for data more than {MOST_WAIT:.0%} of its time" if is_starved else "passed"


def steps(settings: GpuCheckSettings, out: Path) -> list[Step]:
    """All steps, the most important ones first, should time run out."""
    on_gpu, python = settings.device == "cuda", sys.executable
    patch = ["--patch", "256" if on_gpu else "80"]
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default"]
    operators = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/shared/degradation").glob("test_gpu*.py"))
    bench = [python, "-m", "scripts.bench"]
    parity, degrade = [*bench, "parity", "--device", settings.device, *patch], [*bench, "degrade", *patch]
    training_step = [*bench, "train", *patch]
    if on_gpu:
        training_step += ["--workers", str(WORKERS), "--compile"]
    else:
        parity += ["--plans", "4", "--spaces", "paper"]
        degrade += ["--batch", "2", "--batches", "1"]
        training_step += ["--batch", "2", "--steps", "1", "--turns", "1", *SMALLEST_NETWORK]
    if settings.peer:
        degrade += ["--peer", settings.peer]
    return [
        Step("tests of the operators", [*pytest, "-k", "cuda" if on_gpu else "jpeg_is_that", *operators], shown=True),
        Step("tests of the device", [*pytest, "tests/gpu"], shown=True),
        Step("parity", parity, shown=True),
        Step("degradation", degrade, shown=True),
        *runs(on_gpu, out),
        Step("training step", training_step, shown=True),
    ]


def runs(on_gpu: bool, out: Path) -> list[Step]:
    """Short runs from shards, from the device alone, and from both: in `mixed` two of four tasks run out of rows."""
    python, few, many = sys.executable, *((32, 128) if on_gpu else (4, 8))
    render = [python, "-m", "gen.render", "--hr", "photos", "--out", f"{out}/shards", "--workers", "2"]
    render += ["--patch", "256" if on_gpu else "80", "--rows-per-shard", str(few)]
    found = [
        Step("shards", [*render, "--subspace", "all", "--count", str(few)]),
        Step("shards of mild", [*render, "--subspace", "mild", "--count", str(many)]),
        Step("shards of blur", [*render, "--subspace", "blur", "--count", str(many)]),
        Step("shards of val", [*render, "--subspace", "all", "--split", "val", "--count", "2"]),
    ]
    if on_gpu:
        device = ["--backend", "gpu", "--subspace", "severe", "--count", str(many), "--out", f"{out}/gpu-shards"]
        on_cpu = ["env", "CUDA_VISIBLE_DEVICES=", python, "-m", "gen.verify", f"{out}/gpu-shards/severe"]
        found.append(Step("shards by the device", [*render, *device]))
        found.append(Step("the same rendered on the CPU", [*on_cpu, "--rerender", "16"], shown=True))
    for name, options in sources(on_gpu).items():
        run = out / "runs" / name
        command = [python, "train/run.py", "--shards", f"{out}/shards", "--run", str(run), *options, *training(on_gpu)]
        found.append(Step(f"training from {name}", command, run=run))
    return found


def sources(on_gpu: bool) -> dict[str, list[str]]:
    """The short runs by name, with the options that choose the source of their samples."""
    return {
        "shards": ["--source", "shards"],
        "gpu": ["--source", "gpu", "--hr", "photos"],
        "mixed": ["--max-repeats", "12" if on_gpu else "1"],
    }


def training(on_gpu: bool) -> list[str]:
    """Options of a run of two intervals; the second is measured."""
    values: dict[str, Any] = {"policy": "uniform", "precision": "bf16", "trackers": "none"}
    if on_gpu:
        values |= {"iterations": 120, "interval-steps": 60, "log-steps": 20, "workers": WORKERS}
    else:
        values |= {"batch-size": 4, "workers": 1, "iterations": 8, "interval-steps": 4, "log-steps": 2}
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return [*words, "--compile"] if on_gpu else words + SMALLEST_NETWORK


def late_lines(run: Path) -> list[dict[str, Any]]:
    """What a run logged of the steps of its second interval."""
    lines, intervals = JsonLines(run / "metrics.jsonl").read(), JsonLines(run / "intervals.jsonl").read()
    return [line for line in lines if len(intervals) > 1 and line["step"] > intervals[1]["step"]]


def data_wait(run: Path) -> float:
    """Median share of a step's time that a run waited for data in its second interval."""
    return float(np.median([line["data_wait"] for line in late_lines(run)]))


def speed(run: Path) -> str:
    """Samples a second of a run in its second interval, its wait for data, and the share of samples made on the fly."""
    if not (late := late_lines(run)):
        return "nothing was trained in a second interval"
    rate = float(np.median([line["samples_per_second"] for line in late]))
    on_the_fly = sum(value for line in late for key, value in line.items() if key.startswith("data/fallback/"))
    share = on_the_fly / sum(sum(line["counts"]) for line in late)
    return f"{rate:.0f} samples/s, data wait {data_wait(run):.1%}, {share:.0%} made on the fly"


if __name__ == "__main__":
    sys.exit(run_command(main))
