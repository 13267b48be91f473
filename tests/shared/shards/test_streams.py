"""Datasets as streams of the webdataset library: every row once, whatever the number of workers and the place."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from shared.errors import RunError
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from shared.shards.streams import as_webdataset
from tests.shared.mixing.bucket import serving_bucket, upload
from tests.shared.mixing.damage import cut, tar
from tests.train.conftest import once, shards

__all__ = ["once", "shards"]


def rows_of(items: Any) -> list[int]:
    return [json.loads(item["json"])["row"] for item in items]


def without_collation(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return items


def test_items_are_the_stored_rows_in_their_order(shards: Path) -> None:
    stored, items = Dataset(shards / "noise"), list(as_webdataset(shards, "noise"))
    assert rows_of(items) == list(range(28))
    for row in (0, 13, 27):
        for kind, expected in (("hr", stored[row].hr), ("lr", stored[row].lr)):
            image = cv2.imdecode(np.frombuffer(items[row][f"{kind}.png"], np.uint8), cv2.IMREAD_COLOR_RGB)
            assert np.array_equal(image, expected)
    assert rows_of(as_webdataset(str(shards), "noise", split="val")) == list(range(8))


def test_only_the_shards_of_the_manifest_are_read(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards / "noise", tmp_path / "noise")
    source = tar(tmp_path / "noise", 0)
    shutil.copy(source, source.with_name("noise-x4-ffffff-000009.tar"))
    assert rows_of(as_webdataset(tmp_path, "noise")) == list(range(28))


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("workers", [1, 3, 6])
def test_more_workers_than_shards_read_every_row_once(workers: int, shards: Path) -> None:
    dataset = as_webdataset(shards, "noise")
    loader = DataLoader(
        dataset, batch_size=4, num_workers=workers, collate_fn=without_collation, generator=torch.Generator()
    )
    rows = [row for items in loader for row in rows_of(items)]
    assert sorted(rows) == list(range(28))


def test_options_are_those_of_webdataset(shards: Path) -> None:
    shuffled = as_webdataset(shards, "noise", shardshuffle=100, seed=3)
    rows = rows_of(shuffled)
    assert sorted(rows) == list(range(28))
    decoded = next(iter(as_webdataset(shards, "noise").decode("rgb8").to_tuple("lr.png", "json")))
    assert decoded[0].shape == (19, 19, 3)
    assert decoded[1]["subspace"] == "noise"


def test_a_cut_tar_is_an_error_instead_of_lost_rows(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards / "noise", tmp_path / "noise")
    size = tar(tmp_path / "noise", 2).stat().st_size
    cut(tar(tmp_path / "noise", 2))
    message = rf"noise-x4-\w+-000002\.tar has 3000 bytes, its manifest says {size}: render it again"
    with pytest.raises(RunError, match=message):
        list(as_webdataset(tmp_path, "noise"))


def test_a_missing_tar_and_a_missing_dataset_are_errors(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards / "noise", tmp_path / "noise")
    tar(tmp_path / "noise", 2).unlink()
    with pytest.raises(RunError, match=r"000002\.tar is listed in the manifest but cannot be read"):
        list(as_webdataset(tmp_path, "noise"))
    with pytest.raises(RunError, match="blur"):
        as_webdataset(tmp_path, "blur")


def test_a_bucket_is_read_as_a_folder_is(shards: Path) -> None:
    with serving_bucket("streams"):
        upload(shards, "s3://streams/shards")
        remote = list(as_webdataset("s3://streams/shards", "noise"))
    local = list(as_webdataset(shards, "noise"))
    images = ("hr.png", "lr.png", "json")
    assert [[item[key] for key in images] for item in remote] == [[item[key] for key in images] for item in local]
    assert len(local) == load_manifest(shards / "noise").rows
