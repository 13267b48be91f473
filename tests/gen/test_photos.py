"""Which pictures are used, on which side of the split, and where crops come from."""

import hashlib
import math
import os
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest

from shared.degradation.plan import draw_plan
from shared.errors import RunError, UsageError
from shared.images import decode
from shared.photos.crops import draw_crops
from shared.photos.find import HRImage, find_hr_images
from shared.photos.licences import NOT_GIVEN
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset


def ids(photos):
    return {photograph.id for photograph in photos.photographs}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_folders_named_lr_are_ignored_and_validation_folders_never_enter_train(picture, tmp_path):
    names = ["DIV2K_train_HR/1.png", "DIV2K_train_LR_bicubic/X4/2.png", "DIV2K_valid_HR/3.png", "test/4.png"]
    names += ["Flickr2K/HR/5.png", "Validation/6.png", "TEST set/7.png", ".cache/8.png", "a/.hidden.png", "9.png"]
    for seed, name in enumerate(names):
        picture(tmp_path / name, seed)
    valid = tmp_path / "DIV2K_valid_HR"
    for split in ("train", "val"):
        photos = find_hr_images(str(tmp_path), split, 76)
        assert ids(photos) <= {"DIV2K_train_HR/1.png", "Flickr2K/HR/5.png", "9.png"}
        assert photos.notes == (
            "ignored as hidden: .cache, a/.hidden.png",
            "ignored as low resolution by name: DIV2K_train_LR_bicubic/X4/2.png",
            "ignored as validation or test by name: DIV2K_valid_HR/3.png, TEST set/7.png, Validation/6.png and 1 more",
            f"{valid} is used in neither split: add --val-hr {valid} to validate on it",
        )


def test_what_is_ignored_is_printed(render, picture, tmp_path, capsys):
    for number in range(3):
        picture(tmp_path / "hr" / f"{number}.png", number)
    picture(tmp_path / "hr" / "valid" / "9.png", 9)
    render(tmp_path / "out", "--hr", str(tmp_path / "hr"))
    said, valid = capsys.readouterr().out, tmp_path / "hr" / "valid"
    assert "ignored as validation or test by name: valid/9.png\n" in said
    assert f"{valid} is used in neither split: add --val-hr {valid} to validate on it\n" in said
    render(tmp_path / "other", "--hr", str(tmp_path / "hr"), "--val-hr", str(valid))
    assert "used in neither split" not in capsys.readouterr().out


def test_a_folder_named_photos_is_taken_and_named(picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        picture(tmp_path / "photos" / f"{number}.png", number)
    photos = find_hr_images("photos", "train", 76)
    assert ids(photos) <= {"0.png", "1.png", "2.png"}
    assert any("those of the folder photos; scikit-image's are used where there is no" in note for note in photos.notes)


def test_validation_is_every_hash_that_is_0_mod_20(picture, tmp_path):
    paths = [picture(tmp_path / f"{seed}.png", seed, 76, 76) for seed in range(120)]
    expected = {path.name for path in paths if int(sha256(path), 16) % 20 == 0}
    assert 2 <= len(expected) <= 12
    val, train = (ids(find_hr_images(str(tmp_path), split, 76)) for split in ("val", "train"))
    assert val == expected
    assert train == {path.name for path in paths} - expected


def test_a_small_folder_gives_one_photograph_to_validation(hr):
    hashes = {path.name: sha256(path) for path in hr.iterdir()}
    assert not [name for name, value in hashes.items() if int(value, 16) % 20 == 0]
    val, train = (ids(find_hr_images(str(hr), split, 76)) for split in ("val", "train"))
    assert val == {min(hashes, key=hashes.__getitem__)}
    assert len(train) == 5
    assert not train & val


def test_a_copy_of_a_validation_photograph_stays_out_of_train(picture, hr, tmp_path):
    (held_out,) = find_hr_images(str(hr), "val", 76).photographs
    for path in hr.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "another.png").write_bytes((hr / held_out.id).read_bytes())
    val, train = (find_hr_images(str(tmp_path), split, 76) for split in ("val", "train"))
    assert ids(val) == {"another.png"}
    assert ids(train) == {path.name for path in hr.iterdir()} - {held_out.id}
    assert train.skipped == val.skipped == {"duplicate": 1}


