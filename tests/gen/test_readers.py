"""Other people's programs open a dataset folder as it is."""

import gc
import json
import re
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from shared.images import decode
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset

INTEGERS = {"seed", "row", "crop_y", "crop_x", "patch", "scale", "hr_crc32", "lr_crc32"}
STRINGS = {"subspace", "split", "hr_id", "hr_sha256", "plan", "space", "licence", "format"}
GUIDE = Path(__file__).parents[2] / "docs" / "format.md"

# webdataset 1.0 leaves its tars to the garbage collector.
leaks = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@leaks
def test_webdataset_reads_every_row_in_order(rendered):
    import webdataset

    tars = [str(rendered / entry.url) for entry in load_manifest(rendered).shardlist]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8"))
    gc.collect()
    assert [sample["json"]["row"] for sample in samples] == list(range(10))
    assert [sample["__key__"] for sample in samples][3:5] == ["noise-000000-00003", "noise-000001-00000"]
    for row, sample in enumerate(samples):
        assert np.array_equal(sample["hr.png"], Dataset(rendered)[row].hr)
        assert np.array_equal(sample["lr.png"], Dataset(rendered)[row].lr)


@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("val", "validation")])
def test_datasets_loads_the_folder_with_the_right_types(split, name, render, tmp_path):
    import datasets

    folder = render(tmp_path, "--split", split)
    splits = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(splits) == [name]
    rows = splits[name]
    assert rows.num_rows == 10
    assert set(rows.column_names) == {"hr.png", "json", "lr.png", "__key__", "__url__"}
    assert isinstance(rows.features["hr.png"], datasets.Image)
    types = {key: value.dtype for key, value in rows.features["json"].items()}
    assert types == {**dict.fromkeys(INTEGERS, "int64"), **dict.fromkeys(STRINGS, "string")}
    assert rows[9]["json"]["row"] == 9
    assert np.array_equal(np.asarray(rows[9]["lr.png"]), Dataset(folder)[9].lr)


def test_tarfile_sees_plain_files_without_time_or_owner(rendered):
    names = []
    for entry in load_manifest(rendered).shardlist:
        with tarfile.open(rendered / entry.url) as tar:
            assert tar.format == tarfile.USTAR_FORMAT or tar.pax_headers == {}
            for member in tar:
                assert (member.type, member.mtime, member.uid, member.gid) == (tarfile.REGTYPE, 0, 0, 0)
                assert (member.uname, member.gname, member.mode) == ("", "", 0o444)
                names.append(member.name)
    keys = [f"noise-{row // 4:06d}-{row % 4:05d}" for row in range(10)]
    assert names == [f"{key}.{extension}" for key in keys for extension in ("hr.png", "json", "lr.png")]


def test_gnu_tar_and_sha256sum_agree(rendered):
    tar = sorted(rendered.glob("*.tar"))[0]
    listing = subprocess.run(["tar", "--list", "--file", tar], capture_output=True, text=True, check=True)
    assert len(listing.stdout.split()) == 12
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(check, cwd=rendered, capture_output=True, text=True, check=True)
    assert checked.stdout.count(": OK") == 9


def test_the_index_is_what_dali_parses(rendered):
    """DALI's rule: `v1.2 <samples>`, then a line a sample with `ext offset size name` of each component."""
    for entry in load_manifest(rendered).shardlist:
        tar = rendered / entry.url
        header, *lines = tar.with_suffix(".idx").read_text().splitlines()
        assert header == f"v1.2 {entry.nsamples}"
        assert len(lines) == entry.nsamples
        data = tar.read_bytes()
        for line in lines:
            words = line.split()
            assert words[0::4] == ["hr.png", "json", "lr.png"]
            for offset, size, name in zip(words[1::4], words[2::4], words[3::4], strict=True):
                begin, end = int(offset), int(offset) + int(size)
                assert begin % 512 == 0
                assert data[begin - 512 :].startswith(name.encode() + b"\0")
                assert data[begin:end].startswith(b"\x89PNG" if name.endswith("png") else b"{")


def test_the_manifest_is_a_wids_index(rendered):
    values = json.loads((rendered / "manifest.json").read_bytes())
    assert (values["__kind__"], values["wids_version"]) == ("wids-shard-index-v1", 1)
    assert {"url", "nsamples", "filesize", "md5sum"} <= set(values["shardlist"][0])


def test_wids_reads_rows_at_random(rendered, tmp_path):
    wids = pytest.importorskip("wids", reason="it comes with webdataset 0.2 alone")
    rows = wids.ShardListDataset(str(rendered / "manifest.json"), cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 10
    assert [rows[number][".json"]["row"] for number in (9, 0, 4)] == [9, 0, 4]


def test_no_file_beside_the_tars_looks_like_data(rendered):
    """A visible json or a `.tar.part` would make `load_dataset(folder)` load that instead."""
    endings = {path.suffix for path in rendered.iterdir() if not path.name.startswith(".")}
    assert endings == {".tar", ".idx", ".json", ".md", ".yaml", ""}
    assert [path.name for path in rendered.glob("*.json")] == ["manifest.json"]


@leaks
@pytest.mark.parametrize("library", ["open_rows", "tarfile", "webdataset as wds", "import datasets"])
def test_the_snippets_of_the_guide_run(library, rendered, tmp_path, monkeypatch):
    snippets = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (snippet,) = [code for code in snippets if library in code]
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "noise").symlink_to(rendered)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    snippet = snippet.replace("realsr_rebalance", "shared")  # one process uses one of the two names
    exec(snippet.replace("a1b2c3", load_manifest(rendered).digest), names)
    gc.collect()
    assert names.keys() & {"hr", "rows"}


def test_the_commands_of_the_guide_make_folders_with_equal_names(rendered, tmp_path):
    (commands,) = [
        code for code in re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "noise/HR" in code
    ]
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "noise").symlink_to(rendered)
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True)
    hr, lr = (sorted((tmp_path / "noise" / side).iterdir()) for side in ("HR", "LR"))
    assert [path.name for path in hr] == [path.name for path in lr]
    assert [path.name for path in hr][3:5] == ["noise-000000-00003.png", "noise-000001-00000.png"]
    for pair, *paths in zip(Dataset(rendered), hr, lr, strict=True):
        for image, path in zip((pair.hr, pair.lr), paths, strict=True):
            assert np.array_equal(decode(path.read_bytes(), path.name), image)
