"""The page of gpu_check.sh, from what the real programs leave; and what it says where there is no GPU."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from gen.render import RenderSettings
from gen.verify import VerifySettings
from scripts import gpu_check
from scripts.bench import __main__ as bench
from scripts.bench import degrade
from scripts.gpu_check import ROOT, SKIPPED, GpuCheckSettings, Step, attempt, page, speed
from shared.config import parse
from shared.errors import RunError, UsageError
from shared.storage.json_lines import JsonLines
from train.record.progress import IntervalProgress
from train.settings import TrainSettings


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_fails(tmp_path):
    with pytest.raises(RunError, match="torch sees no GPU here: nothing was checked"):
        gpu_check.main(["--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_command_says_so_before_it_installs_anything(tmp_path):
    environment = {**os.environ, "PYTHON": sys.executable, "WHEELS": str(tmp_path / "nowhere")}
    command = ["bash", "scripts/gpu_check.sh"]
    outcome = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert "error: torch sees no GPU here" in outcome.stderr


def test_what_an_earlier_check_trained_is_not_taken_for_new(tmp_path, monkeypatch):
    for name in ("mixed", "another"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    monkeypatch.setattr(gpu_check, "steps", lambda settings, out: [])
    assert gpu_check.main(["--device", "cpu", "--out", str(tmp_path)]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["another"]


def nearest(hr):
    """A peer that does next to nothing."""
    return hr[:, :, ::4, ::4].clone()


def test_degradation_is_timed_beside_its_peer(tmp_path):
    out, peer = tmp_path / "degrade.json", "tests.scripts.test_gpu_check:nearest"
    sizes = ["--batch", "2", "--batches", "1", "--patch", "76"]
    assert bench.main(["degrade", *sizes, "--peer", peer, "--out", str(out)]) == 0  # the bound is for a GPU
    found = json.loads(out.read_text())
    plans = found["plans"]
    assert plans["per sample"]["time / per sample"] == 1
    assert plans["peer"]["time / per sample"] < 1
    assert plans["per sample"]["launches"] > 100
    assert plans["peer"]["launches"] == 1
    assert found["floor_ms"] > 0


def test_a_peer_that_is_not_there_is_refused():
    with pytest.raises(
        UsageError, match=r"--peer nobody:nothing: No module named 'nobody'; it must be MODULE:FUNCTION"
    ):
        degrade.load_peer("nobody:nothing")


def test_counted_bytes_are_those_of_the_tensors():
    source = torch.zeros(10, 100)
    with degrade.Counter() as counter:
        source.view(1000).add_(source.new_zeros(1).expand(1000))
    assert counter.operations == 2
    assert counter.num_bytes == 4 + (4000 + 4 + 4000)  # new_zeros writes one value; add_ reads and writes


def test_speed_is_that_of_the_second_interval(tmp_path):
    settings, metrics = TrainSettings(batch_size=4), JsonLines(tmp_path / "metrics.jsonl")
    assert speed(tmp_path) == "nothing was trained in a second interval"
    for step, seconds, waited in ((5, 9.0, 8.0), (10, 0.5, 0.005)):
        progress = IntervalProgress("", {"tasks": ["mild"], "p": [0.25, 0.75], "step": step - 1}, 0, settings, False)
        progress.step({"generator": 1.0}, np.array([1, 3]), waited, seconds)
        metrics.append(progress.line() | {"data/fallback/noise": 1 if step == 10 else 0})
    for step in (0, 5, 10):
        JsonLines(tmp_path / "intervals.jsonl").append({"step": step})
    assert speed(tmp_path) == "8 samples/s, data wait 1.0%, 25% made on the fly"


def test_a_program_that_fails_does_not_stop_the_others(tmp_path):
    python, late = sys.executable, time.monotonic() + 60
    failing = Step("the parity", [python, "-c", "import sys; sys.exit(3)"])
    assert attempt(failing, tmp_path, late) == "failed with exit code 3: the-parity.log"
    assert attempt(failing, tmp_path, time.monotonic()) == SKIPPED
    assert attempt(Step("parity", [python, "-c", "print(1)"]), tmp_path, late) == "passed"
    assert (tmp_path / "parity.log").read_text() == "1\n"


def test_the_page_has_a_line_for_each_program_and_the_output_of_those_that_are_shown(tmp_path):
    (tmp_path / "parity.log").write_text("| space |\n")
    outcomes = {Step("shards", []): "passed", Step("parity", [], shown=True): "failed with exit code 1: parity.log"}
    head, _, *lines = page(outcomes, tmp_path, "cpu", 61.2).splitlines()
    assert head.startswith("`bash scripts/gpu_check.sh` on")
    assert head.endswith("(tiny sizes, no GPU), 61 s:")
    assert lines == [
        "| check | outcome | speed |",
        "| --- | ---: | ---: |",
        "| shards | passed |  |",
        "| parity | failed with exit code 1: parity.log |  |",
        "",
        "parity:",
        "",
        "| space |",
    ]


def test_a_program_is_ended_with_its_children_when_its_time_is_over(tmp_path):
    child = "import time; print('started', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    begun, step = time.monotonic(), Step("parity", [sys.executable, "-c", parent])
    assert attempt(step, tmp_path, begun + 3).startswith("ended by the time limit after 3 s")
    assert time.monotonic() - begun < 30


def test_what_is_skipped_is_a_line_of_the_page(tmp_path):
    assert gpu_check.main(["--device", "cpu", "--limit-s", "0", "--out", str(tmp_path)]) == 1
    lines = (tmp_path / "table.md").read_text().splitlines()[4:]
    assert len(lines) == 12
    assert all(SKIPPED in line for line in lines)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_command_line_of_the_check_is_understood(device, tmp_path):
    """Each program's own settings take the options that it is given; tests are those that pytest would collect."""
    parsed = [understood(step.command) for step in gpu_check.steps(GpuCheckSettings(device=device), tmp_path)]
    assert len(parsed) == (14 if device == "cuda" else 12)
    runs = [settings for settings in parsed if isinstance(settings, TrainSettings)]
    assert [settings.compile for settings in runs] == [device == "cuda"] * 3


def understood(command: list[str]) -> object:
    python, *words = command[2:] if command[0] == "env" else command
    assert python == sys.executable
    match words:
        case ["-m", "pytest", *options]:
            places = [word for word in options if word.startswith("tests/")]
            assert places
            assert all((ROOT / place).exists() for place in places)
            return None
        case ["-m", "gen.render", *options]:
            return parse(RenderSettings, options, "", "")
        case ["-m", "scripts.bench", name, *options]:
            return parse(bench.BENCHMARKS[name], options, "", "")
        case ["-m", "gen.verify", *options]:
            return parse(VerifySettings, options, "", "")
        case ["train/run.py", *options]:
            return parse(TrainSettings, options, "", "")
    raise AssertionError(f"nobody parses {words}")
