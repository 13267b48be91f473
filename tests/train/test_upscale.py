"""`train.upscale`: images of every kind, in folders, in tiles, again and again."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from safetensors.torch import save_file

from shared.errors import run_command
from train.evaluation import upscale_images
from train.networks.weights import NetworkSpec
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
    assert "1 image x4" in capsys.readouterr().out
    assert (out / "deep" / "b.png").stat().st_mtime_ns == times
    upscale([*command, "--overwrite"])
    assert "3 images x4" in capsys.readouterr().out


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
    assert "of 3 images could not be upscaled" in errors
    assert (tmp_path / "out" / "b.png").is_file()


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("nowhere", "out", "no such file or folder"),
        ("in/a.png", "out.bmp", "must be a file (.png"),
        ("in", "in", "must be a folder, and not the input"),
        ("in", "in/a.png", "must be a folder, and not the input"),
        ("empty", "out", "holds no images"),
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


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("name", ["in.png", "in.jpg", "in.webp", "in.tif"])
def test_a_colour_profile_is_kept(name, checkpoint, tmp_path):
    Image.fromarray((smooth(7, 12, 12, 3) * 255).astype(np.uint8)).save(tmp_path / name, icc_profile=PROFILE)
    assert upscale([str(tmp_path / name), str(tmp_path / "out.png"), "--checkpoint", str(checkpoint)]) == 0
    with Image.open(tmp_path / "out.png") as large:
        assert large.info["icc_profile"] == PROFILE
        assert large.size == (48, 48)
    assert read(tmp_path / "out.png").shape == (48, 48, 3)


def test_the_profile_of_other_colours_is_not_kept(checkpoint, tmp_path):
    image = Image.fromarray((smooth(8, 12, 12) * 255).astype(np.uint8))
    image.save(tmp_path / "grey.png", icc_profile=PROFILE)  # for three channels
    assert upscale([str(tmp_path / "grey.png"), str(tmp_path / "out.png"), "--checkpoint", str(checkpoint)]) == 0
    with Image.open(tmp_path / "out.png") as large:
        assert (large.mode, large.info.get("icc_profile")) == ("L", None)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["in.png", "in.webp"])
def test_an_image_with_alpha_is_turned_as_its_exif_says(name, orientation, checkpoint, tmp_path):
    image = (smooth(9, 12, 20, 4) * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(image).save(tmp_path / name, lossless=True, exif=exif, exact=True)
    with Image.open(tmp_path / name) as given:
        upright = np.asarray(ImageOps.exif_transpose(given))
    Image.fromarray(upright).save(tmp_path / "upright.png")
    for source, target in ((name, "turned"), ("upright.png", "plain")):
        upscale([str(tmp_path / source), str(tmp_path / f"{target}.png"), "--checkpoint", str(checkpoint)])
    turned, plain = (read(tmp_path / f"{target}.png") for target in ("turned", "plain"))
    assert turned.shape == (*(4 * side for side in upright.shape[:2]), 4)
    assert np.array_equal(turned, plain)


def test_a_transparent_colour_becomes_alpha(checkpoint, tmp_path):
    grey = (smooth(10, 12, 12) * 255).astype(np.uint8)
    grey[:6] = 7
    Image.fromarray(grey).save(tmp_path / "in.png", transparency=7)
    assert upscale([str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--checkpoint", str(checkpoint)]) == 0
    large = read(tmp_path / "out.png")
    assert large.shape == (48, 48, 4)
    assert (large[0, 0, 3], large[-1, -1, 3]) == (0, 255)


NETWORKS = {
    "msrresnet": {"num_feat": 4, "num_block": 1},
    "rrdbnet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 4},
    "swinir": {"embed_dim": 8, "num_groups": 1, "depth": 2, "num_heads": 2, "window_size": 8},
    "hat": {"embed_dim": 36, "num_groups": 1, "depth": 2, "num_heads": 2, "compress_ratio": 3, "squeeze_factor": 12},
}


@pytest.mark.parametrize(("name", "scale"), [(name, scale) for name in NETWORKS for scale in (2, 4)])
def test_images_of_a_few_pixels_pass_through_every_network(name, scale, tmp_path, capsys):
    spec = NetworkSpec(name, NETWORKS[name], scale)
    metadata = {"network": json.dumps({"name": name, "options": NETWORKS[name], "scale": scale})}
    save_file(spec.build(1).state_dict(), tmp_path / "net.safetensors", metadata)
    sizes = ((1, 1), (3, 3), (1, 19), (2, 5))
    for height, width in sizes:
        write(tmp_path / "in" / f"{height}x{width}.png", (smooth(11, height, width, 3) * 255).astype(np.uint8))
    command = [str(tmp_path / "in"), str(tmp_path / "out"), "--checkpoint", str(tmp_path / "net.safetensors")]
    assert upscale(command) == 0
    for height, width in sizes:
        assert read(tmp_path / "out" / f"{height}x{width}.png").shape == (scale * height, scale * width, 3)
    assert f"wrote 4 images to {tmp_path / 'out'}" in capsys.readouterr().out


def test_one_odd_image_stops_no_folder_and_what_is_passed_over_is_named(checkpoint, tmp_path, capsys):
    write(tmp_path / "in" / "good.png", (smooth(12, 12, 12, 3) * 255).astype(np.uint8))
    jpeg = cv2.imencode(".jpg", (smooth(13, 64, 64, 3) * 255).astype(np.uint8))[1].tobytes()
    (tmp_path / "in" / "half.jpg").write_bytes(jpeg[: len(jpeg) // 2] + b"\xff\xd9")
    (tmp_path / "in" / "phone.heic").touch()
    command = [str(tmp_path / "in"), str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    assert run_command(upscale, command) == 1
    said = capsys.readouterr()
    assert "skipped as of another kind: phone.heic" in said.out
    assert f"wrote 1 image to {tmp_path / 'out'}" in said.out
    assert "half.jpg: it is damaged" in said.err
    assert "1 of 2 images could not be upscaled" in said.err
    assert run_command(upscale, [str(tmp_path / "in/good.png"), str(tmp_path), "--checkpoint", str(checkpoint)]) == 0
    assert f"wrote 1 image to {tmp_path / 'good.png'}" in capsys.readouterr().out


@pytest.mark.parametrize(("outscale", "size"), [("2", (40, 60)), ("3.5", (70, 105)), ("6", (120, 180))])
def test_the_size_of_outputs_can_be_chosen(outscale, size, checkpoint, tmp_path):
    small = write(tmp_path / "in.png", (smooth(5, 20, 30, 3) * 255).astype(np.uint8))
    command = [str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--checkpoint", str(checkpoint)]
    assert upscale([*command, "--outscale", outscale]) == 0
    large = read(tmp_path / "out.png")
    assert large.shape == (*size, 3)
    expected = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC).astype(float)
    assert np.abs(large - expected).mean() < 5


@pytest.mark.parametrize("name", ["jpg", "webp"])
def test_names_and_formats_of_outputs_can_be_chosen(name, checkpoint, tmp_path, capsys):
    for source, channels in (("colour", (3,)), ("grey", ())):
        write(tmp_path / "in" / f"{source}.png", (smooth(6, 16, 16, *channels) * 65535).astype(np.uint16))
    command = [str(tmp_path / "in"), str(tmp_path / "out"), "--checkpoint", str(checkpoint), "--suffix", "_x4"]
    assert upscale(command) == 0
    assert upscale([*command, "--format", name]) == 0
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == sorted(f"{source}_x4.{kind}" for source in ("colour", "grey") for kind in ("png", name))
    deep, lossy = (read(tmp_path / "out" / f"colour_x4.{kind}") for kind in ("png", name))
    assert (deep.dtype, lossy.dtype) == (np.uint16, np.uint8)
    assert np.abs(deep / 257 - lossy).mean() < 3
    write(tmp_path / "in" / "clear.png", (smooth(7, 16, 16, 4) * 255).astype(np.uint8))
    assert run_command(upscale, [*command, "--format", name]) == (1 if name == "jpg" else 0)
    assert ("JPEG holds no transparency: take --format png or webp" in capsys.readouterr().err) == (name == "jpg")
