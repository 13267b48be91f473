"""The modes of `train/run.py`, as processes on tiny shards."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from shared.mixing.quotas import apportion
from shared.rebalance.estimator import softmax
from shared.storage.json_lines import JsonLines
from tests.train.command import SCRIPT, TINY, flags, succeed
from tests.train.conftest import TASKS
from tests.train.records import final_weights, intervals, metrics, require_same_run
from train.networks.weights import weights_digest
from train.record.references import load_trace
from train.record.state import latest_checkpoint, load_state


def test_references_hold_the_psnr_of_every_validation_image_at_every_border(references: Path) -> None:
    for task in TASKS:
        trace = load_trace(references / task)
        assert trace.task == task
        assert sorted(trace.psnr_db, key=int) == ["0", "5", "10", "15"]
        assert all(len(values) == 8 and min(values) > 5 for values in trace.psnr_db.values())
        assert [record["quotas"] for record in intervals(references / task)[:-1]] == [[20]] * 3


def test_the_first_interval_is_exactly_uniform(whole_run: Path) -> None:
    first = intervals(whole_run)[0]
    assert first["step"] == 0
    assert first["p"] == first["estimate"]["weights"] == [1 / 3] * 3
    assert first["estimate"]["gaps_db"] == [0.0] * 3
    assert first["quotas"] == [7, 7, 6]


def test_every_interval_can_be_computed_again_from_its_record(whole_run: Path) -> None:
    *trained, last = intervals(whole_run)
    assert [record["step"] for record in trained] == [0, 5, 10]
    for record in trained:
        gaps = (np.array(record["reference_db"]) - np.array(record["shared_db"])).mean(axis=1)
        assert record["tasks"] == TASKS
        assert record["estimate"]["gaps_db"] == pytest.approx(gaps.tolist(), abs=1e-12)
        assert record["p"] == pytest.approx(softmax(gaps.round(4)).tolist(), abs=1e-12)
        assert record["c"] == [1.0] * 3
        assert record["quotas"] == record["delivered"] == apportion(record["p"], 20)
    assert last["step"] == 15
    assert "quotas" not in last
    assert any(record["p"] != [1 / 3] * 3 for record in trained[1:])  # the policy did something


def test_references_are_read_at_the_same_step(whole_run: Path, references: Path) -> None:
    traces = [load_trace(references / task) for task in TASKS]
    for record in intervals(whole_run):
        assert record["reference_db"] == [trace.psnr_db[str(record["step"])] for trace in traces]


def test_the_counts_of_all_steps_add_up_to_the_quotas(whole_run: Path) -> None:
    lines = metrics(whole_run)
    assert [line["step"] for line in lines] == list(range(1, 16))
    for number, record in enumerate(intervals(whole_run)[:-1]):
        counts = np.array([line["counts"] for line in lines[5 * number : 5 * number + 5]])
        assert counts.sum(axis=1).tolist() == [4] * 5
        assert counts.sum(axis=0).tolist() == record["quotas"]


def test_the_state_of_a_run_is_small_and_at_its_border(whole_run: Path) -> None:
    folder = latest_checkpoint(whole_run)
    state = load_state(folder)
    assert state.step == 15
    assert state.record is None
    assert state.consumed == np.sum([r["quotas"] for r in intervals(whole_run)[:-1]], axis=0).tolist()
    assert sorted(state.datasets) == sorted(f"{task}/{split}" for task in TASKS for split in ("train", "val"))
    assert (folder / "state.json").stat().st_size < 2000
    assert len(list((whole_run / "checkpoints").iterdir())) == 2  # --keep 2


def test_a_single_task_reference_equals_that_of_all_references(shards: Path, references: Path, tmp_path: Path) -> None:
    succeed(flags(mode="single", task="noise", shards=shards, run="run"), tmp_path)
    assert load_trace(tmp_path / "run/references/noise") == load_trace(references / "noise")
    require_same_run(tmp_path / "run/references/noise", references / "noise")


def test_without_a_mode_the_missing_references_are_trained_first(
    shards: Path, references: Path, whole_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(references, tmp_path / "refs", ignore=shutil.ignore_patterns(".log-*"))
    shutil.rmtree(tmp_path / "refs/noise")
    outcome = succeed(flags(shards=shards, references="refs", run="run"), tmp_path)
    assert "to train: 2 networks x 15 steps x 4 samples" in outcome.stdout
    assert outcome.stdout.index("reference noise step 10") < outcome.stdout.index("shared step 0")
    assert "reference mild" not in outcome.stdout
    assert (tmp_path / "refs/noise/trace.json").read_bytes() == (references / "noise/trace.json").read_bytes()
    require_same_run(tmp_path / "run", whole_run)


def test_by_default_references_belong_to_the_run(shards: Path, tmp_path: Path) -> None:
    outcome = succeed(flags(shards=shards, run="run", iterations=5, tasks=["noise", "mild"]), tmp_path)
    assert "to train: 3 networks x 5 steps" in outcome.stdout
    assert sorted(p.name for p in (tmp_path / "run/references").iterdir()) == ["mild", "noise"]
    assert intervals(tmp_path / "run")[0]["quotas"] == [10, 10]


def test_a_uniform_run_needs_no_references(shards: Path, tmp_path: Path) -> None:
    succeed(flags(shards=shards, run="run", policy="uniform"), tmp_path)
    assert not (tmp_path / "run/references").exists()
    for record in intervals(tmp_path / "run")[:-1]:
        assert record["p"] == [1 / 3] * 3
        assert record["quotas"] == record["delivered"] == [7, 7, 6]
        assert "estimate" not in record


def test_a_finished_run_run_again_does_nothing(shards: Path, references: Path, whole_run: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in whole_run.rglob("*") if p.is_file() and ".log-" not in p.name}

    before = contents()
    outcome = succeed(flags(shards=shards, references=references, run=whole_run), whole_run)
    assert f"{whole_run} is finished: 15 steps" in outcome.stdout
    assert "to train" not in outcome.stdout
    assert contents() == before


@pytest.mark.parametrize("file", ["network.pth", "ema.safetensors", "."])
def test_all_networks_start_from_the_init_file(shards: Path, whole_run: Path, tmp_path: Path, file: str) -> None:
    init = latest_checkpoint(whole_run) / file
    succeed(flags(shards=shards, run="run", policy="uniform", iterations=5, init=init), tmp_path)
    assert intervals(tmp_path / "run")[0]["shared_db"] == intervals(whole_run)[-1]["shared_db"]


def test_a_lengthened_run_goes_on_as_if_it_had_been_that_long(
    shards: Path, references: Path, whole_run: Path, tmp_path: Path
) -> None:
    succeed(flags(shards=shards, references=references, run="run", iterations=5), tmp_path)
    assert len(intervals(tmp_path / "run")) == 2
    outcome = succeed(flags(shards=shards, references=references, run="run", iterations=15), tmp_path)
    assert "shared step 0" not in outcome.stdout
    require_same_run(tmp_path / "run", whole_run)


def test_the_saved_config_names_every_setting(whole_run: Path, shards: Path) -> None:
    saved = yaml.safe_load((whole_run / "config.yaml").read_text())
    assert saved["shards"] == str(shards)
    assert saved["network"] == {"name": "msrresnet", "options": {"num_feat": 4, "num_block": 1}}
    assert (saved["iterations"], saved["ema"], saved["seed"]) == (15, 0.5, 0)


def test_weights_for_other_tools_are_those_of_the_run(whole_run: Path) -> None:
    content = torch.load(latest_checkpoint(whole_run) / "network.pth", weights_only=True)
    assert [weights_digest(content["params"]), weights_digest(content["params_ema"])] == final_weights(whole_run)[:2]


def test_accelerate_launch_with_a_config_file_gives_the_same_run(
    shards: Path, references: Path, whole_run: Path, tmp_path: Path
) -> None:
    values = {key: value for key, value in TINY.items() if "." not in key}
    network = {"name": "msrresnet", "options": {"num_feat": 4, "num_block": 1}}
    paths = {"shards": str(shards), "references": str(references), "run": "run"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**values, **paths, "network": network}))
    one_core = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
    outcome = subprocess.run(
        [*one_core, sys.executable, "-m", "accelerate.commands.launch", str(SCRIPT), "--config", "tiny.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    require_same_run(tmp_path / "run", whole_run)  # one core, one thread, as in all runs here: equal bits


def test_a_log_line_is_plain_json_without_special_values(whole_run: Path) -> None:
    for name in ("metrics.jsonl", "intervals.jsonl"):
        for line in (whole_run / name).read_text().splitlines():
            json.loads(line, parse_constant=pytest.fail)
    assert JsonLines(whole_run / "metrics.jsonl").read()[0]["data_wait"] < 1
