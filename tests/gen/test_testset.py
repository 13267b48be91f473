"""Whole-image test sets: what is in them, that they resume, and that nothing is mixed."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from gen.testset import main as build
from shared.degradation.cpu import render
from shared.degradation.plan import Plan
from shared.errors import RunError, UsageError, run_command
from shared.images import decode, encode_png
from shared.shards.testset import load_testset

TASKS = ["mild", "blur", "noise", "severe"]


def picture(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    """DIV2K's layout: a folder whose name says valid, and its LR pictures beside."""
    folder = tmp_path / "DIV2K"
    for name, image in {
        "DIV2K_valid_HR/0801.png": picture(1, 80, 100),
        "DIV2K_valid_HR/0802.png": picture(2, 79, 83),
        "DIV2K_valid_LR_bicubic/X4/0801x4.png": picture(3, 80, 80),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_png(image))
    return folder


def read(path: Path) -> np.ndarray:
    return decode(path.read_bytes(), path.name)


def files(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def test_every_lr_image_is_its_stored_plan_applied_to_the_whole_picture(hr, tmp_path):
    out = tmp_path / "set"
    assert build(["--hr", str(hr), "--out", str(out), "--workers", "1"]) == 0
    record = load_testset(out)
    assert (record.name, record.scale, record.tasks) == ("div2k4level", 4, TASKS)
    names = ["DIV2K_valid_HR-0801", "DIV2K_valid_HR-0802"]
    assert [(i.name, i.height, i.width) for i in record.images] == [(names[0], 80, 100), (names[1], 76, 80)]
    assert np.array_equal(read(out / f"HR/{names[1]}.png"), picture(2, 79, 83)[:76, :80])
    plans = set()
    for image in record.images:
        whole = read(out / f"HR/{image.name}.png")
        for task in TASKS:
            text = (out / f"plans/{task}/{image.name}.json").read_text()
            lr = out / f"LR/{task}/{image.name}.png"
            assert np.array_equal(read(lr), render(whole, Plan.from_json(text)))
            assert hashlib.sha256(lr.read_bytes()).hexdigest() == image.lr_sha256[task]
            plans.add(text)
    assert len(plans) == 8


def test_workers_and_an_interruption_change_nothing(hr, tmp_path, capsys):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    build(["--hr", str(hr), "--out", str(whole), "--workers", "1"])
    build(["--hr", str(hr), "--out", str(resumed), "--workers", "2"])
    assert files(resumed) == files(whole)
    lost = resumed / "plans" / "blur" / "DIV2K_valid_HR-0802.json"
    lost.unlink()
    (resumed / "testset.json").unlink()
    (resumed / "LR" / "blur" / ".tmp-leftover.png").touch()
    kept = (resumed / "LR" / "mild" / "DIV2K_valid_HR-0801.png").stat().st_mtime_ns
    with pytest.raises(RunError, match=r"testset.json is missing: finish the set with realsr testset"):
        load_testset(resumed)
    capsys.readouterr()
    build(["--hr", str(hr), "--out", str(resumed), "--workers", "1"])
    assert "1 of 2 to render" in capsys.readouterr().out
    assert files(resumed) == files(whole)
    assert (resumed / "LR" / "mild" / "DIV2K_valid_HR-0801.png").stat().st_mtime_ns == kept


def test_a_picture_gets_the_same_lr_images_in_every_set(hr, tmp_path):
    build(["--hr", str(hr), "--out", str(tmp_path / "all"), "--workers", "1"])
    (hr / "DIV2K_valid_HR" / "0801.png").unlink()
    build(["--hr", str(hr), "--out", str(tmp_path / "one"), "--workers", "1"])
    name = "LR/severe/DIV2K_valid_HR-0802.png"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()


def test_the_random_set_has_one_task_of_the_full_space(hr, tmp_path):
    build(["--name", "div2k-random", "--hr", str(hr), "--out", str(tmp_path / "set"), "--workers", "1"])
    record = load_testset(tmp_path / "set")
    assert (record.tasks, record.recipe["space"]) == (["full"], "realesrgan")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--seed", "1"], "seed: 0 -> 1"),
        (["--scale", "2"], "scale: 4 -> 2"),
        (["--name", "div2k-random"], "name: div2k4level -> div2k-random; space: paper -> realesrgan"),
        (["--partition", "1x2"], "partition: 2x2 -> 1x2"),
    ],
)
def test_another_set_in_the_same_folder_is_refused(hr, tmp_path, change, words):
    command = ["--hr", str(hr), "--out", str(tmp_path / "set"), "--workers", "1"]
    build(command)
    before = files(tmp_path / "set")
    with pytest.raises(UsageError, match=f"holds another test set .*{words}"):
        build([*command, *change])
    assert files(tmp_path / "set") == before


def test_a_dry_run_writes_nothing(hr, tmp_path, capsys):
    build(["--hr", str(hr), "--out", str(tmp_path / "set"), "--dry-run"])
    assert "2 of 2 to render" in capsys.readouterr().out
    assert not (tmp_path / "set").exists()


def test_names_that_would_meet_are_refused(hr, tmp_path):
    (hr / "DIV2K_valid_HR" / "0801.jpg").write_bytes(encode_png(picture(9, 80, 80)))
    with pytest.raises(UsageError, match="would both be called 'DIV2K_valid_HR-0801'"):
        build(["--hr", str(hr), "--out", str(tmp_path / "set")])


@pytest.mark.parametrize("arguments", [["--name", "set5"], ["--scale", "0"], ["--space", "x"], ["--partition", "3"]])
def test_what_cannot_be_meant_is_refused(arguments, tmp_path, capsys):
    assert run_command(build, [*arguments, "--out", str(tmp_path / "set")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_failed_picture_is_named_and_tried_again(hr, tmp_path, capsys, monkeypatch):
    command = ["--hr", str(hr), "--out", str(tmp_path / "set"), "--workers", "1"]
    with monkeypatch.context() as broken:
        broken.setattr("shared.degradation.cpu.render", lambda *_: (_ for _ in ()).throw(MemoryError("no memory")))
        broken.setattr("gen.testset._calibrate", lambda work: (1e-9, 1))
        assert run_command(build, command) == 1
    assert "failed: DIV2K_valid_HR/0801.png: no memory" in capsys.readouterr().err
    assert not (tmp_path / "set" / "testset.json").exists()
    assert build(command) == 0
