"""The table of gpu_check.sh, from what the real programs leave; and what it says where there is no GPU."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from gen.render import RenderSettings
from scripts import gpu_check
from scripts.bench import __main__ as bench
from scripts.bench import degrade, parity
from scripts.gpu_check import (
    ROOT,
    SKIPPED,
    CheckRow,
    GpuCheckSettings,
    Step,
    attempt,
    read_degradation,
    read_parity,
    read_steps,
    read_tests,
    read_training,
    table,
)
from shared.config import parse
from shared.errors import RunError, UsageError
from shared.storage.json_lines import JsonLines
from train.record.progress import Window
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


def test_parity_is_one_row_a_space_with_its_bounds(tmp_path):
    out = tmp_path / "parity.json"
    bench.main(["parity", "--plans", "2", "--spaces", "paper", "--patch", "76", "--device", "cpu", "--out", str(out)])
    (row,) = read_parity(out)
    assert row.check == "parity, paper, 2 plans"
    assert row.wanted == "70%, 45 dB, 58 dB, 99.5%"
    (found,) = json.loads(out.read_text())["spaces"]
    assert row.good is parity.Parity(**found).holds()
    out.write_text(json.dumps({"spaces": [{**found, "worst_db": 44.9}]}))
    assert read_parity(out)[0].good is False


def nearest(hr):
    """A peer: one launch."""
    return hr[:, :, ::4, ::4].clone()


def test_degradation_is_beside_its_peer_with_its_floor(tmp_path):
    out, peer = tmp_path / "degrade.json", "tests.scripts.test_gpu_check:nearest"
    sizes = ["--batch", "2", "--batches", "1", "--patch", "76"]
    assert bench.main(["degrade", *sizes, "--peer", peer, "--out", str(out)]) == 0
    rows = {row.check: row for row in read_degradation(out)}
    assert "degradation, per sample, batch 2 of 76 px" in rows
    assert "degradation, peer, batch 2 of 76 px" in rows
    assert rows["per sample / peer"].good is False  # a copy is faster
    assert rows["its floor: bytes at the speed of a copy"].result.endswith("ms")
    found = json.loads(out.read_text())
    assert found["per_sample"]["launches"] > 100
    assert found["peer"]["launches"] == 1


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


def test_training_is_read_from_the_second_interval(tmp_path):
    settings, metrics = TrainSettings(batch_size=4), JsonLines(tmp_path / "metrics.jsonl")
    for step, seconds, waited in ((5, 9.0, 8.0), (10, 0.5, 0.005)):
        window = Window(2)
        window.add({"generator": 1.0}, np.array([1, 3]), waited, seconds)
        metrics.append(window.flush(step, settings) | {"data/fallback/noise": 1 if step == 10 else 0})
    for step in (0, 5, 10):
        JsonLines(tmp_path / "intervals.jsonl").append({"step": step})
    (row,) = read_training("mixed", tmp_path, measured=True)
    assert row.result == "8 samples/s, data wait 1.0%, 25% made on the fly"
    assert row.good


def test_tests_are_counted(tmp_path):
    counts = 'tests="7" failures="1" errors="1" skipped="2"'
    (tmp_path / "gpu.xml").write_text(f'<testsuites><testsuite name="pytest" {counts}/></testsuites>')
    assert read_tests(tmp_path / "gpu.xml") == [
        CheckRow("tests: gpu", "3 passed, 2 failed, 2 skipped", "none fails", False)
    ]


def test_what_goes_wrong_is_a_row(tmp_path):
    def nothing():
        return read_parity(tmp_path / "nothing.json")

    python, late = sys.executable, time.monotonic() + 60
    (row,) = attempt(Step("parity", [python, "-c", ""], nothing), tmp_path, late)
    assert row.good is False
    assert "left no figures (FileNotFoundError" in row.result
    (row,) = attempt(Step("parity", [python, "-c", "import sys; sys.exit(3)"], list), tmp_path, late)
    assert row == CheckRow("parity", "failed (exit code 3): parity.log", good=False)
    (row,) = attempt(Step("parity", [python, "-c", ""], list), tmp_path, time.monotonic())
    assert row.result == SKIPPED
    assert attempt(Step("parity", [python, "-c", "print(1)"], list), tmp_path, late) == []
    assert (tmp_path / "parity.log").read_text() == "1\n"


def test_the_table_is_markdown():
    rows = [
        CheckRow("speed", "8 pairs/s"),
        CheckRow("ratio", "2.00", ">= 3", False),
        CheckRow("tests", "5 passed", "none fails", True),
    ]
    assert table(rows, "a GPU", 61.2).splitlines() == [
        "`bash scripts/gpu_check.sh` on a GPU, 61 s:",
        "",
        "| check | result | wanted | reached |",
        "|---|---|---|---|",
        "| speed | 8 pairs/s |  |  |",
        "| ratio | 2.00 | >= 3 | **no** |",
        "| tests | 5 passed | none fails | yes |",
    ]


def test_a_program_is_ended_with_its_children_when_its_time_is_over(tmp_path):
    child = "import time; print('started', flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    begun, step = time.monotonic(), Step("parity", [sys.executable, "-c", parent], list)
    (row,) = attempt(step, tmp_path, begun + 3)
    assert row.good is False
    assert row.result.startswith("ended by the time limit after 3 s")
    assert time.monotonic() - begun < 30


def test_what_is_skipped_is_named_at_the_end(tmp_path, capsys):
    assert gpu_check.main(["--device", "cpu", "--limit-s", "0", "--out", str(tmp_path)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("skipped, because 0 s were over: operators, gpu, parity, degradation, shards")
    assert last.endswith("training step")


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_command_line_of_the_check_is_understood(device, tmp_path):
    """Each program's own settings take the options that it is given; tests are those that pytest would collect."""
    parsed = [understood(step.command) for step in gpu_check.steps(GpuCheckSettings(device=device), tmp_path)]
    assert len(parsed) == (13 if device == "cuda" else 12)
    runs = [settings for settings in parsed if isinstance(settings, TrainSettings)]
    assert [settings.compile for settings in runs] == [device == "cuda"] * 3


def understood(command: list[str]) -> object:
    python, *words = command
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
            return parse(bench.BENCHMARKS[name][0], options, "", "")
        case ["train/run.py", *options]:
            return parse(TrainSettings, options, "", "")
    raise AssertionError(f"nobody parses {words}")


def test_the_loops_of_a_training_step_are_a_row_each(tmp_path):
    found = {"head": ["loop", "samples/s", "plain / it"], "lines": [["plain fp32", "8.0", "1.00"]]}
    (tmp_path / "train.json").write_text(json.dumps(found))
    assert read_steps(tmp_path / "train.json") == [
        CheckRow("training step, plain fp32", "samples/s 8.0, plain / it 1.00")
    ]
