"""Datasets that grow: rows are taken up between two intervals, exactly, alike on all ranks, and remembered."""

import json
import shutil
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from gen.render import main as render
from shared.errors import RunError
from shared.mixing.loader import MixingLoader
from shared.shards.reader import Dataset
from tests.shared.mixing.delivery import Sample, joined, make_loader, on_ranks, steps_of, through_json
from tests.train.conftest import PATCH, ROWS_PER_SHARD, pretend_other_rows


def grow(shards: Path, task: str, count: int) -> None:
    words = ["--patch", str(PATCH), "--rows-per-shard", str(ROWS_PER_SHARD), "--workers", "1"]
    render(["--subspace", task, "--out", str(shards), "--count", str(count), *words])


@pytest.fixture(scope="module")
def grown(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datasets after `noise` has grown from 28 to 40 rows."""
    folder = tmp_path_factory.mktemp("grown") / "shards"
    shutil.copytree(shards, folder)
    grow(folder, "noise", 40)
    return folder


def replace_by(grown: Path, copy: Path) -> None:
    """Let the datasets grow now."""
    shutil.copytree(grown, copy, dirs_exist_ok=True)
    shutil.rmtree(copy / "noise")
    shutil.copytree(grown / "noise", copy / "noise")


def rows_of(steps: list[list[Sample]]) -> list[int]:
    return [sample.row for sample in chain(*steps)]


def test_a_short_shard_that_is_superseded_while_it_is_read_is_found_under_its_new_name(copy: Path, grown: Path) -> None:
    before = Dataset(copy / "noise")
    expected = [before[row].row for row in range(28)]
    opened = Dataset(copy / "noise")
    replace_by(grown, copy)
    assert [opened[row].row for row in range(28)] == expected


def test_rows_are_taken_up_only_in_refresh(copy: Path, grown: Path) -> None:
    with make_loader(copy) as loader:
        assert loader.refresh() == {}
        batches = loader.interval({"noise": 1}, 5)
        replace_by(grown, copy)
        assert max(rows_of(steps_of(batches))) < 28
        assert max(rows_of(steps_of(loader.interval({"noise": 1}, 1)))) < 28
        assert loader.record
        assert loader.record.rows == [28, 28, 28]
        assert loader.refresh() == {"noise": 12}
        assert loader.refresh() == {}
        rows = rows_of(steps_of(loader.interval({"noise": 1}, 5)))
        assert sorted(rows[4:16]) == list(range(28, 40))  # the epoch ends after four more, then come the new rows
        assert loader.record.rows == [28, 40, 28]
        versions = loader.state_dict()["generations"]["noise"]
        assert [(version["first"], version["rows"]) for version in versions] == [(0, 28), (24, 40)]


def test_within_an_interval_refresh_is_refused(shards: Path) -> None:
    with make_loader(shards) as loader:
        next(loader.interval([1, 1, 1], 3))
        with pytest.raises(RunError, match="rows are taken up between two intervals: finish this one before refresh"):
            loader.refresh()


def test_any_other_change_is_refused(copy: Path) -> None:
    with make_loader(copy) as loader:
        pretend_other_rows(copy / "mild")
        with pytest.raises(RunError, match="dataset mild/train has changed since"):
            loader.refresh()


def test_a_manifest_that_cannot_be_read_now_is_looked_for_the_next_time(copy: Path, grown: Path) -> None:
    with make_loader(copy) as loader:
        replace_by(grown, copy)
        manifest = copy / "noise" / "manifest.json"
        text = manifest.read_text()
        manifest.write_text(text[:100])
        assert loader.refresh() == {}
        manifest.write_text(text)
        assert loader.refresh() == {"noise": 12}


def deliver(copy: Path, grown: Path, **options: Any) -> tuple[list[list[Sample]], list[dict[str, Any]]]:
    """Three intervals; the dataset grows within the first. Samples, and the state before each batch."""
    steps, states = [], []
    with make_loader(copy, **options) as loader:
        for number in range(3):
            assert loader.refresh() == ({"noise": 12} if number == 1 else {})
            for batch in loader.interval({"noise": 3, "mild": 1}, 6):
                steps += steps_of([batch])
                if options.get("rank", 0) == 0 and number == 0 and len(steps) == 3:
                    replace_by(grown, copy)
                states.append(through_json(loader.state_dict()))
    return steps, states


def test_resuming_at_every_step_is_exact_while_datasets_grow(copy: Path, grown: Path) -> None:
    steps, states = deliver(copy, grown)
    assert max(rows_of(steps[:6])) < 28 <= max(rows_of(steps[6:]))
    with make_loader(copy, workers=0) as loader:  # which finds 40 rows at once
        for done, state in enumerate(states[:-1], start=1):
            loader.load_state_dict(state)
            rest = steps_of(loader.interval()) if loader.step else []
            while loader.interval_number < 3:
                loader.refresh()
                rest += steps_of(loader.interval({"noise": 3, "mild": 1}, 6))
            assert rest == steps[done:]


def test_all_ranks_take_up_the_same_rows(copy: Path, grown: Path, tmp_path: Path) -> None:
    shutil.copytree(copy, tmp_path / "other")
    expected, _ = deliver(tmp_path / "other", grown)
    ranks = on_ranks(2, lambda options: deliver(copy, grown, **options))
    assert joined(steps for steps, _ in ranks) == expected
    assert ranks[0][1][-1] == ranks[1][1][-1]


@pytest.mark.parametrize("earlier", [0, 1])
def test_ranks_whose_loaders_were_made_before_and_after_a_dataset_grew_agree_by_refresh(
    earlier: int, copy: Path, grown: Path
) -> None:
    has_grown = Event()

    def make(options: dict[str, Any]) -> MixingLoader:
        if options["rank"] == earlier:
            loader = make_loader(copy, **options)
            replace_by(grown, copy)
            has_grown.set()
            return loader
        has_grown.wait(60)
        return make_loader(copy, **options)

    def work(options: dict[str, Any]) -> tuple[list[list[Sample]], list[int]]:
        with make(options) as loader:
            loader.refresh()
            steps = steps_of(loader.interval({"noise": 1}, 20))
            assert loader.record
            return steps, loader.record.rows

    (first, rows), (second, others) = on_ranks(2, work)
    assert rows == others == [28, 40, 28]
    assert {*range(28)} < {*rows_of([*first, *second])} == {*range(40)}


def test_without_refresh_such_ranks_are_refused(copy: Path, grown: Path) -> None:
    has_grown = Event()

    def work(options: dict[str, Any]) -> str:
        if options["rank"] == 1:
            has_grown.wait(60)
        loader = make_loader(copy, **options)
        if options["rank"] == 0:
            replace_by(grown, copy)
            has_grown.set()
        try:
            loader.interval({"noise": 1}, 1)
        except RunError as error:
            return str(error)
        return ""

    first, error = on_ranks(2, work)
    assert first == ""
    assert "rank 1 differs from rank 0 in generations" in error
    assert "call refresh() when datasets may have grown" in error


def test_a_state_with_more_rows_than_there_are_now_is_refused(copy: Path, grown: Path) -> None:
    with make_loader(grown) as loader:
        state = json.loads(json.dumps(loader.state_dict()))
    with make_loader(copy) as loader, pytest.raises(RunError, match="dataset noise/train has changed since the state"):
        loader.load_state_dict(state)


def test_an_older_state_in_the_same_loader_lets_rows_be_taken_up_again(copy: Path, grown: Path) -> None:
    with make_loader(copy) as loader:
        before = loader.state_dict()
        replace_by(grown, copy)
        assert loader.refresh() == {"noise": 12}
        loader.load_state_dict(before)
        assert loader.refresh() == {"noise": 12}
