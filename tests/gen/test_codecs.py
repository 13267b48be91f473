"""A dataset with each codec passes through every command and every reader."""

import gc
from dataclasses import replace

import numpy as np
import pytest

import gen.preview
from gen.backends import degrade
from gen.verify import check_dataset
from shared.degradation.plan import Plan
from shared.errors import UsageError
from shared.shards.codecs import CODECS
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset

OTHERS = [name for name in CODECS if name != "png"]


@pytest.fixture(scope="module", params=OTHERS)
def coded(request, render, tmp_path_factory):
    """The dataset `rendered` with another codec."""
    return request.param, render(tmp_path_factory.mktemp(request.param), "--codec", request.param)


def test_lr_is_made_from_the_hr_that_is_stored(coded, rendered):
    codec, folder = coded
    for row in range(10):
        plain, (hr, lr, meta) = Dataset(rendered)[row], Dataset(folder)[row]
        checksums = {"hr_crc32": meta.hr_crc32, "lr_crc32": meta.lr_crc32}
        assert meta == replace(plain.row, **checksums)
        assert np.array_equal(hr, plain.hr) == CODECS[codec].lossless
        assert np.array_equal(lr, plain.lr) == CODECS[codec].lossless
        assert np.array_equal(lr, degrade("cpu", [hr], [Plan.from_json(meta.plan)], meta.scale, usm=False)[0])


def test_the_codec_is_part_of_the_recipe(coded, rendered, render):
    codec, folder = coded
    assert load_manifest(folder).digest != load_manifest(rendered).digest
    assert f"`hr.{CODECS[codec].extension}` ({codec})" in (folder / "README.md").read_text()
    with pytest.raises(UsageError, match=f"codec: {codec} -> png"):
        render(folder.parent)


def test_commands_read_it(coded, tmp_path):
    _, folder = coded
    report = check_dataset(folder, rerender=10)
    assert (report.problems, len(report.good)) == ([], 10)
    assert "10 equal" in report.notes[0]
    assert gen.preview.main([str(folder), "--out", str(tmp_path / "sheet.png")]) == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_readers_read_it(coded, tmp_path):
    import datasets
    import webdataset

    codec, folder = coded
    name, hr = f"hr.{CODECS[codec].extension}", Dataset(folder)[9].hr
    tars = [str(folder / entry.url) for entry in load_manifest(folder).shardlist]
    *_, last = webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8")
    rows = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    gc.collect()
    for read in (last[name], np.asarray(rows[9][name])):
        assert np.abs(read.astype(int) - hr).max() <= (0 if CODECS[codec].lossless else 2)  # decoders of JPEG differ
    assert (folder / tars[0]).with_suffix(".idx").read_text().splitlines()[1].startswith(f"{name} 512 ")


def test_an_unknown_codec_is_refused(render, tmp_path):
    with pytest.raises(UsageError, match="unknown codec 'gif': choose one of png, ppm, jpeg"):
        render(tmp_path, "--codec", "gif")