def test_val_hr_gives_the_validation_photographs_and_takes_them_from_train(hr, picture, tmp_path):
    picture(tmp_path / "valid" / "new.png", 50)
    (tmp_path / "valid" / "known.png").write_bytes((hr / "p3.png").read_bytes())
    assert ids(find_hr_images(str(hr), "val", 76, str(tmp_path))) == {"valid/new.png", "valid/known.png"}
    assert ids(find_hr_images(str(hr), "train", 76, str(tmp_path))) == {f"p{i}.png" for i in (0, 1, 2, 4, 5)}


def test_photographs_of_scikit_image_keep_both_motorcycles_on_one_side():
    train, val = (find_hr_images("photos", split, 76) for split in ("train", "val"))
    assert ids(train) == {"astronaut.png", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg"}
    assert ids(val) == {"chelsea.png", "coffee.png"}
    assert {photograph.weight for photograph in train.photographs} == {1}
    assert all(photograph.licence != NOT_GIVEN for photograph in (*train.photographs, *val.photographs))


def test_pictures_passed_over_are_counted_in_the_manifest(render, hr, picture, tmp_path):
    folder = tmp_path / "hr"
    for path in hr.iterdir():
        picture(folder / path.name, decode(path.read_bytes(), path.name))
    picture(folder / "small.png", 9, 75, 300)
    (folder / "text.png").write_text("not a picture")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("not looked at")
    manifest = load_manifest(render(tmp_path / "out", "--hr", str(folder)))
    assert manifest.skipped == {"empty": 1, "smaller than the patch": 1, "unreadable": 1}
    assert "1 empty, 1 smaller than the patch, 1 unreadable" in (tmp_path / "out" / "noise" / "README.md").read_text()


@pytest.mark.parametrize("kind", ["grey", "grey 16 bits", "16 bits", "alpha", "16 bits alpha", "one bit"])
def test_every_kind_of_picture_becomes_8_bit_rgb(kind, picture, tmp_path):
    grey = np.arange(90 * 100, dtype=np.uint8).reshape(90, 100)
    colour = np.dstack([grey, grey[::-1], grey[:, ::-1]])
    alpha = np.dstack([colour, np.full_like(grey, 7)])
    given, expected = {
        "grey": (grey, np.dstack([grey] * 3)),
        "grey 16 bits": (grey * np.uint16(257), np.dstack([grey] * 3)),
        "16 bits": (colour * np.uint16(257), colour),
        "alpha": (alpha, colour),
        "16 bits alpha": (alpha * np.uint16(257), colour),
        "one bit": ((grey > 127) * np.uint8(255), np.dstack([(grey > 127) * np.uint8(255)] * 3)),
    }[kind]
    path = picture(tmp_path / "picture.png", given)
    if kind == "one bit":
        path.write_bytes(cv2.imencode(".png", given, (cv2.IMWRITE_PNG_BILEVEL, 1))[1].tobytes())
    decoded = decode(path.read_bytes(), path.name)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, expected)


