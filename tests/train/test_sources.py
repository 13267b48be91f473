"""Which source serves a task, and samples that are made on the fly: by loader workers or by the device."""

import hashlib
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.degradation import cpu, gpu
from shared.degradation.partition import get_subspace
from shared.degradation.plan import sample_plan
from shared.degradation.presets import get_space
from shared.errors import RunError
from shared.images import encode_png
from shared.mixing.degrade import SMALL_BUDGET_BYTES, Degrader
from shared.mixing.plans import Box, Frozen
from shared.mixing.pool import Pool, find_pool
from shared.mixing.sources import Batch, TicketDataset
from shared.mixing.tasks import Task, find_tasks
from shared.mixing.tickets import Ticket
from shared.photos.find import find_hr_images
from shared.shards.reader import Dataset
from tests.train.command import flags, run, succeed
from tests.train.conftest import TASKS
from tests.train.records import intervals, metrics, require_same_run
from train.feed import Feed, choose_source
from train.settings import TrainSettings


@pytest.mark.parametrize(
    ("wanted", "rows", "read", "quota", "max_repeats", "accelerated", "expected"),
    [
        ("auto", 100, 0, 500, None, True, "shards"),
        ("auto", 0, 0, 5, None, True, "gpu"),
        ("auto", 0, 0, 5, None, False, "fly"),
        ("auto", 100, 150, 50, 2.0, True, "shards"),  # exactly twice
        ("auto", 100, 150, 51, 2.0, True, "gpu"),
        ("auto", 100, 150, 51, 2.0, False, "fly"),
        ("shards", 100, 900, 500, None, True, "shards"),
        ("gpu", 100, 0, 5, None, False, "gpu"),
        ("fly", 100, 0, 5, None, True, "fly"),
    ],
)
def test_the_choice_of_a_source(wanted, rows, read, quota, max_repeats, accelerated, expected) -> None:
    assert choose_source(wanted, rows, read, quota, max_repeats, accelerated) == expected


