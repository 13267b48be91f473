"""A render that is killed anywhere leaves only whole shards, and the same command finishes it to the same bytes."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from gen.verify import check_dataset
from shared.seeds import Draws
from tests.gen.watching import DEADLINE_SECONDS, group_is_alive, poll

NUM_ROWS, NUM_KILLS = 96, 10


@pytest.fixture(scope="module")
def undisturbed(render, tmp_path_factory) -> tuple[Path, dict]:
    """A dataset of six rows to start from, and what it grows to without any accident."""
    start = tmp_path_factory.mktemp("start")
    render(start, "--count", "6")
    grown = shutil.copytree(start, tmp_path_factory.mktemp("grown") / "out")
    return start, render(grown, "--count", str(NUM_ROWS))


def num_finished(folder: Path) -> int:
    return len(list((folder / ".done").glob("noise-*.json")))


def assert_all_that_is_listed_is_whole(folder: Path) -> None:
    """`SHA256SUMS` is the one file that may lag behind the manifest."""
    report = check_dataset(folder)
    assert [problem for problem in report.problems if not problem.startswith("SHA256SUMS")] == []
    assert len(report.good) == report.rows in (6, NUM_ROWS)


def kill_points():
    """When to strike: after so many finished shards, pseudo-random, one in each tenth of the run."""
    shards = NUM_ROWS // 4
    for number in range(NUM_KILLS):
        point = 2 + (number + Draws(0, "kill", number).unit()) * (shards - 2) / NUM_KILLS
        yield pytest.param(int(point), number % 2 == 1, id=f"{int(point)}-shards-{'parent' if number % 2 else 'all'}")


@pytest.mark.parametrize(("finished", "parent_only"), [*kill_points()])
def test_a_killed_render_finishes_to_the_same_bytes(
    finished, parent_only, undisturbed, start, render, contents, tmp_path
):
    origin, expected = undisturbed
    folder = shutil.copytree(origin, tmp_path / "out") / "noise"
    process = start(tmp_path / "out", "--count", str(NUM_ROWS), "--workers", "2")
    poll(lambda: num_finished(folder) >= finished or process.poll() is not None)
    (os.kill if parent_only else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()
    assert_all_that_is_listed_is_whole(folder)
    render(tmp_path / "out", "--count", str(NUM_ROWS))  # orphaned workers may still be at work
    poll(lambda: not group_is_alive(process.pid))
    assert contents(folder) == contents(expected)
    render(tmp_path / "out", "--count", str(NUM_ROWS))
    assert contents(folder) == contents(expected)
    assert list(folder.rglob(".tmp-*")) == []


@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        pytest.param(signal.SIGTERM, False, id="SIGTERM-command"),
        pytest.param(signal.SIGINT, True, id="SIGINT-all"),
        pytest.param(signal.SIGTERM, True, id="SIGTERM-all", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, False, id="SIGINT-command", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_render_cleans_up_and_says_how_to_go_on(
    number, to_all, undisturbed, start, render, contents, tmp_path
):
    """A scheduler sends SIGTERM to the command, a terminal SIGINT to its workers too."""
    origin, expected = undisturbed
    folder = shutil.copytree(origin, tmp_path / "out") / "noise"
    process = start(tmp_path / "out", "--count", str(NUM_ROWS), "--workers", "2", stderr=subprocess.PIPE)
    poll(lambda: num_finished(folder) >= 3 or process.poll() is not None)
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=DEADLINE_SECONDS)
    poll(lambda: not group_is_alive(process.pid))
    if number == signal.SIGTERM and to_all:  # the workers die at once, so their shards may fail before it is noticed
        assert process.returncode in (1, 130)
    else:
        assert process.returncode == 130
        assert said.splitlines()[-1] == b"interrupted; run the same command again to go on"
    assert b"Traceback" not in said
    assert list(folder.rglob(".tmp-*")) == []
    assert_all_that_is_listed_is_whole(folder)
    render(tmp_path / "out", "--count", str(NUM_ROWS))
    assert contents(folder) == contents(expected)


def test_leftovers_of_a_killed_render_are_removed_by_the_next(render, dataset):
    for leftover in (".tmp-1-noise.tar", ".done/.tmp-1-noise.json"):
        (dataset / leftover).write_text("half")
    render(dataset.parent)
    assert list(dataset.rglob(".tmp-*")) == []


class Crash(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("strike", range(1, 24))
def test_a_crash_at_any_rename_leaves_a_true_manifest(strike, undisturbed, render, contents, tmp_path, monkeypatch):
    """18 rows: the plan, three renames of each of 4 new shards, 4 files around them, 3 removals, the card above."""
    count = 18
    origin, _ = undisturbed
    folder = shutil.copytree(origin, tmp_path / "out") / "noise"
    steps = iter(range(1, 1000))

    def counted(function):
        def call(*arguments, **options):
            if next(steps) == strike:
                raise Crash
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        try:
            render(tmp_path / "out", "--count", str(count))
        except Crash:
            crashed = True
        else:
            crashed = False
    assert crashed == (strike <= 21)
    report = check_dataset(folder)
    assert [problem for problem in report.problems if not problem.startswith("SHA256SUMS")] == []
    assert len(report.good) == report.rows in (6, count)
    render(tmp_path / "out", "--count", str(count))
    fresh = contents(render(shutil.copytree(origin, tmp_path / "fresh"), "--count", str(count)))
    assert contents(folder) == fresh
    assert list(folder.rglob(".tmp-*")) == []


@pytest.mark.slow
def test_a_hundred_kills_at_random_moments(undisturbed, start, render, contents, tmp_path):
    """Of the whole group or the command alone, by SIGKILL or SIGTERM, at any moment of 4 seconds from its start."""
    origin, expected = undisturbed
    folder = shutil.copytree(origin, tmp_path / "out") / "noise"
    finished = 0
    for number in range(100):
        draws = Draws(0, "moment", number)
        process = start(tmp_path / "out", "--count", str(NUM_ROWS), "--workers", "2")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draws.uniform(0, 4))
        kill = draws.choice((os.kill, os.killpg))
        with contextlib.suppress(ProcessLookupError):
            kill(process.pid, draws.choice((signal.SIGKILL, signal.SIGTERM)))
        code = process.wait()
        poll(lambda: not group_is_alive(process.pid))  # noqa: B023 -- called at once
        assert_all_that_is_listed_is_whole(folder)
        if code == 0:
            finished += 1
            assert contents(folder) == contents(expected)
            shutil.rmtree(folder)
            shutil.copytree(origin / "noise", folder)
    assert 0 <= finished < 90
    render(tmp_path / "out", "--count", str(NUM_ROWS))
    assert contents(folder) == contents(expected)
    assert list(folder.rglob(".tmp-*")) == []
