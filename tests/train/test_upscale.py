"""`train.upscale`: pictures of every kind, in folders, in tiles, again and again."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import run_command
from train.evaluation import upscale_images
from train.upscale import main as upscale


def smooth(seed: int, height: int, width: int, *channels: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((4, 4, *channels))
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def write(path: Path, picture: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
    return picture


def read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


@pytest.mark.parametrize(("dtype", "levels"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_depth_and_channels_are_kept(dtype, levels, channels, checkpoint, tmp_path):
    small = write(tmp_path / "in.png", (smooth(1, 20, 30, *channels) * levels).round().astype(dtype))
    assert upscale([str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--checkpoint", str(checkpoint)]) == 0
    large = read(tmp_path / "out.png")
    assert (large.shape, large.dtype) == ((80, 120, *channels), dtype)
    expected = cv2.resize(small, (120, 80), interpolation=cv2.INTER_CUBIC).astype(float)
    assert np.abs(large - expected).max() < 0.08 * levels  # the network is close to bilinear upscaling
    if dtype == np.uint16:
        assert len(np.unique(large)) > 256


def test_an_opaque_picture_and_its_grey_copy_look_alike(checkpoint, tmp_path):
    grey = write(tmp_path / "in" / "grey.png", (smooth(2, 16, 16) * 255).astype(np.uint8))
    write(tmp_path / "in" / "colour.png", cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    upscale([str(tmp_path / "in"), str(tmp_path / "out"), "--checkpoint", str(checkpoint)])
    a, b = (read(tmp_path / "out" / f"{name}.png") for name in ("grey", "colour"))
    assert np.array_equal(a, cv2.cvtColor(b, cv2.COLOR_BGR2GRAY))


def test_folders_keep_their_structure_and_what_is_there_is_skipped(checkpoint, tmp_path, capsys):
    for name in ("a.png", "deep/b.jpg", "deep/er/c.webp"):
        write(tmp_path / "in" / name, (smooth(3, 12, 12, 3) * 255).astype(np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    out = tmp_path / "in" / "out"  # within the input, as people do
    command = [str(tmp_path / "in"), str(out), "--checkpoint", str(checkpoint)]
    assert upscale(command) == 0
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == ["a.png", "deep/b.png", "deep/er/c.png"]
    (out / "a.png").unlink()
    times = (out / "deep" / "b.png").stat().st_mtime_ns
    capsys.readouterr()
    assert upscale(command) == 0
    assert "1 pictures x4" in capsys.readouterr().out
    assert (out / "deep" / "b.png").stat().st_mtime_ns == times
    upscale([*command, "--overwrite"])
    assert "3 pictures x4" in capsys.readouterr().out


def test_tiles_change_nothing(checkpoint, tmp_path):
    write(tmp_path / "in.png", (smooth(4, 40, 56, 3) * 255).astype(np.uint8))
    for name, options in {"whole": [], "tiled": ["--tile", "16", "--overlap", "16"]}.items():
        upscale([str(tmp_path / "in.png"), str(tmp_path / f"{name}.png"), "--checkpoint", str(checkpoint), *options])
    whole, tiled = (read(tmp_path / f"{name}.png").astype(int) for name in ("whole", "tiled"))
    assert np.abs(whole - tiled).max() <= 1


def test_an_interruption_leaves_no_part_of_a_picture(checkpoint, tmp_path, monkeypatch):
    for name in "abc":
        write(tmp_path / "in" / f"{name}.png", (smooth(5, 12, 12, 3) * 255).astype(np.uint8))
    original, seen = upscale_images.upscale_image, []

    def interrupted(*arguments):
        seen.append(arguments)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    command = [str(tmp_path / "in"), str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    with monkeypatch.context() as context:
        context.setattr(upscale_images, "upscale_image", interrupted)
        assert run_command(upscale, command) == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    assert run_command(upscale, command) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_damaged_picture_is_named_and_the_others_are_enlarged(checkpoint, tmp_path, capsys):
    write(tmp_path / "in" / "b.png", (smooth(6, 12, 12, 3) * 255).astype(np.uint8))
    (tmp_path / "in" / "a.png").write_bytes(b"none")
    (tmp_path / "in" / "c.png").write_bytes((tmp_path / "in" / "b.png").read_bytes()[:200])
    command = [str(tmp_path / "in"), str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    assert run_command(upscale, command) == 1
    errors = capsys.readouterr().err
    assert "a.png" in errors
    assert "of 3 pictures could not be upscaled" in errors
    assert (tmp_path / "out" / "b.png").is_file()


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("nowhere", "out", "no such file or folder"),
        ("in/a.png", "out.jpg", "must be a .png file"),
        ("in", "in", "must be a folder, and not the input"),
        ("in", "in/a.png", "must be a folder, and not the input"),
        ("empty", "out", "holds no pictures"),
        ("twice", "out", "would both become"),
    ],
)
def test_what_cannot_be_meant_is_refused(source, target, words, checkpoint, tmp_path, capsys):
    for name in ("in/a.png", "twice/a.png", "twice/a.jpg"):
        write(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "empty").mkdir()
    command = [str(tmp_path / source), str(tmp_path / target), "--checkpoint", str(checkpoint)]
    assert run_command(upscale, command) == 2
    assert words in capsys.readouterr().err
