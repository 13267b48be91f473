"""Crop sheets: what is asked for, where it is cut, how it is drawn."""

import json
from pathlib import Path

import numpy as np
import pytest

from scripts.reproduce.__main__ import main
from scripts.reproduce.crops import RED, Box, Panel, Wish, largest_spread, panel_of, read_wish
from scripts.reproduce.systems import Evaluated, Released
from scripts.reproduce.tables import Row
from shared.errors import UsageError, run_command
from shared.images import decode, encode_png
from train.evaluation.summaries import ImageResult
from train.evaluation.testsets import open_testsets


@pytest.fixture
def systems(pairs: Path, tmp_path: Path) -> list[Evaluated]:
    """Two systems of flat pictures; the second lacks picture b."""
    found = []
    for number, (name, images) in enumerate((("dark", "abc"), ("bright", "ac"))):
        folder = tmp_path / name
        for image in images:
            (folder / "images" / "set").mkdir(parents=True, exist_ok=True)
            picture = np.full((96, 80, 3), 60 + 100 * number, np.uint8)
            (folder / "images" / "set" / f"{image}.png").write_bytes(encode_png(picture))
        spread = {"a": 1.0, "b": 9.0, "c": 2.0}
        results = [ImageResult("set", image, image, {"psnr_db": 20 + number * spread[image]}) for image in images]
        found.append(Evaluated(name, (folder,), (results,)))
    return found


def test_a_wish_names_a_picture_and_perhaps_a_box():
    assert read_wish("RealSR-Canon/Canon_001") == Wish("RealSR-Canon", "Canon_001", None)
    assert read_wish("set/0801:12,40,96") == Wish("set", "0801", Box(12, 40, 96))
    for text in ("0801", "/0801"):
        with pytest.raises(UsageError, match="must be SET/IMAGE"):
            read_wish(text)


def test_pictures_on_which_systems_differ_most_come_first_and_one_system_alone_does_not_differ(systems):
    assert largest_spread(systems) == [("set", "c"), ("set", "a")]


def test_a_panel_has_lr_every_system_that_has_the_picture_and_hr(systems, pairs):
    (testset,) = open_testsets([f"set={pairs}"])
    panel = panel_of(Wish("set", "a", Box(8, 16, 40)), systems, testset, 96)
    hr = decode((pairs / "HR/a.png").read_bytes(), "")
    names, cut = [caption.split(" ")[0] for caption, _ in panel.crops], dict(panel.crops)
    assert names == ["LR", "dark", "bright", "HR"]
    assert [crop.shape[0] for crop in cut.values()] == [10, 40, 40, 40]
    assert np.array_equal(panel.crops[-1][1], hr[16:56, 8:48])
    assert (cut["bright 21.00 dB"] == 160).all()
    assert [c.split(" ")[0] for c, _ in panel_of(Wish("set", "b", None), systems, testset, 16).crops] == [
        "LR",
        "dark",
        "HR",
    ]


def test_a_box_outside_the_picture_is_refused(systems, pairs):
    (testset,) = open_testsets([f"set={pairs}"])
    with pytest.raises(UsageError, match="box 60,0,40 leaves set/a, 80 x 96 pixels"):
        panel_of(Wish("set", "a", Box(60, 0, 40)), systems, testset, 96)


def test_the_box_is_marked_on_the_whole_picture():
    whole, crop = np.full((100, 100, 3), 200, np.uint8), np.full((8, 8, 3), 90, np.uint8)
    words, ((title, marked), *crops) = Panel("set/a", whole, Box(20, 30, 40), [("LR", crop)]).line()
    assert (words, title, crops[0][0]) == ([], "set/a", "LR")
    red = np.argwhere((marked == RED).all(axis=2))
    assert (red.min(axis=0).tolist(), red.max(axis=0).tolist(), len(red)) == ([30, 20], [69, 59], 4 * 39)
    assert (whole == 200).all()


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
