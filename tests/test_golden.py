"""What the program gave at commit 8595d52, it gives still: shards, digests, draws, losses; and it takes up old files.

`tests/golden` holds what that commit made on x86-64: lists and hashes (the first 16 digits of a SHA-256), a dataset, a
run that was stopped in the middle of an interval, a reference pack. On another kind of processor, or with other
versions of libraries, LR pictures may differ by one level, and with them the hashes in `rendered` and that of `lr` in
`feed`; so may losses and PSNR in their last digits. All else is equal everywhere. What is changed on purpose is written
anew from what these tests find.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from gen.recipe import Recipe
from gen.render import main as render
from shared.degradation.partition import get_subspace, partition
from shared.degradation.plan import draw_plan
from shared.degradation.presets import get_space
from shared.mixing.loader import MixingLoader
from shared.mixing.plans import Box
from shared.mixing.pool import find_pool
from shared.mixing.quotas import apportion, order
from shared.mixing.rows import DatasetVersion, GrowingOrder, RowOrder
from shared.mixing.samples import Samples, images_of
from shared.mixing.tasks import Task, find_tasks
from shared.mixing.tickets import IntervalTickets, Supply, Ticket, candidates
from shared.rebalance.estimator import estimate
from shared.rebalance.policies import make_policy
from shared.records import canonical_json
from shared.shards.manifest import Manifest, ShardEntry, load_manifest
from shared.shards.reader import Dataset
from tests.shared.rebalance.tables import measurements
from tests.train.command import succeed
from tests.train.records import intervals, metrics
from train.grouping.groups import degradations, draw_tasks
from train.networks.depth import StochasticDepth, draw_depth
from train.record.references import load_pack

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
TRAIN = ["--shards", "dataset", "--network.options.num_feat", "1", "--network.options.num_block", "1"]
TRAIN += ["--iterations", "12", "--interval-steps", "4", "--batch-size", "4", "--lr", "0.001", "--ema", "0.5"]
TRAIN += ["--log-steps", "1", "--workers", "0", "--trackers", "none"]
"""`golden/run` was begun with these, --run run --policy uniform, and got SIGTERM in step 6; on one thread, as here."""


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def short_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def listed(numbers: Any) -> list[Any]:
    """The first fifty numbers, and a hash of all, as int64."""
    values = np.asarray(numbers, "<i8")
    return [values[:50].tolist(), short_hash(values.tobytes())]


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    """Those of `golden/dataset`."""
    return find_tasks(GOLDEN / "dataset")


# ---- digests and plans


def test_recipes_have_the_digests_that_name_their_shards() -> None:
    for fields, digest in golden("digests")["recipes"]:
        recipe = Recipe.from_dict(fields)
        assert (recipe.to_dict(), recipe.digest()) == (fields, digest)


def plans_of(space: str) -> dict[str, str]:
    """By split, forty plans of every subspace of three partitions; those on the fly are also what a task draws."""
    boxes = [box for cut in (None, "3x1", "jpeg:2") for box in partition(get_space(space), cut)]
    draws = [(box, seed, row) for box in boxes for seed in (0, 1) for row in range(20)]
    found = {}
    for split in ("train", "val", "fly"):
        plans = [draw_plan(b, seed=s, split=split, row=r, height=256, width=256).to_json() for b, s, r in draws]
        found[split] = short_hash("\n".join(plans).encode())
    assert plans == [Box(box).draw(seed, row, 256, 4).to_json() for box, seed, row in draws]
    return found


@pytest.mark.parametrize("space", golden("digests")["plans"])
def test_plans(space: str) -> None:
    known = golden("digests")["plans"][space]
    assert plans_of(space) == known["hashes"]
    subspace = get_subspace(get_space(space), "full", "full")
    assert draw_plan(subspace, seed=0, split="train", row=0, height=256, width=256).to_json() == known["plan"]


def identities(tasks: list[Task]) -> dict[str, Any]:
    """What names a task that has no shards, in states and in files of groups, and the plans that it is frozen in."""
    frozen = draw_tasks(tasks, 0, 4)
    return {
        "without shards": [replace(task, train=None, train_manifest=None).identity() for task in tasks],
        "with shards": [task.identity() for task in tasks],
        "degradations": degradations(tasks),
        "frozen": [task.identity() for task in frozen],
        "frozen plans": [short_hash(task.plans.draw(0, 5, 100, 4).to_json().encode()) for task in frozen],
    }


def test_identities_of_tasks(tasks: list[Task]) -> None:
    assert identities(tasks) == golden("digests")["identities"]


# ---- datasets


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs of all datasets here: waves of whole numbers, in files without compression."""
    folder = tmp_path_factory.mktemp("hr")
    for number in range(3):
        y, x, c = np.indices((84 + 4 * number, 88 - 4 * number, 3))
        waves = np.abs((4 + number) * x % 250 - 125) + np.abs((3 + number) * y % 250 - 125)
        picture = np.where(c == 2, 255 - waves, waves).astype(np.uint8)
        cv2.imwrite(str(folder / f"p{number}.bmp"), picture[..., ::-1])
    return folder


