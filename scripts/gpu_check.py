"""Check and measure a machine with a GPU: tests, parity, degradation and training speed, as one table.

The command runs the programs that give each of these, one after the other, within a time limit. Then it prints the
table and writes it, ready for docs/benchmarks.md, with all figures and logs beside it. It ends with exit code 1 when
something
failed, or was skipped for lack of time. --device cpu does the same on the CPU with tiny sizes: that says nothing about
a GPU and shows that this script works.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # Python puts scripts/ there

import numpy as np
import torch

from scripts.bench.harness import machine
from scripts.bench.parity import LEAST_IDENTICAL, LEAST_POOLED_DB, LEAST_WITHIN_ONE, LEAST_WORST_DB, Parity
from shared.config import option, parse
from shared.errors import RunError, run_command
from shared.storage.json_lines import JsonLines

ROOT = Path(__file__).resolve().parents[1]
TARGET_RATIO, TARGET_WAIT = 3, 0.02
WORKERS = 8
"""Loader workers. Two decode about as many pairs as a data-centre GPU trains on: the loader would be timed."""
BENCH = [sys.executable, "-m", "scripts.bench"]
SKIPPED = "skipped: the time limit was reached"
READING_S = 20
"""Seconds that are kept for reading the figures after the last program."""
SMALLEST_NETWORK = ["--network.options.num_feat", "4", "--network.options.num_block", "1"]
WANTED_PARITY = (
    f"{LEAST_IDENTICAL:.0%}, {LEAST_WORST_DB} dB, {LEAST_POOLED_DB} dB, {LEAST_WITHIN_ONE:.1%}"  # in this order
)


@dataclass(frozen=True)
class GpuCheckSettings:
    """What to check."""

    out: str = option("runs/gpu_check", "folder for table.md, table.json, logs and runs")
    device: Literal["cuda", "cpu"] = option("cuda", "cpu: tiny sizes, to try this script out")
    peer: str | None = option(None, "MODULE:FUNCTION, other code for degradation, timed in the same run")
    limit_s: float = option(
        540, "seconds that the whole check may take; what does not fit is skipped, and named at the end"
    )


@dataclass(frozen=True)
class CheckRow:
    """One line of the table. good: whether what is wanted was reached; None where nothing is."""

    check: str
    result: str
    wanted: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Step:
    """A program, and how to read what it leaves. A step that fails does not stop the steps after it."""

    name: str
    command: Sequence[str]
    read: Callable[[], list[CheckRow]]


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
    deadline = begun + settings.limit_s - min(READING_S, settings.limit_s / 10)
    rows = [row for step in steps(settings, out) for row in attempt(step, out, deadline)]
    where = machine(torch.device(settings.device)) + ("" if settings.device == "cuda" else " (tiny sizes, no GPU)")
    text = table(rows, where, time.monotonic() - begun)
    (out / "table.md").write_text(text)
    (out / "table.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print(f"\n{text}\n{out}: table.md, table.json, logs")
    if skipped := [row.check for row in rows if row.result == SKIPPED]:
        print(f"skipped, because {settings.limit_s:.0f} s were over: {', '.join(skipped)}")
    return 1 if any(row.good is False for row in rows) else 0


def table(rows: Sequence[CheckRow], where: str, seconds: float) -> str:
    """Markdown."""
    marks = {True: "yes", False: "**no**", None: ""}
    lines = [f"| {row.check} | {row.result} | {row.wanted} | {marks[row.good]} |" for row in rows]
    head = ["| check | result | wanted | reached |", "|---|---|---|---|"]
    return "\n".join([f"`bash scripts/gpu_check.sh` on {where}, {seconds:.0f} s:", "", *head, *lines, ""])


def attempt(step: Step, out: Path, deadline: float) -> list[CheckRow]:
    """Run a step and read its rows; a fault is a row of its own. Past the deadline the step is skipped or ended."""
    left = deadline - time.monotonic()
    if left < 1:
        return [CheckRow(step.name, SKIPPED, good=False)]
    print(f"== {step.name}", flush=True)
    log, begun = out / f"{step.name.replace(' ', '-').replace('/', '-')}.log", time.monotonic()
    code = execute(step.command, log, left)
    print(f"   {time.monotonic() - begun:.0f} s", flush=True)
    if code is None:
        return [CheckRow(step.name, f"ended by the time limit after {left:.0f} s: {log.name}", good=False)]
    try:
        rows = step.read()
    except Exception as error:  # whatever a program left half done: the other steps count too
        rows = [CheckRow(step.name, f"left no figures ({type(error).__name__}: {error})", good=False)]
    failed = [CheckRow(step.name, f"failed (exit code {code}): {log.name}", good=False)]
    return rows + (failed if code and all(row.good is not False for row in rows) else [])


def execute(command: Sequence[str], log: Path, seconds: float) -> int | None:
    """The exit code of a program; None when it, with its workers, was ended after so many seconds."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=file, stderr=file, start_new_session=True
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def environment() -> dict[str, str]:
    """Programs find this checkout first."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def steps(settings: GpuCheckSettings, out: Path) -> list[Step]:
    """All steps, the most important ones first, should time run out."""
    bench = [*BENCH, "train", "--out", f"{out}/train.json"]
    if settings.device == "cuda":
        bench += ["--workers", str(WORKERS), "--compile"]
    else:
        bench += ["--patch", "80", "--batch", "2", "--steps", "1", "--turns", "1", *SMALLEST_NETWORK]
    step = Step("training step", bench, lambda: read_steps(out / "train.json"))
    return [*checks(settings, out), *runs(settings.device == "cuda", out), step]


def checks(settings: GpuCheckSettings, out: Path) -> list[Step]:
    """The steps that concern the torch backend alone."""
    on_gpu, python, patch = settings.device == "cuda", sys.executable, "256" if settings.device == "cuda" else "80"
    operators = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/shared/degradation").glob("test_gpu*.py"))
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default"]
    parity = [*BENCH, "parity", "--device", settings.device, "--patch", patch, "--out", f"{out}/parity.json"]
    degrade = [*BENCH, "degrade", "--patch", patch, "--out", f"{out}/degrade.json"]
    if on_gpu:
        operators = ["-k", "cuda", *operators]
    else:
        operators, parity = ["-k", "jpeg_is_that", *operators], [*parity, "--plans", "4", "--spaces", "paper"]
        degrade += ["--batch", "2", "--batches", "1"]
    if settings.peer:
        degrade += ["--peer", settings.peer]
    return [
        Step(name, [*pytest, f"--junitxml={out}/{name}.xml", *what], lambda name=name: read_tests(out / f"{name}.xml"))
        for name, what in (("operators", operators), ("gpu", ["tests/gpu"]))
    ] + [
        Step("parity", parity, lambda: read_parity(out / "parity.json")),
        Step("degradation", degrade, lambda: read_degradation(out / "degrade.json")),
    ]


def runs(on_gpu: bool, out: Path) -> list[Step]:
    """Short runs from shards, from the device alone, and from both: in `mixed` two of four tasks run out of rows."""
    python, few, many = sys.executable, *((32, 128) if on_gpu else (4, 8))
    render = [python, "-m", "gen.render", "--hr", "photos", "--out", f"{out}/shards", "--workers", "2"]
    render += ["--patch", "256" if on_gpu else "80", "--rows-per-shard", str(few)]
    found = [
        Step("shards", [*render, "--subspace", "all", "--count", str(few)], list),
        Step("shards of mild", [*render, "--subspace", "mild", "--count", str(many)], list),
        Step("shards of blur", [*render, "--subspace", "blur", "--count", str(many)], list),
        Step("shards of val", [*render, "--subspace", "all", "--split", "val", "--count", "2"], list),
    ]
    if on_gpu:
        device = ["--backend", "gpu", "--subspace", "severe", "--count", str(many), "--out", f"{out}/gpu-shards"]
        found.append(Step("shards by the device", [*render, *device], lambda: read_shards(out / "gpu-shards/severe")))
    for name, options in sources(on_gpu).items():
        run = out / "runs" / name
        command = [python, "train/run.py", "--shards", f"{out}/shards", "--run", str(run), *options, *training(on_gpu)]
        found.append(
            Step(f"training from {name}", command, lambda name=name, run=run: read_training(name, run, on_gpu))
        )
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


# ---- what the programs leave


def read_tests(path: Path) -> list[CheckRow]:
    """The tests that a JUnit file counts."""
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        for key in counts:
            counts[key] += int(suite.get(key, 0))
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    result = f"{passed} passed, {failed} failed, {counts['skipped']} skipped"
    return [CheckRow(f"tests: {path.stem}", result, "none fails", failed == 0)]


def read_parity(path: Path) -> list[CheckRow]:
    """The figures of `scripts.bench parity`."""
    rows = []
    for found in (Parity(**values) for values in json.loads(path.read_text())["spaces"]):
        result = (
            f"{found.identical:.1%} identical, worst {found.worst_db:.1f} dB, all errors {found.pooled_db:.1f} dB, "
        )
        result += f"{found.within_one:.2%} within 1 level, largest {found.largest}"
        rows.append(CheckRow(f"parity, {found.space}, {found.plans} plans", result, WANTED_PARITY, found.holds()))
    return rows


def read_degradation(path: Path) -> list[CheckRow]:
    """The figures of `scripts.bench degrade`."""
    found = json.loads(path.read_text())
    rows = []
    for kind in ("per_sample", "batch_shared", "peer"):
        if kind in found:
            name = f"degradation, {kind.replace('_', ' ')}, batch {found['batch']} of {found['patch']} px"
            effort = "{ms:.1f} ms, {launches:.0f} launches, {gigabytes:.1f} GB".format(**found[kind])
            rows.append(CheckRow(name, f"{found[kind]['pairs_per_s']:.0f} pairs/s ({effort})"))
    floor = f"{found['floor_ms']:.1f} ms at {found['copy_gb_per_s']:.0f} GB/s; host, ahead: {found['host_ms']:.1f} ms"
    rows.append(CheckRow("its floor: bytes at the speed of a copy", floor))
    memory = f"peak {found['peak_mib']:.0f} MiB of all memory, bound {found['bound_mib']:.0f} MiB of working memory"
    rows.append(CheckRow("its memory", memory))
    if "ratio_to_peer" in found:
        ratio = found["ratio_to_peer"]
        rows.append(CheckRow("per sample / peer", f"{ratio:.2f}", f">= {TARGET_RATIO}", ratio >= TARGET_RATIO))
    return rows


def read_shards(folder: Path) -> list[CheckRow]:
    """Whether a dataset is whole, and equal to what its plans make of its HR crops on the CPU."""
    command = [sys.executable, "-m", "gen.verify", str(folder), "--rerender", "16"]
    found = subprocess.run(
        command, cwd=ROOT, env=environment() | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, timeout=60
    )
    return [
        CheckRow("shards by the device", found.stdout.decode().strip().splitlines()[-1], "sound", not found.returncode)
    ]


def read_training(name: str, run: Path, measured: bool) -> list[CheckRow]:
    """The metrics of a run over its second interval. measured: whether the speed means anything."""
    lines, intervals = JsonLines(run / "metrics.jsonl").read(), JsonLines(run / "intervals.jsonl").read()
    late = [line for line in lines if len(intervals) > 1 and line["step"] > intervals[1]["step"]]
    if not late:
        raise ValueError("nothing was trained in a second interval")
    rate, wait = (float(np.median([line[key] for line in late])) for key in ("samples_per_second", "data_wait"))
    on_the_fly = sum(value for line in late for key, value in line.items() if key.startswith("data/fallback/"))
    share = on_the_fly / sum(sum(line["counts"]) for line in late)
    result = f"{rate:.0f} samples/s, data wait {wait:.1%}, {share:.0%} made on the fly"
    good = wait < TARGET_WAIT if measured else None
    return [CheckRow(f"training from {name}", result, f"data wait < {TARGET_WAIT:.0%}" if measured else "", good)]


def read_steps(path: Path) -> list[CheckRow]:
    """The figures of `scripts.bench train`: a row for each loop."""
    found = json.loads(path.read_text())
    cells = [dict(zip(found["head"][1:], line[1:], strict=True)) for line in found["lines"]]
    return [
        CheckRow(f"training step, {line[0]}", ", ".join(f"{name} {value}" for name, value in values.items()))
        for line, values in zip(found["lines"], cells, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(run_command(main))
