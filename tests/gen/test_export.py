"""Exports read back by re-implemented readers of the layouts, resumed exports, and configurations of the trainers."""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from gen.export import main as export
from shared.degradation.cpu import from_8bit, resize, to_8bit
from shared.degradation.plan import Resize
from shared.errors import RunError, UsageError, run_command
from shared.images import decode
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset

KEYS = [f"noise-{row // 4:06d}-{row % 4:05d}" for row in range(10)]


def image(data: bytes) -> np.ndarray:
    return decode(data, "exported")


def basicsr_folder_pairs(options: dict) -> Iterator[tuple[str, bytes, bytes]]:
    """BasicSR's PairedImageDataset with a disk backend: both folders listed, equal names paired."""
    assert options["io_backend"] == {"type": "disk"}
    hr, lr = Path(options["dataroot_gt"]), Path(options["dataroot_lq"])
    names = sorted(path.name for path in hr.iterdir() if not path.name.startswith("."))
    assert names == sorted(path.name for path in lr.iterdir() if not path.name.startswith("."))
    for name in names:
        yield name.partition(".")[0], (hr / name).read_bytes(), (lr / name).read_bytes()


def basicsr_lmdb_pairs(options: dict) -> Iterator[tuple[str, bytes, bytes]]:
    """BasicSR's PairedImageDataset with an LMDB backend: keys from `meta_info.txt`, up to the first dot of a line."""
    lmdb = pytest.importorskip("lmdb", reason="the optional extra lmdb is not installed")
    assert options["io_backend"] == {"type": "lmdb"}
    folders = [options["dataroot_gt"], options["dataroot_lq"]]
    assert all(folder.endswith(".lmdb") for folder in folders)
    keys = [
        [line.split(".")[0] for line in Path(folder, "meta_info.txt").read_text().splitlines()] for folder in folders
    ]
    assert keys[0] == keys[1]
    hr, lr = (lmdb.open(folder, readonly=True, lock=False, readahead=False) for folder in folders)
    with hr.begin() as one, lr.begin() as two:
        for key in sorted(keys[0]):
            yield key, one.get(key.encode("ascii")), two.get(key.encode("ascii"))
    hr.close(), lr.close()


READERS = {"folders": basicsr_folder_pairs, "lmdb": basicsr_lmdb_pairs, "triplets": basicsr_folder_pairs}


def exported(source: Path, out: Path, format: str, *options: str) -> dict:
    """Export and give BasicSR's options."""
    if format == "lmdb":
        pytest.importorskip("lmdb", reason="the optional extra lmdb is not installed")
    assert export([str(source), "--out", str(out), "--format", format, *options]) == 0
    return yaml.safe_load((out / "noise" / "basicsr.yml").read_text())


