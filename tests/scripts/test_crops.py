"""Crop sheets: what is asked for, which images are chosen, and how a line is cut."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.reproduce.__main__ import main
from scripts.reproduce.systems import Released
from scripts.reproduce.tables import Row
from shared.errors import run_command
from shared.images import decode, encode_png
from train.evaluation.sheet import Shown, lines_of, most_different_images
from train.evaluation.summaries import ImageResult
from train.evaluation.testsets import open_testsets


@pytest.fixture
def systems(pairs: Path, tmp_path: Path) -> list[Shown]:
    """Three systems of flat outputs, which differ within a square; the last one lacks image b."""
    found = []
    for number, (name, images) in enumerate((("dark", "abc"), ("grey", "ab"), ("bright", "ac"))):
        folder = tmp_path / name
        for image in images:
            output = np.full((96, 80, 3), 60, np.uint8)
            output[16:56, 8:48] += np.uint8(60 * number)
            (folder / "images" / "set").mkdir(parents=True, exist_ok=True)
            (folder / "images" / "set" / f"{image}.png").write_bytes(encode_png(output))
        spread = {"a": 1.0, "b": 9.0, "c": 2.0}
        results = [ImageResult("set", image, image, {"psnr_db": 20 + number * spread[image]}) for image in images]
        found.append(Shown(name, folder, results))
    return found


def test_images_on_which_systems_differ_most_come_first_and_one_system_alone_does_not_differ(systems):
    dark, _, bright = systems
    assert most_different_images(systems) == [("set", "b"), ("set", "c"), ("set", "a")]
    assert most_different_images([dark, bright]) == [("set", "c"), ("set", "a")]


def test_one_image_of_each_photograph_is_shown(systems):
    same = [each._replace(results=[replace(r, photograph="one") for r in each.results]) for each in systems]
    assert most_different_images(same) == [("set", "b")]


def test_a_line_has_lr_every_system_that_has_the_image_and_hr(systems, pairs):
    (testset,) = open_testsets([f"set={pairs}"])
    line, other = lines_of(systems, {"set": testset}, [("set", "a"), ("set", "c")], 40)
    hr = decode((pairs / "HR/a.png").read_bytes(), "")
    assert (line.words, [caption.split(" ")[0] for caption, _ in other.tiles]) == (
        ("set", "a"),
        ["LR", "dark", "bright", "HR"],
    )
    tiles = dict(line.tiles)
    assert [*tiles] == ["LR", "dark 20.00 dB", "grey 21.00 dB", "bright 22.00 dB", "HR"]
    assert [tile.shape[0] for tile in tiles.values()] == [10, 40, 40, 40, 40]
    assert np.array_equal(tiles["HR"], hr[16:56, 8:48])
    assert (tiles["bright 22.00 dB"] == 180).all()


def test_an_image_that_one_system_alone_has_kept_makes_no_line(systems):
    dark, grey, bright = systems
    bright.output(("set", "c")).unlink()
    assert [*lines_of(systems, {}, [("set", "c")], 40)] == []
    (line,) = lines_of([dark, grey], {}, [("set", "b")], 40)
    assert [caption for caption, _ in line.tiles] == ["dark 20.00 dB", "grey 29.00 dB"]


def test_the_command_draws_what_systems_there_are(pairs, monkeypatch, tiny):
    monkeypatch.setattr("scripts.reproduce.lab.Lab.whole_images", lambda lab, title: {})
    monkeypatch.setattr("scripts.reproduce.crops.rows_of", lambda lab, name: rows(pairs))
    options, folder = tiny
    fixed = [*options, "--testset", f"set={pairs}", "--init", "nothing.pth", "--lpips", "none"]
    assert main(["fig6", *fixed, "--rows", "2", "--side", "32"]) == 0
    shown = json.loads((folder / "fig6" / "fig6.json").read_text())
    assert (len(shown["shown"]), list(shown["missing"])) == (2, ["absent"])
    assert decode((folder / "fig6" / "fig6.png").read_bytes(), "").shape[1] > 2 * 192
    assert run_command(main, ["fig6", *fixed, "--image", "set/none"]) == 2
    assert run_command(main, ["fig6", *fixed, "--image", "none/a"]) == 2


def rows(pairs: Path) -> list[Row]:
    places = {"bicubic": ("checkpoint", "bicubic"), "truth": ("results", f"{pairs}/HR"), "absent": ("results", "none")}
    return [Row(name, Released(name, *place)) for name, place in places.items()]
