"""What `gen.status` says at each moment of a render, from the files alone."""

import json
import os
import threading
from pathlib import Path

import pytest

import gen.status
from gen.dataset import DatasetPlan
from gen.shards import render_shard
from gen.specs import failure
from gen.status import DatasetProgress
from shared.errors import RunError, UsageError
from shared.shards.manifest import MANIFEST, load_manifest


def status(capsys, *options) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = gen.status.main([str(option) for option in options])
    lines = capsys.readouterr().out.splitlines()
    if "--json" not in options:
        assert lines.pop() == (
            f"next: realsr verify {options[0]}" if code == 0 else "next: run the render command again"
        )
    return code, lines


def specs_of(dataset):
    return DatasetPlan.load(dataset).specs(dataset)


def test_a_complete_dataset(dataset, capsys):
    code, lines = status(capsys, dataset)
    assert code == 0
    assert len(lines) == 1
    assert lines[0].startswith(f"{dataset}: 3 of 3 shards done; 0 failed, 0 pending; 10 of 10 rows; ")
    assert lines[0].endswith(" pairs/s a worker")


def test_a_folder_of_datasets_has_a_line_for_each(dataset, render, capsys):
    render(dataset.parent, "--split", "val")
    code, lines = status(capsys, dataset.parent)
    assert code == 0
    assert [line.partition(":")[0] for line in lines] == [str(dataset), f"{dataset}-val"]


def test_a_missing_shard_is_pending(dataset, capsys):
    specs_of(dataset)[1].tar.unlink()
    code, (line,) = status(capsys, dataset)
    assert code == 1
    assert "2 of 3 shards done; 0 failed, 1 pending; 6 of 10 rows" in line


def test_a_failed_shard_with_its_stored_reason(dataset, capsys):
    spec = specs_of(dataset)[1]
    spec.tar.unlink()
    failure(spec, "the disk\nis on fire")
    assert json.loads(spec.failed_record.read_bytes()) == {"attempts": 1, "reason": "the disk\nis on fire"}
    failure(spec, "the disk is wet")
    code, lines = status(capsys, dataset)
    assert code == 1
    assert "2 of 3 shards done; 1 failed, 0 pending" in lines[0]
    assert lines[1:] == [f"  failed: {spec.name} (2 attempts): the disk is wet"]


def test_many_reasons_are_counted(dataset, capsys, monkeypatch):
    monkeypatch.setattr(gen.status, "SHOWN", 1)
    for spec in specs_of(dataset):
        spec.done_record.unlink()
        failure(spec, "no luck")
    lines = status(capsys, dataset)[1]
    assert [line.split()[0] for line in lines[1:]] == ["failed:", "..."]
    assert lines[-1] == "  ... and 2 more failed"


def test_success_removes_the_reason(dataset, render, capsys):
    spec = specs_of(dataset)[1]
    spec.tar.unlink()
    failure(spec, "no luck")
    render(dataset.parent)
    assert not spec.failed_record.exists()
    assert status(capsys, dataset)[0] == 0


def test_the_plan_is_there_before_the_first_shard(render, tmp_path, monkeypatch, capsys):
    seen = []

    def look(spec, on_row):
        seen.append((len(list(Path(spec.folder).glob("*.tar"))), status(capsys, tmp_path)))
        return render_shard(spec, on_row)

    monkeypatch.setattr("gen.shards.render_shard", look)
    render(tmp_path)
    assert [tars for tars, _ in seen] == [0, 1, 2]
    for done, (_, (code, (line,))) in enumerate(seen):
        assert code == 1
        assert f"{done} of 3 shards done; 0 failed, {3 - done} pending; {4 * done} of 10 rows" in line
        assert (" left at this rate" in line) == (done > 0)
    assert status(capsys, tmp_path)[0] == 0


def test_rendered_but_not_committed_is_not_complete(dataset, capsys):
    (dataset / MANIFEST).unlink()
    code, (line,) = status(capsys, dataset)
    assert code == 1
    assert "3 of 3 shards done" in line
    assert line.endswith("to be committed: run the same render command again")