@pytest.mark.parametrize("format", READERS)
def test_pairs_are_those_of_the_dataset_byte_for_byte_and_in_its_order(format, rendered, tmp_path):
    options = exported(rendered, tmp_path, format)["datasets"]["train"]
    assert options["type"] == "PairedImageDataset"
    found = list(READERS[format](options))
    assert [key for key, _, _ in found] == KEYS
    dataset = Dataset(rendered)
    for row, (_, hr, lr) in enumerate(found):
        stored = dataset.shard(row // 4).stored(row % 4)
        assert (hr, lr) == (stored.hr, stored.lr)
        assert np.array_equal(image(hr), dataset[row].hr)
        assert np.array_equal(image(lr), dataset[row].lr)


@pytest.mark.parametrize("codec", ["ppm", "jpeg"])
def test_other_codecs_are_decoded_once_into_png(codec, render, tmp_path):
    folder = render(tmp_path / "shards", "--codec", codec)
    options = exported(folder, tmp_path / "out", "folders")["datasets"]["train"]
    dataset = Dataset(folder)
    for row, (_, hr, lr) in enumerate(basicsr_folder_pairs(options)):
        assert hr.startswith(b"\x89PNG")
        assert np.array_equal(image(hr), dataset[row].hr)
        assert np.array_equal(image(lr), dataset[row].lr)


def test_meta_info_lists_names_and_sizes(rendered, tmp_path):
    exported(rendered, tmp_path, "folders")
    lines = (tmp_path / "noise" / "meta_info.txt").read_text().splitlines()
    assert lines == [f"{key}.png (76,76,3)" for key in KEYS]  # BasicSR's meta_info_file
    exported(rendered, tmp_path / "lmdb", "lmdb")
    for name, side in (("gt", 76), ("lq", 19)):
        lines = (tmp_path / "lmdb" / "noise" / f"{name}.lmdb" / "meta_info.txt").read_text().splitlines()
        assert lines == [f"{key}.png ({side},{side},3) 1" for key in KEYS]


def test_triplets_hold_the_lr_image_upscaled_by_bicubic_interpolation(rendered, tmp_path):
    exported(rendered, tmp_path, "triplets")
    folders = [tmp_path / "noise" / name for name in ("gt", "lr", "sr_bicubic")]
    assert all([path.stem for path in sorted(folder.glob("*.png"))] == KEYS for folder in folders)  # SeeSR globs *.png
    for row, key in enumerate(KEYS):
        lr = Dataset(rendered)[row].lr
        expected = to_8bit(resize(from_8bit(lr), Resize("up", "bicubic", 76, 76)))
        assert np.array_equal(image((folders[2] / f"{key}.png").read_bytes()), expected)


# --- resuming -----------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "lock.mdb"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("format", ["folders", "triplets", "lmdb"])
def test_an_export_that_broke_off_is_finished_by_the_same_command(format, dataset, tmp_path):
    last = sorted(dataset.glob("*.tar"))[-1]
    data = last.read_bytes()
    last.write_bytes(data[: len(data) // 2])
    out = tmp_path / "out"
    if format == "lmdb":
        pytest.importorskip("lmdb", reason="the optional extra lmdb is not installed")
    assert run_command(export, [str(dataset), "--out", str(out), "--format", format]) == 1
    assert list(json.loads((out / "noise" / "export.json").read_bytes())["shards"]) == [
        path.name for path in sorted(dataset.glob("*.tar"))[:2]
    ]
    last.write_bytes(data)
    options = exported(dataset, out, format)["datasets"]["train"]
    assert [key for key, _, _ in READERS[format](options)] == KEYS
    exported(dataset, tmp_path / "whole", format)
    names = contents(tmp_path / "whole").keys()
    assert contents(out).keys() == names
    if format != "lmdb":
        png = [name for name in names if name.endswith(".png")]
        assert [contents(out)[name] for name in png] == [contents(tmp_path / "whole")[name] for name in png]


def test_finished_shards_are_not_written_again(rendered, tmp_path):
    exported(rendered, tmp_path, "folders")
    files = sorted((tmp_path / "noise" / "gt").iterdir())
    for file in files:
        os.utime(file, ns=(0, 0))
    exported(rendered, tmp_path, "folders")
    assert {file.stat().st_mtime_ns for file in files} == {0}


def test_a_grown_dataset_gets_only_its_new_shards(render, tmp_path):
    folder = render(tmp_path / "shards", "--count", "6")
    options = exported(folder, tmp_path / "out", "folders")["datasets"]["train"]
    assert len(list(basicsr_folder_pairs(options))) == 6
    first = tmp_path / "out" / "noise" / "gt" / f"{KEYS[0]}.png"
    os.utime(first, ns=(0, 0))
    render(tmp_path / "shards", "--count", "10")
    exported(folder, tmp_path / "out", "folders")
    assert [key for key, _, _ in basicsr_folder_pairs(options)] == KEYS
    assert first.stat().st_mtime_ns == 0


# --- what is refused ----------------------------------------------------------------------------------------------


def test_another_recipe_or_format_in_the_folder_is_refused(rendered, render, tmp_path):
    exported(rendered, tmp_path / "out", "folders")
    digest = load_manifest(rendered).digest
    with pytest.raises(UsageError, match=f"holds recipe {digest} as folders, not {digest} as triplets"):
        export([str(rendered), "--out", str(tmp_path / "out"), "--format", "triplets"])
    other = render(tmp_path / "shards", "--seed", "1")
    with pytest.raises(UsageError, match=f"holds recipe {digest} as folders, not {load_manifest(other).digest}"):
        export([str(other), "--out", str(tmp_path / "out")])


def test_a_folder_with_other_files_is_left_alone(rendered, tmp_path):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="noise holds other files: choose another --out"):
        export([str(rendered), "--out", str(tmp_path)])
    assert [path.name for path in (tmp_path / "noise").iterdir()] == ["mine.txt"]


def test_a_damaged_row_is_named(dataset, tmp_path):
    tar = sorted(dataset.glob("*.tar"))[1]
    data = bytearray(tar.read_bytes())
    at = data.rindex(b"IDAT") + 20
    data[at] ^= 1
    tar.write_bytes(data)
    with pytest.raises(RunError, match=r"row noise-000001-00003 is damaged: .*lr.png does not have the checksum"):
        export([str(dataset), "--out", str(tmp_path / "out")])


def test_a_manifest_cannot_lead_out_of_the_folder(dataset, tmp_path):
    values = json.loads((dataset / "manifest.json").read_bytes())
    for name in ("../elsewhere", "mild"):
        (dataset / "manifest.json").write_text(json.dumps({**values, "name": name}))
        with pytest.raises(RunError, match=f"its manifest has the name '{re.escape(name)}'"):
            export([str(dataset), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_without_the_package_lmdb_the_extra_is_named(rendered, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(UsageError, match=r"pip install 'realsr-rebalance\[lmdb\]'"):
        export([str(rendered), "--out", str(tmp_path / "out"), "--format", "lmdb"])


# --- configurations -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(render, tmp_path_factory) -> Path:
    """Train and validation set of one task, exported together."""
    folder = tmp_path_factory.mktemp("both")
    for split in ("train", "val"):
        render(folder / "shards", "--split", split)
    assert export([str(folder / "shards"), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_configurations_name_the_folders_of_both_splits_and_the_sizes(both):
    folders = {
        split: tuple(str(both / name / side) for side in ("gt", "lq"))
        for split, name in (("train", "noise"), ("val", "noise-val"))
    }
    basicsr = yaml.safe_load((both / "noise" / "basicsr.yml").read_text())
    redux = yaml.safe_load((both / "noise" / "trainner-redux.yml").read_text())
    neosr = tomllib.loads((both / "noise" / "neosr.toml").read_text())
    for split, (hr, lr) in folders.items():
        for options in (basicsr, neosr):
            assert (options["datasets"][split]["dataroot_gt"], options["datasets"][split]["dataroot_lq"]) == (hr, lr)
        assert redux["datasets"][split]["dataroot_gt"] == [hr]
        assert redux["datasets"][split]["dataroot_lq"] == [lr]
    assert basicsr["scale"] == redux["scale"] == neosr["scale"] == 4
    assert basicsr["datasets"]["train"]["gt_size"] == 76
    assert redux["datasets"]["train"]["lq_size"] == neosr["datasets"]["train"]["patch_size"] == 19
    assert not list((both / "noise-val").glob("*.yml"))


def test_a_validation_set_that_is_exported_later_is_named_too(render, tmp_path):
    render(tmp_path / "shards")
    render(tmp_path / "shards", "--split", "val")
    train, val = (tmp_path / "shards" / name for name in ("noise", "noise-val"))
    for dataset, splits in ((train, ["train"]), (val, ["train", "val"])):
        assert export([str(dataset), "--out", str(tmp_path / "out")]) == 0
        options = yaml.safe_load((tmp_path / "out" / "noise" / "basicsr.yml").read_text())
        assert list(options["datasets"]) == splits
    assert export([str(val), "--out", str(tmp_path / "alone")]) == 0
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["noise-val"]


def test_a_validation_set_of_another_format_leaves_the_configurations_alone(render, tmp_path):
    render(tmp_path / "shards")
    render(tmp_path / "shards", "--split", "val")
    assert export([str(tmp_path / "shards" / "noise"), "--out", str(tmp_path / "out")]) == 0
    before = (tmp_path / "out" / "noise" / "basicsr.yml").read_bytes()
    words = [str(tmp_path / "shards" / "noise-val"), "--out", str(tmp_path / "out"), "--format", "triplets"]
    assert export(words) == 0
    assert (tmp_path / "out" / "noise" / "basicsr.yml").read_bytes() == before


def test_without_a_validation_set_none_is_named(rendered, tmp_path):
    options = exported(rendered, tmp_path, "folders")
    assert list(options["datasets"]) == ["train"]
    assert "val" not in options
    assert "val" not in tomllib.loads((tmp_path / "noise" / "neosr.toml").read_text())["datasets"]


def test_lmdb_has_no_configuration_for_the_trainer_that_cannot_read_it(rendered, tmp_path):
    options = exported(rendered, tmp_path, "lmdb")["datasets"]["train"]
    assert options["dataroot_gt"].endswith("noise/gt.lmdb")
    assert sorted(path.name for path in (tmp_path / "noise").glob("*.*ml")) == ["basicsr.yml", "neosr.toml"]
