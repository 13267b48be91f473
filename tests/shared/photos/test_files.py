"""Every image file below a folder is found once, and nothing is passed over in silence."""

import os
from pathlib import Path

import numpy as np
import pytest

from shared.images import encode_png
from shared.photos.files import image_id, list_images
from shared.photos.find import find_hr_images


def image(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.full((8, 8, 3), level, np.uint8)))


def ids(folder: Path) -> list[str]:
    return [image_id(path, folder) for path in list_images(folder).files]


def test_linked_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    for name in ("hr/a/1.png", "elsewhere/DIV2K/2.png", "elsewhere/DIV2K/deep/3.png"):
        image(tmp_path / name)
    (tmp_path / "hr/div2k").symlink_to(tmp_path / "elsewhere/DIV2K")
    (tmp_path / "elsewhere/DIV2K/deep/back").symlink_to(tmp_path / "hr")
    (tmp_path / "hr/0").symlink_to(tmp_path / "hr/a")  # the folder itself comes first
    assert ids(tmp_path / "hr") == ["a/1.png", "div2k/2.png", "div2k/deep/3.png"]
    passed = list_images(tmp_path / "hr").passed
    assert passed == {"linked folders that were read already": ["0", "div2k/deep/back"]}


def test_what_is_passed_over_is_named_by_reason(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    for name in ("b.heic", "c.AVIF", "d.jfif", "e.jp2", "f.gif", ".g.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "h.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "i.jpg")
    (tmp_path / ".cache").mkdir()
    listing = list_images(tmp_path)
    assert [path.name for path in listing.files] == ["a.png"]
    assert listing.passed == {
        "of another kind": ["b.heic", "c.AVIF", "d.jfif", "e.jp2", "f.gif"],
        "hidden": [".cache", ".g.png"],
        "unreadable": ["h.png", "i.jpg"],
    }


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "a.png")
    image(tmp_path / "locked" / "b.png")
    scandir = os.scandir

    def guarded(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert list_images(tmp_path).passed == {"unreadable folders": ["locked"]}


def test_passed_over_files_are_counted_and_told(tmp_path: Path) -> None:
    for level in range(4):
        image(tmp_path / f"{level}.png", level)
    (tmp_path / "phone.HEIC").touch()
    photos = find_hr_images(str(tmp_path), "train", 8)
    assert photos.skipped == {"of another kind": 1}
    assert photos.notes == ("skipped as of another kind: phone.HEIC",)


def test_a_folder_named_photos_is_that_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "astronaut.png" in {p.id for p in find_hr_images("photos", "train", 8).photographs}
    for level in range(3):
        image(tmp_path / "photos" / f"{level}.png", level)
    for split, count in (("train", 2), ("val", 1)):
        assert len(find_hr_images("photos", split, 8).photographs) == count