def test_a_dataset_without_a_plan_is_held_against_its_manifest(dataset, capsys):
    (dataset / ".done" / "plan.json").unlink()
    assert status(capsys, dataset)[0] == 0


def test_a_copy_without_the_bookkeeping_is_complete(dataset, capsys):
    for path in (dataset / ".done").iterdir():
        path.unlink()
    (dataset / ".done").rmdir()
    code, (line,) = status(capsys, dataset)
    assert code == 0
    assert "3 of 3 shards done; 0 failed, 0 pending; 10 of 10 rows" in line
    (dataset / load_manifest(dataset).shardlist[0].url).unlink()
    assert status(capsys, dataset)[0] == 1


def test_rates_are_rows_over_worker_seconds_and_over_the_clock(dataset):
    """Two workers: shards of 2, 2 and 1 seconds, the first two side by side; begun 100 s after the command."""
    command = 1_000_000.0
    for spec, end, seconds in zip(specs_of(dataset), (102.0, 102.0, 103.0), (2.0, 2.0, 1.0), strict=True):
        values = json.loads(spec.done_record.read_bytes())
        spec.done_record.write_text(json.dumps({**values, "seconds": seconds}))
        os.utime(spec.done_record, (0, command + end))
    os.utime(dataset / ".done" / "plan.json", (0, command))
    progress = DatasetProgress.of(dataset)
    assert progress.worker_rate() == pytest.approx(10 / 5)
    assert progress.rate() == pytest.approx(10 / 3)
    os.utime(dataset / ".done" / "plan.json", (0, command + 102.5))  # resumed: only the last shard is of this run
    assert DatasetProgress.of(dataset).rate() == pytest.approx(2 / 1)


def test_watch_ends_when_all_is_done(dataset, render, capsys, monkeypatch):
    spec = specs_of(dataset)[1]
    spec.tar.unlink()
    (dataset / MANIFEST).unlink()
    looks = iter([lambda: None, lambda: render(dataset.parent)])
    monkeypatch.setattr("gen.status.time.sleep", lambda seconds: next(looks)())
    code, lines = status(capsys, dataset, "--watch", "--interval", "7")
    assert code == 0
    counts = [line.partition(": ")[2].partition(" shards")[0] for line in lines if " pending; " in line]
    assert counts == ["2 of 3", "2 of 3", "3 of 3"]
    assert next(looks, None) is None


def test_watch_does_not_wait_for_a_commit_that_nobody_makes(dataset, capsys, monkeypatch):
    (dataset / MANIFEST).unlink()
    monkeypatch.setattr("gen.status.time.sleep", lambda seconds: None)
    code, lines = status(capsys, dataset, "--watch")
    assert code == 1
    assert len(lines) == 2


def test_interrupting_a_watch_says_how_it_stands(dataset, capsys, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    specs_of(dataset)[0].tar.unlink()
    monkeypatch.setattr("gen.status.time.sleep", interrupt)
    assert status(capsys, dataset, "--watch")[0] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["/no/such/folder"], "no such folder"),
        (["tests"], "tests holds no dataset that was begun"),
        ([".", "--interval", "0"], "interval is 0.0: it must be more than 0 seconds"),
    ],
)
def test_refuses_what_cannot_be_meant(options, said):
    with pytest.raises(UsageError, match=said):
        gen.status.main(options)


def test_a_damaged_plan_is_named(dataset):
    (dataset / ".done" / "plan.json").write_text("{}")
    with pytest.raises(RunError, match=r"plan\.json"):
        gen.status.main([str(dataset)])


def test_looking_while_a_render_is_at_work_disturbs_nothing(render, contents, rendered, tmp_path):
    """A thread looks all the time; it meets records at every stage of their making."""
    over, seen = threading.Event(), []

    def look():
        while not over.is_set():
            if progress := DatasetProgress.of(tmp_path / "noise"):
                seen.append(progress.rows_done)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        folder = render(tmp_path)
    finally:
        over.set()
        watcher.join()
    assert seen == sorted(seen)
    assert contents(folder) == contents(rendered)