def test_a_truncated_image_is_skipped_rather_than_half_grey(picture, tmp_path):
    for ending in (".png", ".jpg"):
        path = picture(tmp_path / f"whole{ending}", 1, 200, 200)
        data = path.read_bytes()
        path.with_stem("cut").write_bytes(data[: len(data) // 2])
    photos = find_hr_images(
        str(tmp_path), "train", 76, val_hr=str(picture(tmp_path / "v" / "valid" / "x.png", 5).parent)
    )
    assert not any(name.startswith("cut") for name in ids(photos))
    assert photos.skipped == {"damaged": 1, "unreadable": 1}
    assert photos.notes[1:] == ("skipped as damaged: cut.jpg", "skipped as unreadable: cut.png")


def test_of_many_pictures_passed_over_the_first_are_named(picture, hr, tmp_path):
    shutil.copytree(hr, tmp_path / "hr")
    for number in range(5):
        picture(tmp_path / "hr" / f"small{number}.png", number, 75, 300)
    notes = find_hr_images(str(tmp_path / "hr"), "train", 76).notes
    assert notes == ("skipped as smaller than the patch: small0.png, small1.png, small2.png and 2 more",)


@pytest.mark.parametrize(
    "name",
    ["with space.png", "ünïcödé 写真.png", "new\nline.png", "back\\slash|pipe.png", "UPPER.PNG", b"latin-\xe9.png"],
)
def test_any_file_name_will_do(name, render, picture, tmp_path):
    folder = tmp_path / "hr"
    path = folder / os.fsdecode(name)
    source = picture(tmp_path / "source.png", 1)
    folder.mkdir()
    path.write_bytes(source.read_bytes())
    dataset = Dataset(render(tmp_path / "out", "--split", "val", "--hr", str(folder)))
    expected = name if isinstance(name, str) else "latin-\\xe9.png"
    assert {dataset[row].row.hr_id for row in range(10)} == {expected}


def test_photographs_are_visited_in_proportion_to_their_area():
    """Each count is binomial; 4.4 standard deviations are passed by chance once in 100 000 seeds."""
    sizes = [(100, 100), (200, 300), (1000, 500)]
    photographs = [HRImage(str(n), "", "", h, w, h * w, "") for n, (h, w) in enumerate(sizes)]
    num_rows = 20_000
    crops = list(draw_crops(photographs, range(num_rows), seed=0, subspace="noise", split="train", patch=76))
    counts = Counter(crop.photograph.id for crop in crops)
    total = sum(h * w for h, w in sizes)
    for number, (height, width) in enumerate(sizes):
        share = height * width / total
        deviation = math.sqrt(num_rows * share * (1 - share))
        assert abs(counts[str(number)] - num_rows * share) < 4.4 * deviation


def test_crops_reach_every_corner_and_never_leave_the_picture():
    """Of 25 corners each is missed by 2 000 rows with probability 1e-34."""
    photographs = [HRImage("0", "", "", 80, 80, 1, "")]
    crops = draw_crops(photographs, range(2000), seed=0, subspace="noise", split="train", patch=76)
    assert {(crop.y, crop.x) for crop in crops} == {(y, x) for y in range(5) for x in range(5)}


def test_a_red_photograph_stays_red_from_file_to_lr(render, picture, tmp_path):
    red = np.zeros((90, 100, 3), np.uint8)
    red[..., 0] = 220
    red[::2, ::2, 1:] = 30
    picture(tmp_path / "hr" / "red.png", red)
    dataset = Dataset(render(tmp_path / "out", "--split", "val", "--hr", str(tmp_path / "hr")))
    for hr, lr, _ in (dataset[row] for row in range(10)):
        assert np.array_equal(hr[..., 0], np.full((76, 76), 220))
        assert lr[..., 0].mean() > 180
        assert lr[..., 1].mean() < 40
        assert lr[..., 2].mean() < 40


def test_a_missing_folder_is_named():
    with pytest.raises(UsageError, match="hr is '/no/such/folder': no such folder"):
        find_hr_images("/no/such/folder", "train", 76)
    with pytest.raises(UsageError, match="val_hr is '/no/such/folder': no such folder"):
        find_hr_images("photos", "val", 76, "/no/such/folder")


def test_the_only_photograph_belongs_to_validation(picture, tmp_path):
    picture(tmp_path / "only.png", 1)
    assert ids(find_hr_images(str(tmp_path), "val", 76)) == {"only.png"}
    with pytest.raises(RunError, match=r"1 image held out for validation: only\.png is the only one and is there"):
        find_hr_images(str(tmp_path), "train", 76)


def test_rows_are_drawn_by_the_published_sampler(rendered):
    from gen.recipe import Recipe

    dataset = Dataset(rendered)
    box = Recipe.from_dict(dataset.manifest.recipe).box()
    for row in range(10):
        plan = draw_plan(box, seed=0, split="train", row=row, height=76, width=76, scale=4)
        assert dataset[row].row.plan == plan.to_json()
