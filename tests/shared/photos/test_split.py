"""Names are read as whole words, and copies of a scene stay on one side of the split."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import RunError
from shared.images import encode_png
from shared.photos.find import find_hr_images
from shared.photos.split import HELD_OUT, LOW_RESOLUTION, ignored, scenes

LOW = "lr/1.png lq/1.png LR/1.png low/1.png Low-Res/1.png DIV2K_train_LR_bicubic/X4/1x4.png Set5/LRbicx4/baby.png"
LOW += " X2/1.png"
LOW += " bicubic_x4/1.png bicubicX3/1.png DSC_LR2.png a/img-LQ.png a/img_low.png 0801x4.png img_x2.png trainLR/1.png"
VAL = "val/1.png valid/1.png Validation/1.png val2017/1.jpg eval/1.png dev/1.png test/1.png TEST set/1.png testA/1.png"
VAL += " DIV2K_valid_HR/1.png a/HRval/b/1.png"
USED = "DSLR/1.png Latest/1.png contest_winners/1.png validated/1.png slow/1.png attestation/1.png development/1.png"
USED += " DIV2K_train_HR/0001.png phoenix2.jpg 4x4.jpg low_tide.jpg x2.png test.png Valencia/1.png Flickr2K/2.png"


@pytest.mark.parametrize(
    ("names", "held_out", "reason"),
    [
        (LOW, False, LOW_RESOLUTION),
        (LOW, True, LOW_RESOLUTION),
        (VAL, False, HELD_OUT),
        (VAL, True, None),
        (USED, False, None),
        (USED, True, None),
    ],
)
def test_names_are_read_as_whole_words_in_any_case(names: str, held_out: bool, reason: str | None) -> None:
    for name in names.replace("TEST set", "TEST-set").split():
        assert (name, ignored(name, {"0001"}, held_out)) == (name, reason)


def test_a_scaled_copy_is_known_by_its_original_beside_it() -> None:
    assert ignored("babyx4.png", {"babyx4", "baby"}, held_out=False) == LOW_RESOLUTION
    assert ignored("foxx4.png", {"foxx4", "baby"}, held_out=False) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("hr/1.png tiles/1_s001.png tiles/1_s002.png tiles/2_s001.png", "abcd -> aaad"),
        ("multi/1T0.png multi/1T1.png tiles/1T0_s001.png tiles/1_s001.png", "abcd -> aaaa"),
        ("sky/1.png sea/1.png sea/2.png", "abc -> abc"),  # folders that number their scenes alike
        ("sky/1_s001.png sea/1_s001.png sea/1_s002.png", "abc -> abb"),
        ("sky/1.png sky/1_s001.png sea/1.png sea/1_s001.png", "abcd -> aacc"),
        ("hr/1.png sky/1_s001.png sea/1_s001.png", "abc -> aaa"),  # whose tile? on one side, to be safe
        ("a_s01.png a.png aT.png", "abc -> abc"),
    ],
)
def test_copies_by_name_belong_to_the_scene_of_their_original(names: str, expected: str) -> None:
    digests, scene = expected.split(" -> ")
    found = scenes(dict(zip(names.split(), digests, strict=True)), {digest: digest for digest in digests})
    assert "".join(found[digest] for digest in digests) == scene


def test_equal_pixels_in_other_bytes_are_one_scene() -> None:
    assert scenes({"x": "b", "y": "c", "z": "d"}, {"b": "1", "c": "2", "d": "1"}) == {"b": "b", "c": "c", "d": "b"}


def _sides(folder: Path, val_hr: Path | None = None) -> tuple[set[str], set[str]]:
    val, train = (
        find_hr_images(str(folder), split, 8, val_hr and str(val_hr)).photographs for split in ("val", "train")
    )
    return {p.id for p in val}, {p.id for p in train}


def test_tiles_of_a_validation_scene_never_enter_train(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for scene in range(40):
        for tile in range(3):
            image = draws.integers(0, 256, (8, 8, 3), np.uint8)
            (tmp_path / f"{scene:04}_s{tile:03}.png").write_bytes(encode_png(image))
    val, train = _sides(tmp_path)
    assert len(val) % 3 == 0
    assert len(val) + len(train) == 120
    assert {name[:4] for name in val}.isdisjoint(name[:4] for name in train)


def test_a_picture_in_other_bytes_follows_the_validation_folder(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    (tmp_path / "hr").mkdir()
    (tmp_path / "v").mkdir()
    for number, image in enumerate(images):
        (tmp_path / "hr" / f"{number}.png").write_bytes(encode_png(image))
    (tmp_path / "hr" / "1_s001.png").write_bytes(encode_png(images[1, ::-1]))
    Image.fromarray(images[1]).save(tmp_path / "v" / "known.bmp")
    assert _sides(tmp_path / "hr", tmp_path / "v") == ({"known.bmp"}, {"0.png", "2.png"})


def test_the_scenes_of_given_hashes_are_held_out(tmp_path: Path) -> None:
    images = np.random.default_rng(2).integers(0, 256, (4, 8, 8, 3), np.uint8)
    for name, image in zip(("a.png", "b.png", "b_s001.png", "c.png"), images, strict=True):
        (tmp_path / name).write_bytes(encode_png(image))
    whole = {p.id: p for split in ("train", "val") for p in find_hr_images(str(tmp_path), split, 8).photographs}
    train = find_hr_images(str(tmp_path), "train", 8, held_out={whole["b.png"].sha256}).photographs
    assert {"b.png", "b_s001.png"}.isdisjoint(p.id for p in train)


def test_one_scene_is_said_to_be_held_out(tmp_path: Path) -> None:
    for tile in range(4):
        (tmp_path / f"a_s00{tile}.png").write_bytes(encode_png(np.full((8, 8, 3), tile, np.uint8)))
    with pytest.raises(RunError, match=r"4 images held out for validation: a_s000.png, .* and 1 more shows one scene"):
        find_hr_images(str(tmp_path), "train", 8)


def test_the_error_says_what_was_ignored(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "a.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(RunError, match=r"1 ignored as validation or test by name \(val/a.png\)"):
        find_hr_images(str(tmp_path), "train", 8)