@pytest.fixture(scope="module")
def val_only(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The val datasets alone."""
    folder = tmp_path_factory.mktemp("val-only") / "shards"
    shutil.copytree(shards, folder, ignore=shutil.ignore_patterns("mild", "noise", "severe"))
    return folder


@pytest.fixture(scope="module")
def pool(val_only: Path) -> Pool:
    return find_pool("photos", find_tasks(val_only, on_the_fly=True), seed=0)


@pytest.fixture(scope="module")
def virtual(val_only: Path) -> list[Task]:
    """Tasks without shards."""
    return find_tasks(val_only, on_the_fly=True)


def batch_of(tasks: list[Task], pool: Pool | None, tickets: list[Ticket], flip: bool = False) -> Batch:
    return TicketDataset(tasks, seed=0, flip=flip, pool=pool).batch(tickets)


def test_a_sample_on_the_fly_is_the_row_of_split_fly_with_the_number_of_its_ordinal(virtual, pool) -> None:
    batch = batch_of(virtual, pool, [Ticket(1, 7, "fly")])
    box = get_subspace(get_space("paper"), "2x2", "noise")
    plan = sample_plan(box, seed=0, split="fly", row=7, height=76, width=76)
    hr = pool.crop("noise", 7)
    assert np.array_equal(batch.hr[0].permute(1, 2, 0).numpy(), hr)
    assert np.array_equal(batch.lr[0].permute(1, 2, 0).numpy(), cpu.render(hr, plan))
    assert (batch.owner.item(), batch.row.item()) == (-1, -1)


def test_plans_on_the_fly_are_never_those_of_a_shard(tasks: list[Task]) -> None:
    stored = {Dataset(tasks[0].train).meta(row).plan for row in range(28)}
    drawn = {tasks[0].plans.draw(0, ordinal, 76, 4).to_json() for ordinal in range(28)}
    assert len(drawn) == 28
    assert not stored & drawn


def test_a_frozen_plan_has_the_same_numbers_and_fresh_noise() -> None:
    box = Box(get_subspace(get_space("paper"), "2x2", "noise"))
    frozen = Frozen("one", box.draw(0, 3, 256, 4), patch=256)
    first, again, second = (frozen.draw(0, ordinal, 256, 4) for ordinal in (0, 0, 1))
    assert first == again
    assert first.noise1.seed != second.noise1.seed != second.noise2.seed
    for plan in (first, second):
        assert (plan.blur1, plan.resize1, plan.jpeg1, plan.final) == (
            frozen.plan.blur1,
            frozen.plan.resize1,
            frozen.plan.jpeg1,
            frozen.plan.final,
        )
        assert plan.noise1.level == frozen.plan.noise1.level
    smaller = frozen.draw(0, 0, 128, 4).resize1
    assert (smaller.height, smaller.width) == (frozen.plan.resize1.height // 2, frozen.plan.resize1.width // 2)


def test_the_device_makes_the_lr_of_the_ticket_and_flips_afterwards(virtual, pool) -> None:
    tickets = [Ticket(task, ordinal, "gpu") for ordinal in range(4) for task in range(3)]
    lr, hr = Degrader(4).images(batch_of(virtual, pool, tickets, flip=True), torch.device("cpu"))
    by_workers = batch_of(virtual, pool, [t._replace(source="fly") for t in tickets], flip=True)
    assert torch.equal(hr, by_workers.hr)
    plain = batch_of(virtual, pool, tickets)
    plans = [virtual[ticket.task].plans.draw(0, ticket.ordinal, 76, 4) for ticket in tickets]
    made, flipped = gpu.render(plain.hr, plans), 0
    for i in range(12):
        is_flipped = not torch.equal(hr[i], plain.hr[i])
        flipped += is_flipped
        assert torch.equal(lr[i], made[i].flip(2) if is_flipped else made[i])
    assert 0 < flipped < 12  # of the keyed coins, not by chance


def test_a_batch_may_mix_all_sources(tasks: list[Task], pool: Pool) -> None:
    tickets = [Ticket(0, 5, "gpu"), Ticket(1, 5, "shards", 1, 9), Ticket(2, 5, "fly", 0, 3), Ticket(0, 6, "gpu", 0, 4)]
    batch = batch_of(tasks, pool, tickets)
    lr, hr = Degrader(4).images(batch, torch.device("cpu"))
    stored = Dataset(tasks[1].train)[9]
    assert np.array_equal(lr[1].permute(1, 2, 0).numpy(), stored.lr)
    assert np.array_equal(hr[2].permute(1, 2, 0).numpy(), Dataset(tasks[0].train)[3].hr)
    assert np.array_equal(hr[3].permute(1, 2, 0).numpy(), Dataset(tasks[0].train)[4].hr)
    assert [p.place for p in batch.pending] == [0, 3]
    assert batch.row.tolist() == [-1, 9, 3, 4]
    assert (lr.float().mean(dim=(1, 2, 3)) > 1).all()


# ---- memory


def test_a_small_budget_splits_the_batch_and_changes_nothing(virtual, pool) -> None:
    tickets = [Ticket(i % 3, i, "gpu") for i in range(6)]
    expected, _ = Degrader(4).images(batch_of(virtual, pool, tickets), torch.device("cpu"))
    mine, _ = Degrader(4, budget_bytes=1).images(batch_of(virtual, pool, tickets), torch.device("cpu"))
    assert torch.equal(mine, expected)


def test_out_of_memory_leads_to_a_smaller_split_once_with_a_warning(virtual, pool, monkeypatch) -> None:
    execute, budgets = gpu.execute, []

    def small_device(hr, steps, scale, budget_bytes):
        budgets.append(budget_bytes)
        if budget_bytes > 300 << 20:
            raise torch.OutOfMemoryError("simulated")
        return execute(hr, steps, scale, budget_bytes)

    monkeypatch.setattr(gpu, "execute", small_device)
    degrader, tickets = Degrader(4), [Ticket(0, i, "gpu") for i in range(3)]
    with pytest.warns(RuntimeWarning, match="degradation on cpu ran out of memory: its budget is"):
        lr, _ = degrader.images(batch_of(virtual, pool, tickets), torch.device("cpu"))
    monkeypatch.undo()
    assert torch.equal(lr, Degrader(4).images(batch_of(virtual, pool, tickets), torch.device("cpu"))[0])
    monkeypatch.setattr(gpu, "execute", small_device)
    degrader.images(batch_of(virtual, pool, tickets), torch.device("cpu"))  # no second warning: it stays small
    assert budgets == [gpu.BUDGET_BYTES, SMALL_BUDGET_BYTES, SMALL_BUDGET_BYTES]


def test_a_device_that_is_too_small_even_so_is_an_error(virtual, pool, monkeypatch) -> None:
    def no_device(*arguments):
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(gpu, "execute", no_device)
    degrader, batch = Degrader(4), batch_of(virtual, pool, [Ticket(0, 0, "gpu")])
    with (
        pytest.warns(RuntimeWarning, match="ran out of memory"),
        pytest.raises(torch.OutOfMemoryError, match="simulated"),
    ):
        degrader.images(batch, torch.device("cpu"))
    with pytest.raises(torch.OutOfMemoryError, match="simulated"):  # and no second warning
        degrader.images(batch, torch.device("cpu"))


# ---- the pool


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures of noise."""
    (tmp_path / "hr").mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (90 + number, 100, 3), dtype=np.uint8)
        (tmp_path / f"hr/{number:02d}.png").write_bytes(encode_png(pixels))
    return tmp_path / "hr"


