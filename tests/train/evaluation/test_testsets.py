"""The layouts in which test sets come, and what is said about images without a partner."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from gen.testset import main as build_testset
from shared.errors import RunError, UsageError
from shared.images import encode_png
from shared.shards.reader import Dataset
from train.evaluation.testsets import open_testsets


def picture(value: int, height: int, width: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = value, 2 * value % 256, 7
    return image


def put(root: Path, *names: str, height: int = 32, width: int = 24) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode_png(picture(sum(name.encode()) % 128, height, width)))


def pairs(root: Path, lr: list[str], hr: list[str]) -> None:
    put(root, *lr, height=8, width=6)
    put(root, *hr)


def test_realsr_v3_is_one_set_per_camera(tmp_path):
    for camera in ("Canon", "Nikon"):
        folder = f"{camera}/Test/4/{camera}"
        pairs(tmp_path, [f"{folder}_001_LR4.png", f"{folder}_002_LR4.png"], [f"{folder}_00{i}_HR.png" for i in (1, 2)])
    canon, nikon = open_testsets([f"RealSR={tmp_path}"])
    assert [canon.name, nikon.name] == ["RealSR-Canon", "RealSR-Nikon"]
    assert (canon.names, canon.scale, canon.unmatched) == (["Canon_001", "Canon_002"], 4, [])
    assert canon.read(1).lr.shape == (8, 6, 3)
    assert canon.read(1).hr is not None
    assert canon.read(1).hr.shape == (32, 24, 3)
    (alone,) = open_testsets([str(tmp_path / "Canon" / "Test" / "4")])
    assert (alone.name, alone.names) == ("4", canon.names)


@pytest.mark.parametrize("above", [True, False])
def test_drealsr_marks_its_pairs_x1_and_x4(tmp_path, above):
    root = tmp_path / "Test_x4"
    pairs(root, ["test_LR/sony_7_x1.png"], ["test_HR/sony_7_x4.png"])
    (found,) = open_testsets([f"DRealSR={tmp_path if above else root}"])
    assert (found.names, found.scale) == (["sony_7"], 4)


@pytest.mark.parametrize("folders", [("test_LR", "test_HR"), ("LR", "HR"), ("lq", "gt")])
def test_crops_and_paired_folders_have_equal_names(tmp_path, folders):
    lr, hr = folders
    pairs(tmp_path, [f"{lr}/Canon_001_LR4.png"], [f"{hr}/Canon_001_LR4.png"])
    (found,) = open_testsets([str(tmp_path)])
    assert (found.name, found.names, found.photographs) == (tmp_path.name, ["Canon_001_LR4"], ["Canon_001_LR4"])


def test_two_folders_anywhere_are_a_pair(tmp_path):
    pairs(tmp_path, ["DIV2K_valid_LR_mild/0801x4.png"], ["DIV2K_valid_HR/0801.png"])
    (found,) = open_testsets([f"mild={tmp_path}/DIV2K_valid_LR_mild,{tmp_path}/DIV2K_valid_HR"])
    assert (found.name, found.names) == ("mild", ["0801"])


def test_pictures_without_a_partner_or_of_another_size_are_named(tmp_path):
    names = ["a", "b", "odd"]
    pairs(tmp_path, [f"LR/{n}.png" for n in [*names, "lonely"]], [f"HR/{n}.png" for n in [*names, "single"]])
    put(tmp_path, "HR/odd.png", height=36)
    put(tmp_path, "HR/b.png", height=35, width=27)
    (found,) = open_testsets([str(tmp_path)])
    assert found.names == ["a", "b"]
    assert found.unmatched == [
        "lonely.png has no HR image",
        "odd.png, 24 x 36 pixels, is not 4 times its LR, 6 x 8",
        "single.png has no LR image",
    ]
    assert found.read(1).hr is not None
    assert found.read(1).hr.shape == (32, 24, 3)  # what goes beyond 4 times the LR image is cut off


def test_lr_pictures_alone_have_no_reference(tmp_path):
    put(tmp_path, "one.jpg.png", "two.png", ".hidden.png")
    (tmp_path / "notes.txt").write_text("none")
    (found,) = open_testsets([f"old={tmp_path}"])
    assert (found.names, found.scale) == (["one.jpg", "two"], None)
    assert found.read(0).hr is None


def test_a_built_set_is_one_set_per_task(tmp_path):
    build_testset(["--out", str(tmp_path / "set"), "--workers", "1"])
    sets = open_testsets([f"DIV2K4Level={tmp_path}/set"])
    assert [found.name for found in sets] == [f"DIV2K4Level-{task}" for task in ("mild", "blur", "noise", "severe")]
    assert len({tuple(found.photographs) for found in sets}) == 1
    assert len({found.identify() for found in sets}) == 4
    assert not np.array_equal(sets[0].read(0).lr, sets[3].read(0).lr)
    assert np.array_equal(sets[0].read(0).hr, sets[3].read(0).hr)
    (tmp_path / "set" / "testset.json").unlink()
    with pytest.raises(RunError, match=r"testset\.json is missing: finish the set"):
        open_testsets([f"{tmp_path}/set"])


def test_shards_are_a_set(shards):
    (found,) = open_testsets([f"noise={shards}/noise-val"])
    rows = Dataset(shards / "noise-val")
    assert (len(found.names), found.scale) == (len(rows), 4)
    assert np.array_equal(found.read(3).lr, rows[3].lr)
    assert found.photographs[3] == rows.meta(3).hr_sha256


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["nothing"], "no folder"),
        (["a/b={}"], "no folder"),
        (["={}"], "must not be empty"),
        (["x={}", "x={}"], "two test sets are called 'x'"),
        (["{}/empty"], "holds no images"),
        (["x={}/LR,{}/nowhere"], "no folder .*nowhere"),
        (["x={}/LR,{}/strangers"], "no LR image has an HR image of its name in .*other.png has no LR image"),
    ],
)
def test_what_is_no_test_set_is_refused(texts, words, tmp_path):
    pairs(tmp_path, ["LR/a.png"], ["HR/a.png", "strangers/other.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=words):
        open_testsets([text.replace("{}", str(tmp_path)) for text in texts])


def test_names_that_meet_without_their_marks_are_refused(tmp_path):
    pairs(tmp_path, ["LR/a_x1.png", "LR/a_x2.png"], ["HR/a.png"])
    with pytest.raises(UsageError, match="would be the image 'a': keep one of them"):
        open_testsets([str(tmp_path)])


def test_a_damaged_picture_is_named(tmp_path):
    pairs(tmp_path, ["LR/a.png"], ["HR/a.png"])
    (found,) = open_testsets([str(tmp_path)])
    (tmp_path / "HR" / "a.png").write_bytes(b"none")
    with pytest.raises(RunError, match=r"HR/a\.png.*cannot be decoded"):
        found.read(0)
    with pytest.raises(UsageError, match=r"a\.png is unreadable"):
        open_testsets([str(tmp_path)])


@pytest.mark.parametrize("side", ["LR", "HR"])
def test_one_odd_file_is_left_out_by_name_and_stops_no_set(side, tmp_path):
    pairs(tmp_path, ["LR/a.png", "LR/b.png"], ["HR/a.png", "HR/b.png"])
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    (tmp_path / side / "a.png").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")  # closed again: it decodes
    (found,) = open_testsets([str(tmp_path)])
    assert (list(found.names), list(found.unmatched)) == (["b"], ["a.png is damaged"])
    assert found.read(0).hr is not None
    (plain,) = open_testsets([f"plain={tmp_path / side}"])
    assert (list(plain.names), list(plain.unmatched)) == (["b"], ["a.png is damaged"])