RENDERED = {
    "mild": "--subspace mild --count 2",
    "blur": "--subspace blur --count 2",
    "mild-val": "--subspace mild --split val --count 2 --rows-per-shard 4",
    "blur-val": "--subspace blur --split val --count 2 --rows-per-shard 4",
    "severe": "--subspace severe --count 3 --seed 1 --codec jpeg",
    "noise-val": "--subspace noise --split val --count 3 --codec ppm",
    "full": "--space realesrgan --subspace full --count 3 --usm --multiscale --licence CC0-1.0",
    "b0n2": "--space paper-wide --partition 1x3 --subspace b0n2 --count 3 --scale 2",
}
"""Commands by the folder that they make; the first four made `golden/dataset`."""


def rendered(name: str, hr: Path, out: Path) -> Path:
    small = ["--patch", "76", "--rows-per-shard", "2", "--workers", "1"]
    assert render(["--hr", str(hr), "--out", str(out), *small, *RENDERED[name].split()]) == 0
    return out / name


def hashes(dataset: Path) -> dict[str, str]:
    """Of every shard and index, and of the manifest but for the versions of libraries in it."""
    files = [path for path in sorted(dataset.iterdir()) if path.suffix in (".tar", ".idx")]
    manifest = {**json.loads((dataset / "manifest.json").read_bytes()), "versions": {}}
    named = {path.name: short_hash(path.read_bytes()) for path in files}
    return {**named, "manifest.json": short_hash(canonical_json(manifest))}


@pytest.mark.parametrize("name", RENDERED)
def test_the_same_command_renders_the_same_bytes(name: str, hr: Path, tmp_path: Path) -> None:
    folder = rendered(name, hr, tmp_path)
    assert hashes(folder) == golden("digests")["rendered"][name]
    if (GOLDEN / "dataset" / name).exists():
        assert hashes(folder) == hashes(GOLDEN / "dataset" / name)


