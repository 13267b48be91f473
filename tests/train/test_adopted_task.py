"""A run on rendered tasks and pairs of a camera beside each other, validated on images of their own."""

from pathlib import Path

import pytest

from shared.rebalance.estimator import describe_estimate, recompute
from tests.train.command import flags, run, succeed
from tests.train.records import intervals, require_same_run
from tests.train.test_mistakes import error_of
from train.record.references import load_pack
from train.report.__main__ import main as report
from train.report.runs import read_run
from train.report.tables import ending

TASKS = ["mild", "noise", "severe", "camera"]
SIZES = [8, 8, 8, 6]


@pytest.fixture(scope="module")
def pack(with_camera: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """References of all four tasks."""
    folder = tmp_path_factory.mktemp("references")
    succeed(flags(mode="references", shards=with_camera, references=folder), folder)
    return folder / "references.json"


@pytest.fixture(scope="module")
def whole(with_camera: Path, pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    succeed(flags(shards=with_camera, references=pack, run="run"), folder)
    return folder / "run"


def test_each_reference_is_measured_on_every_task_s_own_images(pack: Path) -> None:
    for task, trace in load_pack(pack).items():
        assert len(trace.psnr_db["15"]) == len(trace.photographs) == SIZES[TASKS.index(task)]
        assert {other: len(found.psnr_db["15"]) for other, found in trace.others.items()} == {
            other: size for other, size in zip(TASKS, SIZES, strict=True) if other != task
        }


def test_gaps_and_weights_follow_from_tables_of_different_sizes(whole: Path) -> None:
    records = intervals(whole)
    for record in records:
        assert record["tasks"] == TASKS
        assert [len(row) for row in record["shared_db"]] == [len(row) for row in record["reference_db"]] == SIZES
        assert [len({*ids}) for ids in record["photographs"]] == [2, 2, 2, 3]
        assert record["photographs"][0] == record["photographs"][1]
        assert describe_estimate(recompute(record))["estimate"] == record["estimate"]
    assert all(record["delivered"] == record["quotas"] for record in records[:-1])
    assert records[1]["p"] == records[1]["estimate"]["weights"] != [0.25] * 4


def test_a_run_that_is_interrupted_is_the_same_run(with_camera: Path, pack: Path, whole: Path, tmp_path: Path) -> None:
    argv = flags(shards=with_camera, references=pack, run="run")
    run([*argv, "--workers", "0"], tmp_path, signal_after=(15, 7))
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", whole)


def test_the_report_marks_the_task(whole: Path) -> None:
    found = read_run(whole, "run")
    names = [line[0] for line in ending(found).lines]
    assert names[:4] == ["mild", "noise", "severe", "camera (other validation images)"]
    assert set(found.bicubic_db) == {*TASKS}
    assert report([str(whole)]) == 0
    page = (whole / "report.html").read_text()
    assert "8 validation crops from 2 HR images per task (mild, noise, severe)" in page
    assert "6 validation crops from 3 HR images per task (camera)" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "fly", "hr": "photos"}, "source is 'fly': the pairs of task camera were made elsewhere"),
        ({"mode": "groups"}, "frozen plans are drawn from the plans of the tasks, and camera has none"),
    ],
)
def test_what_needs_plans_is_refused_before_anything_is_trained(
    with_camera: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    outcome = run(flags(shards=with_camera, run="run", **changes), tmp_path)
    assert message in error_of(outcome, 2)
    assert not (tmp_path / "run").exists()
