"""Random access to the rows of a dataset on disk, and what is said when it is damaged."""

import io
import tarfile
import threading

import numpy as np
import pytest

from shared.errors import RunError
from shared.images import encode_png
from shared.shards.format import Member, Row, row_key, row_members, write_index
from shared.shards.manifest import Manifest, ShardEntry
from shared.shards.reader import Dataset, ShardFile, open_rows

SIZES = (4, 4, 2)


def pixels(row, side):
    return np.random.default_rng(row).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Ten rows in three shards, written with tarfile alone."""
    entries, number = [], 0
    for shard, size in enumerate(SIZES):
        path, members = tmp_path / f"noise-x4-a1b2c3-{shard:06d}.tar", []
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for position in range(size):
                row = Row("noise", "train", 0, number, "a", "0", 0, 0, 16, 4, "{}", "paper", "CC0")
                files = row_members("png", encode_png(pixels(number, 16)), pixels(number, 4), row)
                for extension, data in files.items():
                    header = tarfile.TarInfo(f"{row_key('noise', shard, position)}.{extension}")
                    header.size = len(data)
                    members.append(Member(extension, tar.offset + 512, len(data), header.name))
                    tar.addfile(header, io.BytesIO(data))
                number += 1
        path.with_suffix(".idx").write_bytes(write_index(members))
        entries.append(ShardEntry(path.name, size, path.stat().st_size, "", ""))
    Manifest("noise", "noise", "train", "a1b2c3", {}, 10, 1, "", {}, [], {}, entries).save(tmp_path)
    return tmp_path


def test_every_row_by_its_number(folder):
    dataset = Dataset(folder)
    assert len(dataset) == 10
    for number in (9, 0, 3, 4, 8, 7, 1, 2, 5, 6):
        hr, lr, row = dataset[number]
        assert np.array_equal(hr, pixels(number, 16))
        assert np.array_equal(lr, pixels(number, 4))
        assert row.row == number


def test_rows_are_opened_by_the_name_of_their_folder(folder, tmp_path):
    rows = open_rows(str(folder))
    assert [pair.row.row for pair in rows] == list(range(10))
    assert (rows[3].hr == pixels(3, 16)).all()
    assert (open_rows(folder)[9].lr == pixels(9, 4)).all()
    with pytest.raises(RunError, match="nowhere"):
        open_rows(tmp_path / "nowhere")


def test_what_a_row_says_of_itself_needs_no_picture(folder):
    assert [Dataset(folder).meta(number) for number in range(10)] == [
        Dataset(folder)[number].row for number in range(10)
    ]
    path = folder / "noise-x4-a1b2c3-000001.tar"
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"\x89GNP"))  # no picture of that shard can be decoded now
    assert Dataset(folder).meta(5).row == 5
    path.write_bytes(path.read_bytes().replace(b'"row":6', b'"row":x'))
    with pytest.raises(RunError, match=r"000001\.tar: row noise-000001-00002 is damaged"):
        Dataset(folder).meta(6)
    with pytest.raises(IndexError):
        Dataset(folder).meta(10)


def test_negative_numbers_count_from_the_end(folder):
    assert Dataset(folder)[-1].row.row == 9
    assert Dataset(folder)[-10].row.row == 0


@pytest.mark.parametrize("number", [-11, 10])
def test_rows_past_either_end_are_an_index_error(number, folder):
    with pytest.raises(IndexError, match=f"row {number} of 10"):
        Dataset(folder)[number]


def test_several_threads_read_one_shard(folder):
    shard, wrong = ShardFile(folder / "noise-x4-a1b2c3-000000.tar", 4), []

    def read():
        for number in (0, 3, 1, 2) * 20:
            if not np.array_equal(shard[number].hr, pixels(number, 16)):
                wrong.append(number)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("ending", ["tar", "idx"])
def test_a_missing_file_says_what_to_do(ending, folder):
    (folder / f"noise-x4-a1b2c3-000001.{ending}").unlink()
    dataset = Dataset(folder)
    assert dataset[0].row.row == 0
    with pytest.raises(RunError, match=rf"000001\.{ending} is missing: render again or run realsr verify"):
        dataset[5]


def test_a_tar_that_is_cut_short_is_refused_when_it_is_opened(folder):
    tar = folder / "noise-x4-a1b2c3-000000.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(RunError, match=r"is cut short or not the one in the manifest \(4 rows\)"):
        ShardFile(tar, 4)


def test_another_number_of_rows_than_the_manifest_says_is_refused(folder):
    with pytest.raises(RunError, match=r"not the one in the manifest \(3 rows\)"):
        ShardFile(folder / "noise-x4-a1b2c3-000000.tar", 3)


@pytest.mark.parametrize("text", [b"", b"v1.2 0\n", b"garbage", b"\xff\xff"])
def test_a_damaged_index_is_refused(text, folder):
    (folder / "noise-x4-a1b2c3-000000.idx").write_bytes(text)
    with pytest.raises(RunError, match=r"index of .* is damaged|is cut short or not the one"):
        Dataset(folder)[0]


def test_a_damaged_row_is_named_and_its_neighbours_can_be_read(folder):
    tar = folder / "noise-x4-a1b2c3-000000.tar"
    with tarfile.open(tar) as archive:
        header = archive.getmember("noise-000000-00002.lr.png")
    data = bytearray(tar.read_bytes())
    data[header.offset_data + header.size // 2] ^= 255
    tar.write_bytes(data)
    dataset = Dataset(folder)
    with pytest.raises(RunError, match=r"000000\.tar: row noise-000000-00002 is damaged: .*lr\.png does not have"):
        dataset[2]
    assert [dataset[number].row.row for number in (1, 3)] == [1, 3]


def test_no_file_stays_open(folder):
    import gc
    from pathlib import Path

    dataset = Dataset(folder)
    for number in range(10):
        dataset[number]
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert sum(str(folder) in str(link.readlink()) for link in links if link.exists()) == 3
    del dataset
    gc.collect()
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and link.exists()]
    assert sum(str(folder) in str(link.readlink()) for link in links) == 0
