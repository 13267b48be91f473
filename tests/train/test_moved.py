"""What counts by its content may lie anywhere; references of other samples are refused by name."""

import json
import shutil
from pathlib import Path

import pytest

from tests.train.command import flags, run, succeed
from tests.train.records import require_same_run
from train.record.state import latest_checkpoint


@pytest.fixture
def begun(shards: Path, checkpoint: Path, tmp_path: Path) -> Path:
    """A run of one interval from a weights file, and all that it was begun with, in one folder."""
    shutil.copytree(shards, tmp_path / "shards")
    shutil.copy(checkpoint, tmp_path / "net.pth")
    succeed(flags(policy="uniform", init="net.pth", iterations=5, run="run"), tmp_path)
    shutil.copytree(tmp_path / "run", tmp_path / "longer")
    succeed(flags(policy="uniform", init="net.pth", iterations=10, run="longer"), tmp_path)
    return tmp_path


def test_a_run_goes_on_when_its_files_have_moved_and_its_first_weights_are_gone(begun: Path) -> None:
    (begun / "shards").rename(begun / "moved")
    (begun / "link").symlink_to("moved")
    (begun / "net.pth").unlink()
    succeed(flags(policy="uniform", init="net.pth", iterations=10, run="run", shards="link/"), begun)
    require_same_run(begun / "run", begun / "longer")


def test_other_first_weights_are_refused_and_missing_ones_that_are_needed(begun: Path, whole_run: Path) -> None:
    (begun / "net.pth").unlink()
    fresh = run(flags(policy="uniform", init="net.pth", iterations=10, run="another"), begun)
    assert fresh.code == 2
    assert "no weights file net.pth" in fresh.stderr
    resumed = run(flags(mode="references", init="net.pth", iterations=10, references="run/references"), begun)
    assert resumed.code == 2
    assert "no weights file net.pth: put one there" in resumed.stderr
    other = run(flags(policy="uniform", init=whole_run, iterations=10, run="run"), begun)
    assert other.code == 2
    assert "run was begun with other content of --init (sha256 " in other.stderr


def test_references_are_found_in_a_run_folder_and_a_wrong_path_trains_nothing(
    shards: Path, references: Path, whole_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(references, tmp_path / "other/references", ignore=shutil.ignore_patterns(".log-*"))
    succeed(flags(shards=shards, references="other", run="run"), tmp_path)
    require_same_run(tmp_path / "run", whole_run)
    (tmp_path / "notes.txt").write_text("no pack")
    for wrong, words in {
        "nowhere": "no references in nowhere: name a run",
        "notes.txt": "is not a reference pack",
    }.items():
        outcome = run(flags(shards=shards, references=wrong, run="another"), tmp_path)
        assert outcome.code in (1, 2)
        assert words in outcome.errors[0]
    assert not (tmp_path / "another").exists()


def test_a_log_that_lost_an_interval_is_noticed(
    shards: Path, whole_run: Path, references: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole_run, tmp_path / "run", ignore=shutil.ignore_patterns(".log-*"))
    (tmp_path / "run/latest").write_text("step-00000010")
    lines = (tmp_path / "run/intervals.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run/intervals.jsonl").write_text(lines[1])
    outcome = succeed(flags(shards=shards, references=references, run="run"), tmp_path)
    assert "run/intervals.jsonl has no lines of the intervals that began at step 0; the run goes on" in outcome.stdout


def test_a_task_without_shards_is_announced(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards", ignore=shutil.ignore_patterns("noise"))
    outcome = succeed([*flags(policy="uniform", run="run"), "--dry-run"], tmp_path)
    assert "task noise has a validation set and no shards: it is left out; name it in --tasks" in outcome.stdout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "fly"}, "was trained with source = 'shards', this run has 'fly'"),
        ({"max_repeats": 1.5}, "was trained with source = 'shards', this run has 'auto'"),
    ],
)
def test_references_of_other_samples_are_refused_by_name(
    changes: dict, words: str, shards: Path, references: Path, tmp_path: Path
) -> None:
    refused = run(flags(shards=shards, references=references, run="run", **changes), tmp_path)
    assert refused.code == 1
    assert words in refused.stderr


def test_what_an_old_trace_does_not_note_its_run_folder_tells(shards: Path, tmp_path: Path) -> None:
    fly = {"source": "fly", "mode": "single", "task": "noise", "iterations": 5, "references": "r", "shards": shards}
    succeed(flags(**fly), tmp_path)
    path = tmp_path / "r/noise/trace.json"
    trace = json.loads(path.read_bytes())
    assert trace["protocol"].pop("source") == "fly"
    path.write_text(json.dumps(trace))
    refused = run(flags(**{**fly, "source": "shards", "iterations": 10}), tmp_path)
    assert refused.code == 1
    assert "was trained with source = 'fly', this run has 'shards'" in refused.stderr
    succeed(flags(**{**fly, "iterations": 10}), tmp_path)
    folder = latest_checkpoint(tmp_path / "r/noise")
    assert folder
    assert folder.name == "step-00000010"
