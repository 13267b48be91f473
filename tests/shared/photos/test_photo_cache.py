"""Kept pixels: exact, within their space, and never trusted when damaged."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from shared.errors import UsageError
from shared.photos import photo_cache as decoded
from shared.photos.photo_cache import cache_bytes, keep, kept, photo_cache_folder

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
FILE_BYTES = IMAGE.nbytes + decoded.TRAILER.size


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache of one test; to the process nothing in it has been seen before."""
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "_verified", set())
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda _: _Disk(10**12, 10**12))
    return tmp_path / "cache"


class _Disk:
    def __init__(self, total, free):
        self.total, self.free = total, free


def age(path: Path, seconds: float) -> None:
    """Make a file one that was last used that long before this process began."""
    os.utime(path, (decoded._started - seconds,) * 2)


def test_what_is_kept_comes_back_exactly_and_cannot_be_written_to():
    assert kept("a") is None
    assert keep("a", IMAGE)
    assert np.array_equal(kept("a"), IMAGE)
    assert not kept("a").flags.writeable
    assert kept("b") is None


def test_a_part_of_a_larger_picture_can_be_kept():
    assert keep("a", IMAGE[3:30, 5:20])
    assert np.array_equal(kept("a"), IMAGE[3:30, 5:20])


@pytest.mark.parametrize("damage", ["pixel", "cut", "empty", "longer", "size"])
def test_what_is_damaged_counts_as_not_kept_and_is_mended(folder, damage):
    keep("a", IMAGE)
    (path,) = folder.iterdir()
    data = bytearray(path.read_bytes())
    if damage == "pixel":
        data[1234] ^= 1
    elif damage == "size":
        data[-12] ^= 1
    path.write_bytes({"cut": data[:-1], "empty": b"", "longer": data + b"0"}.get(damage, data))
    assert kept("a") is None
    assert keep("a", IMAGE)
    assert np.array_equal(kept("a"), IMAGE)


def test_another_decoder_does_not_read_it(monkeypatch):
    keep("a", IMAGE)
    monkeypatch.setattr(decoded, "DECODER", "another")
    assert kept("a") is None


def test_no_more_is_kept_than_the_space_allows(folder, monkeypatch):
    monkeypatch.setenv("REALSR_CACHE_GB", str(2 * FILE_BYTES / 1e9))
    assert [keep(key, IMAGE) for key in "abc"] == [True, True, False]
    assert len(list(folder.iterdir())) == 2
    assert kept("c") is None


def test_what_has_not_been_used_longest_makes_room_but_never_what_this_run_uses(folder, monkeypatch):
    monkeypatch.setenv("REALSR_CACHE_GB", str(2 * FILE_BYTES / 1e9))
    for key, seconds in (("a", 10), ("b", 20)):
        keep(key, IMAGE)
        age(next(folder.glob(f"{key}-*")), seconds)
    assert keep("c", IMAGE)  # in the place of b
    assert (kept("a") is None, kept("b") is None) == (False, True)  # a is in use now
    assert not keep("d", IMAGE)
    assert kept("a") is not None


def test_the_last_tenth_of_the_disk_is_left_alone(monkeypatch):
    for free, fits in ((100_000 + FILE_BYTES, True), (100_000 + FILE_BYTES - 1, False)):
        monkeypatch.setattr(decoded.shutil, "disk_usage", lambda _, free=free: _Disk(1_000_000, free))
        assert keep("a", IMAGE) is fits


def test_what_killed_writers_left_is_removed_after_an_hour(folder):
    keep("a", IMAGE)
    old, new = folder / ".tmp-host-1-x", folder / ".tmp-host-2-x"
    for path, seconds in ((old, decoded.ABANDONED_SECONDS + 60), (new, 0)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - seconds,) * 2)
    keep("b", IMAGE)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_disk_that_takes_nothing_is_no_error(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", full)
        assert not keep("a", IMAGE)
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.write_text("a file in its place")
    assert not keep("a", IMAGE)
    assert kept("a") is None


def test_an_empty_name_keeps_nothing_and_no_name_is_the_users_photo_cache_folder(monkeypatch):
    monkeypatch.setenv("REALSR_CACHE", "")
    assert (photo_cache_folder(), keep("a", IMAGE), kept("a")) == (None, False, None)
    monkeypatch.delenv("REALSR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert photo_cache_folder() == Path("/somewhere/realsr-rebalance/photographs")


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf", ""])
def test_a_space_that_is_no_number_of_gigabytes_is_refused(text, monkeypatch):
    monkeypatch.setenv("REALSR_CACHE_GB", text)
    with pytest.raises(UsageError, match="REALSR_CACHE_GB"):
        cache_bytes()
