"""A dataset that grows keeps the HR list of its manifest, whatever the rules of the split have become since."""

import pytest

from shared.errors import UsageError
from shared.photos import split
from shared.photos.find import find_hr_images
from shared.shards.manifest import load_manifest


@pytest.fixture
def folder_of_images(picture, tmp_path):
    """Images whose names an older rule read otherwise: `dev/` was used."""
    for number, name in enumerate(("a.png", "b.png", "c.png", "dev/d.png", "dev/e.png")):
        picture(tmp_path / "hr" / name, number, 120, 130)
    return tmp_path / "hr"


@pytest.fixture
def old(folder_of_images, render, tmp_path, monkeypatch):
    """A dataset of seven rows by the older rule, and its options."""
    hr = folder_of_images
    options = ("--hr", str(hr), "--multiscale", "--licence", "CC0-1.0")
    with monkeypatch.context() as older:
        older.setattr(split, "HELD_OUT_WORDS", {"val"})
        folder = render(tmp_path / "out", *options, "--count", "7")
        whole = render(tmp_path / "whole", *options, "--count", "14")
    ids = {photo["id"] for photo in load_manifest(folder).photographs}
    assert ids & {"dev/d.png", "dev/e.png"}
    assert "dev/d.png" not in {p.id for p in find_hr_images(str(hr), "train", 76).photographs}
    return folder, whole, options


def test_it_grows_byte_for_byte_and_says_what_it_leaves_out(old, folder_of_images, picture, render, contents, capsys):
    folder, whole, options = old
    picture(folder_of_images / "new.png", 9)
    capsys.readouterr()
    render(folder.parent, *options, "--count", "14")
    said = capsys.readouterr().out
    assert "the dataset keeps its list of HR images, without 2 files: " in said  # the new one, and that of val
    assert "new.png" in said
    grown, at_once = contents(folder), contents(whole)
    tars = [name for name in at_once if name.endswith((".tar", ".idx"))]
    assert [grown[name] for name in tars] == [at_once[name] for name in tars]
    assert load_manifest(folder).photographs == load_manifest(whole).photographs


@pytest.mark.parametrize("change", ["gone", "other"])
def test_an_image_that_is_not_there_as_listed_is_another_dataset(change, old, folder_of_images, picture, render):
    folder, _, options = old
    listed = next(photo["id"] for photo in load_manifest(folder).photographs)
    if change == "gone":
        (folder_of_images / listed).unlink()
    else:
        picture(folder_of_images / listed, 77, 120, 130)
    with pytest.raises(UsageError, match="photographs: other"):
        render(folder.parent, *options, "--count", "14")


def test_another_licence_is_another_dataset(old, render):
    folder, _, options = old
    with pytest.raises(UsageError, match="photographs: other"):
        render(folder.parent, *options, "--licence", "CC-BY-4.0", "--count", "14")


def test_a_validation_folder_that_shows_listed_images_is_another_dataset(old, folder_of_images, render, tmp_path):
    folder, _, options = old
    listed = next(photo["id"] for photo in load_manifest(folder).photographs)
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "x.png").write_bytes((folder_of_images / listed).read_bytes())
    with pytest.raises(UsageError, match="photographs: other"):
        render(folder.parent, *options, "--count", "14", "--val-hr", str(tmp_path / "v"))


def test_without_its_validation_folder_a_list_that_holds_held_out_scenes_is_not_kept(picture, render, tmp_path):
    """Of 40 images two are held out by hash on average; with a validation folder all are used."""
    for number in range(40):
        picture(tmp_path / "hr" / f"{number}.png", number, 76, 76)
    picture(tmp_path / "v" / "v.png", 99)
    options = ("--hr", str(tmp_path / "hr"), "--count", "4")
    render(tmp_path / "out", *options, "--val-hr", str(tmp_path / "v"))
    assert len(load_manifest(tmp_path / "out" / "noise").photographs) == 40
    render(tmp_path / "out", *options, "--val-hr", str(tmp_path / "v"), "--count", "8")
    with pytest.raises(UsageError, match="photographs: other"):
        render(tmp_path / "out", *options)
