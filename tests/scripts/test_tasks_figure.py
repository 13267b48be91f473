"""The figure of the tasks: typical rows, one crop in every task."""

from pathlib import Path

from gen.render import main as render
from scripts.tasks_figure import main, typical
from shared.images import decode


def test_typical_rows_are_in_the_middle_of_every_ranking_and_of_different_photographs():
    """Ranks of rows 0 .. 4 in the two tasks: 0 1 2 3 4 and 4 3 2 1 0; row 2 is in the middle of both."""
    mild, severe = [30.0, 31.0, 32.0, 33.0, 34.0], [29.0, 28.0, 27.0, 26.0, 25.0]
    assert typical([mild, severe], ["a", "b", "a", "b", "c"]) == [2, 1, 4]


def test_a_row_that_is_a_smear_in_one_task_is_not_typical():
    """Row 2 has the median of the first task and the lowest value of the second."""
    assert typical([[30, 31, 32, 33, 34], [30, 31, 10, 33, 34]], list("abcde"))[0] == 1


def test_every_line_has_the_hr_crop_and_each_task(tmp_path: Path):
    sizes = ["--patch", "96", "--count", "4", "--rows-per-shard", "4", "--workers", "1"]
    render(["--subspace", "all", "--split", "val", "--out", str(tmp_path / "shards"), *sizes])
    assert main([str(tmp_path / "shards"), "--out", str(tmp_path / "tasks.png"), "--rows", "1"]) == 0
    sheet = decode((tmp_path / "tasks.png").read_bytes(), "tasks.png")
    assert sheet.shape[1] > 5 * 96