def test_an_old_dataset_verifies() -> None:
    command = [sys.executable, "-m", "gen.verify", str(GOLDEN / "dataset"), "--rerender", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("2 of 2 rows are usable") == 4


def rows_of(dataset: Path) -> list[list[str]]:
    """Hashes of HR, LR and json of every row."""
    pairs = map(Dataset(dataset).read, range(load_manifest(dataset).rows))
    return [[short_hash(part) for part in (pair.hr.tobytes(), pair.lr.tobytes(), pair.row.to_json())] for pair in pairs]


@pytest.mark.parametrize("name", ["mild", "blur", "mild-val", "blur-val"])
def test_an_old_dataset_serves_its_rows(name: str) -> None:
    assert rows_of(GOLDEN / "dataset" / name) == golden("digests")["rows"][name]


def test_an_old_dataset_grows(hr: Path, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "dataset", tmp_path, dirs_exist_ok=True)
    before = load_manifest(tmp_path / "mild")
    options = ["--subspace", "mild", "--count", "3", "--patch", "76", "--rows-per-shard", "2", "--workers", "1"]
    assert render(["--hr", str(hr), "--out", str(tmp_path), *options]) == 0
    after = load_manifest(tmp_path / "mild")
    assert after.extends(before)
    assert (after.rows, after.generation) == (3, 2)
    assert rows_of(tmp_path / "mild")[:2] == golden("digests")["rows"]["mild"]


# ---- tickets and draws


def manifest(rows: int) -> Manifest:
    """A dataset of shards of eight rows."""
    sizes = [min(8, rows - first) for first in range(0, rows, 8)]
    entries = [ShardEntry(f"noise-{i}-{n}.tar", n, n, "", f"{i} of {n}") for i, n in enumerate(sizes)]
    return Manifest("noise", "noise", "train", "a1b2c3", {"rows_per_shard": 8}, rows, 1, "", {}, [], {}, entries)


def tickets() -> dict[str, Any]:
    """A thousand tickets of three intervals; the dataset of `noise` grows after the first."""
    names, read, seed = ("mild", "noise", "severe"), [0, 0, 0], 0
    versions = {name: [DatasetVersion.of(manifest(28), 0)] for name in names}
    quotas: list[list[int]] = []
    delivered: list[Ticket] = []
    for interval, weights in enumerate([(1, 1, 1), (0.5, 0.3, 0.2), (0.1, 0.7, 0.2)]):
        if interval == 1:
            versions["noise"].append(DatasetVersion.of(manifest(45), read[1]))
        quotas.append(apportion(weights, 400))
        supplies = []
        for task, (name, quota) in enumerate(zip(names, quotas[-1], strict=True)):
            rows = GrowingOrder(versions[name], manifest(versions[name][-1].rows), seed, name, 2)
            supplies.append(Supply("shards", np.full(quota, task), rows.take(read[task], quota)))
        found = IntervalTickets(quotas[-1], supplies, read, 8, seed, interval)
        delivered += [ticket for step in range(found.steps) for ticket in found.batch(step)]
        read = [before + quota for before, quota in zip(read, quotas[-1], strict=True)]
    columns = ("task", "ordinal", "owner", "row")
    return {"quotas": quotas, **{name: listed([getattr(t, name) for t in delivered[:1000]]) for name in columns}}


def test_tickets_of_a_dataset_that_grows() -> None:
    assert tickets() == golden("tickets")["tickets"]


def orders() -> dict[str, Any]:
    """Quotas, orders of slots and orders of rows by themselves."""
    weights = [[0.2, 0.3, 0.5], [1, 1, 1], [0.25, 0, 0.7, 0.05]]
    return {
        "apportion": [apportion(each, total) for each in weights for total in (7, 1000, 240_000)],
        "order": [listed(order(apportion(each, 240), seed, 3)) for each in weights for seed in (0, 1)],
        "rows": [listed(RowOrder([8, 8, 5, 8], 0, name, 2).take(10, 200)) for name in ("noise", "noise HR")],
    }


def test_quotas_and_orders() -> None:
    assert orders() == golden("tickets")["orders"]


def flips(tasks: list[Task]) -> list[list[Any]]:
    """Which of two hundred samples of each task are flipped."""
    samples, found = Samples(tasks, 0, True, [2, 2]), []
    for number, task in enumerate(tasks):
        hr_HWC = Dataset(task.train)[0].hr
        batch = samples.batch([Ticket(number, ordinal, "shards", number, 0) for ordinal in range(200)])
        _, hr_BCHW = images_of(batch.memory, 200, task.patch, task.scale)
        plain = [np.array_equal(hr_CHW.permute(1, 2, 0), hr_HWC) for hr_CHW in hr_BCHW]
        mirrored = [np.array_equal(hr_CHW.permute(1, 2, 0), hr_HWC[:, ::-1]) for hr_CHW in hr_BCHW]
        assert plain == [not each for each in mirrored]
        found.append(listed(mirrored))
    return found


def substitutes(tasks: list[Task]) -> list[list[int]]:
    """The rows that are tried for twenty tickets whose own is lost, as if of four rows only number 1 were left."""
    found = []
    for ordinal in range(20):
        rows = list(candidates(Ticket(0, ordinal, "shards", 0, 0), 0, tasks[0].name, 4))
        found.append(rows[: rows.index(1) + 1])
    return found


def served() -> dict[str, Any]:
    """What a loader makes of two intervals on the fly: the rows of the HR images, and hashes of the images."""
    rows, images = [], []
    with MixingLoader(GOLDEN / "dataset", 8, source="fly", workers=0) as loader:
        for _ in range(2):
            for batch in loader.interval(quotas=[32, 16]):
                rows += batch.row.tolist()
                images.append([part.numpy().tobytes() for part in (batch.lr, batch.hr)])
    lr, hr = (short_hash(b"".join(parts)) for parts in zip(*images, strict=True))
    return {"row": listed(rows), "hr": hr, "lr": lr}


def crops(tasks: list[Task], hr: Path) -> dict[str, Any]:
    """The pool of HR pictures, and twenty crops of each task."""
    pool = find_pool(str(hr), tasks, 0)
    return {
        "identity": pool.identity(),
        **{task.name: short_hash(b"".join(pool.crop(task.name, n).tobytes() for n in range(20))) for task in tasks},
    }


def random_weights() -> list[list[float]]:
    """Random loss weights of two steps, and random shares of an interval."""
    policy, sampling = make_policy("rlw", {}, 0), make_policy("rlw", {"form": "sampling"}, 0)
    return [*(policy.step(step, [0.1, 0.2, 0.3], [1, 1, 1]) for step in (0, 7)), sampling.interval(measurements(3))[0]]


def depths() -> list[list[Any]]:
    """Which branches thirty samples do not skip."""
    network = nn.Sequential(StochasticDepth(0.3), StochasticDepth(0.6))
    draw_depth(network, [(0, "mild", ordinal) for ordinal in range(30)], torch.device("cpu"))
    return [listed(layer.factors != 0) for layer in network]


def test_flips(tasks: list[Task]) -> None:
    assert flips(tasks) == golden("tickets")["flips"]


def test_substitutes_of_lost_rows(tasks: list[Task]) -> None:
    assert substitutes(tasks) == golden("tickets")["substitutes"]


def test_samples_on_the_fly_from_the_hr_images_of_shards() -> None:
    assert served() == {key: golden("tickets")["feed"][key] for key in ("row", "hr", "lr")}


def test_crops_of_hr_pictures(tasks: list[Task], hr: Path) -> None:
    assert crops(tasks, hr) == golden("tickets")["crops"]


def test_draws_of_policies_and_networks() -> None:
    assert random_weights() == [pytest.approx(weights, rel=1e-12) for weights in golden("tickets")["rlw"]]
    assert depths() == golden("tickets")["depths"]


# ---- estimates and runs


def estimates() -> list[dict[str, Any]]:
    """Of one table of three tasks and six images of five photographs, under two keys."""
    reference_db, shared_db = np.array(golden("estimates")["tables"])
    found = []
    for key in ((0, 0), (0, 3)):
        result = asdict(estimate(reference_db, shared_db, list("aabcde"), key))
        found.append({name: result[name] for name in ("gaps_db", "errors_db", "weights", "low", "high")})
    return found


def test_estimates() -> None:
    """Weights are those of gaps that are rounded to 1e-4 dB since."""
    for found, known in zip(estimates(), golden("estimates")["estimates"], strict=True):
        assert found == {name: pytest.approx(values, abs=5e-5) for name, values in known.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the fixtures to run commands in."""
    return shutil.copytree(GOLDEN, tmp_path / "golden")


def require_same(run: Path, known: dict[str, Any]) -> None:
    """Same losses, PSNR (of pixels that were rounded), counts and quotas; new lines have the keys of old ones."""
    lines, records = metrics(run), intervals(run)
    assert [line["loss"] for line in lines] == pytest.approx(known["losses"], rel=1e-6)
    assert [line["counts"] for line in lines] == known["counts"]
    assert all(line.keys() == lines[0].keys() for line in lines)
    assert [record["quotas"] for record in records[:-1]] == known["quotas"]
    assert np.allclose([record["shared_db"] for record in records], known["shared_db"], rtol=1e-4, atol=0)


def test_an_old_run_is_resumed_in_the_middle_of_an_interval(folder: Path) -> None:
    known = golden("runs")["uniform"]
    succeed([*TRAIN, "--run", "run", "--policy", "uniform"], folder)
    require_same(folder / "run", known)
    state = json.loads((folder / "run/checkpoints/step-00000012/state.json").read_text())
    assert np.allclose(state["memory"].pop("losses"), known["state"]["memory"].pop("losses"), rtol=1e-6, atol=0)
    assert state["feed"].pop("lost") == {}  # which that commit did not keep
    assert state == known["state"]


def test_a_run_takes_an_old_reference_pack(folder: Path) -> None:
    known = golden("runs")["rebalance"]
    succeed([*TRAIN, "--run", "new", "--references", "references.json"], folder)
    require_same(folder / "new", known)
    weights = [record["estimate"]["weights"] for record in intervals(folder / "new")]
    assert np.allclose(weights, known["weights"], rtol=1e-2, atol=0)


def test_new_references_have_the_protocol_and_the_psnr_of_an_old_pack(folder: Path) -> None:
    succeed([*TRAIN, "--no-ema-warmup", "--mode", "references", "--references", "new"], folder)
    old, new = (load_pack(folder / name) for name in ("references.json", "new/references.json"))
    assert list(new) == list(old)
    for task in old:
        assert new[task].protocol == old[task].protocol
        assert list(new[task].psnr_db) == list(old[task].psnr_db)
        assert np.allclose([*new[task].psnr_db.values()], [*old[task].psnr_db.values()], rtol=1e-4, atol=0)