def showing(task: Task, pictures: list[Path]) -> Task:
    """The task, with a val set said to show these."""
    listed = [{"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in pictures]
    return replace(task, val_manifest=replace(task.val_manifest, photographs=listed))


def test_no_picture_of_a_validation_set_is_in_the_pool(virtual, pictures: Path) -> None:
    files = sorted(pictures.iterdir())
    without = len(find_pool(str(pictures), virtual, 0))  # one in twenty, at least one, is held out by its hash
    assert without == 11
    held_out = find_hr_images(str(pictures), "val", 76).photographs[0].path
    shown = [path for path in files if str(path) != held_out][:4]
    assert len(find_pool(str(pictures), [showing(virtual[0], shown)], 0)) == 7
    with pytest.raises(RunError, match=r"every picture in .* is in the validation sets"):
        find_pool(str(pictures), [showing(virtual[0], files)], 0)


def test_a_picture_that_changes_during_the_run_stops_it(virtual, pictures: Path) -> None:
    pool = find_pool(str(pictures), virtual, 0)
    for path in pictures.iterdir():
        path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(RunError, match=r"HR picture .*hr/\d\d.png has changed since it was listed"):
        pool.crop("noise", 0)


@pytest.mark.parametrize("gigabytes", ["1", "0.00006", "0"])  # all, two of eleven, none
def test_no_crop_depends_on_where_pixels_are_kept(
    virtual, pictures: Path, tmp_path: Path, gigabytes, monkeypatch
) -> None:
    expected = crops_of(find_pool(str(pictures), virtual, 0))
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REALSR_CACHE_GB", gigabytes)
    for _ in range(2):
        assert crops_of(find_pool(str(pictures), virtual, 0)) == expected


def test_the_pool_needs_files_and_memory_only_for_what_is_not_kept(
    virtual, pictures: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    pool = find_pool(str(pictures), virtual, 0)
    expected = crops_of(pool)
    assert len(pool._decoded) == 0
    another = find_pool(str(pictures), virtual, 0)
    shutil.rmtree(pictures)
    assert crops_of(another) == expected


def test_in_memory_the_pool_holds_no_more_than_its_budget(virtual, pictures: Path, monkeypatch) -> None:
    expected = crops_of(find_pool(str(pictures), virtual, 0))
    monkeypatch.setattr("shared.mixing.pool.POOL_BYTES", 70_000)  # two of them
    small = find_pool(str(pictures), virtual, 0)
    for ordinal, crop in enumerate(expected):
        assert small.crop("noise", ordinal).tobytes() == crop
        assert len(small._decoded) <= 2


def crops_of(pool: Pool) -> list[bytes]:
    """Crops that show every picture."""
    return [pool.crop("noise", ordinal).tobytes() for ordinal in range(60)]


# ---- the feed


def settings(**changes) -> TrainSettings:
    return TrainSettings(batch_size=4, interval_steps=5, iterations=5, workers=0, window_shards=2, **changes)


def test_tasks_without_shards_take_hr_images_from_those_of_others_in_turn(tasks: list[Task], virtual) -> None:
    mixed = [tasks[0], virtual[1], tasks[2]]
    feed = Feed(mixed, settings(), torch.device("cpu"))
    record = {"quotas": [4, 12, 4], **feed.decide([4, 12, 4])}
    assert record["sources"] == ["shards", "fly", "shards"]
    delivered = list(feed.interval(record, [0, 0, 0], 0, 0))
    owners = [b.owner[b.task == 1] for b in delivered]
    assert torch.cat(owners).tolist() == [0, 2] * 6
    batch = next(b for b in delivered if 1 in b.task)
    place = batch.task.tolist().index(1)
    stored = Dataset(mixed[int(batch.owner[place])].train).hr(int(batch.row[place]))
    assert np.array_equal(_unflipped(batch.hr[place], stored), stored)


def _unflipped(image_CHW: torch.Tensor, like: np.ndarray) -> np.ndarray:
    image = image_CHW.permute(1, 2, 0).numpy()
    return image if np.array_equal(image, like) else image[:, ::-1]


def test_repeated_rows_are_limited_and_counted_from_shards_alone(tasks: list[Task]) -> None:
    state: dict = {}
    feed = Feed(tasks, settings(max_repeats=1.0), torch.device("cpu"), state=state)
    consumed, sources, stored = [0] * 3, [], []
    for interval, quotas in enumerate([[20, 0, 0], [20, 0, 0], [8, 12, 0], [20, 0, 0]]):
        record = {"quotas": quotas, **feed.decide(quotas)}
        sources.append(record["sources"][0])
        rows = torch.cat([b.row[b.task == 0] for b in feed.interval(record, consumed, interval, 0)]).tolist()
        assert len(rows) == quotas[0]
        stored += rows if sources[-1] == "shards" else []
        feed.close(record)
        consumed = [a + b for a, b in zip(consumed, quotas, strict=True)]
    assert sources == ["shards", "fly", "shards", "fly"]  # 28 rows: 20 of them, then no 20 are left, but 8 are
    assert sorted(stored) == list(range(28))
    assert state["read"] == {"mild": 28, "noise": 12, "severe": 0}


def test_a_task_that_can_have_no_sample_is_refused(tasks: list[Task], virtual) -> None:
    with pytest.raises(RunError, match="there are no shards to take HR images from: give --hr DIR"):
        Feed(virtual, settings(), torch.device("cpu"))
    with pytest.raises(RunError, match=r"task noise has no shards: render some, or .* \(--source auto\)"):
        Feed([tasks[0], virtual[1]], settings(source="shards"), torch.device("cpu"))


# ---- whole runs


@pytest.mark.parametrize("source", ["fly", "gpu"])
def test_a_run_without_any_shards_trains_and_resumes_exactly(source: str, val_only: Path, tmp_path: Path) -> None:
    argv = flags(shards=val_only, policy="uniform", source=source, hr="photos", iterations=10)
    succeed([*argv, "--run", "whole"], tmp_path)
    outcome = run([*argv, "--run", "run"], tmp_path, signal_after=(signal.SIGTERM, 7))
    assert outcome.errors == ["error: stopped at step 7, saved; run the same command again to go on"]
    succeed([*argv, "--run", "run", "--workers", "2"], tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")
    assert all(line["sources"] == [source] * 3 for line in intervals(tmp_path / "run")[:-1])
    for line in metrics(tmp_path / "run"):
        assert [line[f"data/fallback/{task}"] for task in TASKS] == line["counts"]


def test_a_run_is_not_resumed_with_other_pictures(val_only: Path, pictures: Path, tmp_path: Path) -> None:
    argv = flags(shards=val_only, policy="uniform", source="fly", hr=pictures, iterations=10)
    succeed([*argv, "--run", "run"], tmp_path)
    picture = max(pictures.iterdir())
    picture.rename(tmp_path / picture.name)
    longer = [*argv, "--run", "run", "--iterations", "15"]
    outcome = run(longer, tmp_path)
    assert outcome.errors[0].startswith("error: run was begun with other content of --hr (sha256 ")
    (tmp_path / picture.name).rename(picture)
    succeed(longer, tmp_path)


def test_quotas_beyond_max_repeats_are_served_on_the_fly_and_logged(shards: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, run="run", policy="uniform", max_repeats=0.5, iterations=20)
    succeed(argv, tmp_path)
    lines = intervals(tmp_path / "run")[:-1]
    assert [line["sources"] for line in lines] == [["shards"] * 3, ["shards"] * 3, ["fly"] * 3, ["fly"] * 3]
    assert [line["data/fallback/noise"] for line in lines] == [0, 0, *(line["quotas"][1] for line in lines[2:])]


def test_without_shards_and_pictures_the_remedy_is_named(val_only: Path, tmp_path: Path) -> None:
    outcome = run(flags(shards=val_only, run="run", policy="uniform"), tmp_path)
    assert outcome.code == 1
    assert "--source fly --hr DIR" in outcome.errors[0]
    outcome = run(flags(shards=tmp_path, run="run", policy="uniform", source="fly", hr="photos"), tmp_path)
    assert outcome.code == 1
    remedy = f"render some with python -m gen.render --subspace all --split val (--out {tmp_path})"
    assert outcome.errors == [f"error: no validation sets in {tmp_path}: {remedy}"]
    assert "python -m gen.render --subspace all --split val" in outcome.errors[0]
