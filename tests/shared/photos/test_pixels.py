"""Listed photographs become pixels once a machine, and only if they are still those that were listed."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import RunError
from shared.images import encode_png
from shared.photos.find import HRImage
from shared.photos.photo_cache import fetch, read

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def photograph(tmp_path: Path) -> HRImage:
    """A listed file of random pixels."""
    path, data = tmp_path / "a.png", encode_png(IMAGE)
    path.write_bytes(data)
    return HRImage("a.png", str(path), hashlib.sha256(data).hexdigest(), 40, 50, weight=1, licence="CC0-1.0")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for kept pixels."""
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_needs_its_file_no_longer(photograph, cache) -> None:
    for _ in range(2):
        image, is_kept = fetch(photograph)
        assert is_kept
        assert np.array_equal(image, IMAGE)
        Path(photograph.path).unlink(missing_ok=True)


def test_what_cannot_be_kept_is_decoded_every_time(photograph) -> None:
    image, is_kept = fetch(photograph)
    assert not is_kept
    assert np.array_equal(image, IMAGE)
    Path(photograph.path).unlink()
    with pytest.raises(RunError, match="cannot be read now"):
        fetch(photograph)


def test_a_reduced_copy_is_kept_at_its_size_beside_the_whole(photograph, cache) -> None:
    copy = replace(photograph, id="a.png@0.5", height=20, width=25, reduced=True)
    for _ in range(2):
        assert np.array_equal(fetch(copy)[0], copy.fit(IMAGE))
        assert np.array_equal(fetch(photograph)[0], IMAGE)
    assert len(list(cache.iterdir())) == 2


def test_errors_say_what_happened_to_which_file_and_what_to_do(photograph, cache) -> None:
    path = Path(photograph.path)
    not_a_picture = replace(photograph, sha256=hashlib.sha256(b"text").hexdigest())
    path.write_bytes(b"text")
    with pytest.raises(RunError, match=rf"^HR image {path} cannot be decoded: .*listed: is memory short\?$"):
        fetch(not_a_picture)
    with pytest.raises(
        RunError,
        match=rf"^HR image {path} has changed since it was listed: images must stay as they are .*; run it again$",
    ):
        fetch(photograph)
    path.unlink()
    with pytest.raises(
        RunError,
        match=rf"^HR image {path} was listed but cannot be read now \(No such file or directory\): put it back",
    ):
        read(photograph)
    assert not cache.exists()
