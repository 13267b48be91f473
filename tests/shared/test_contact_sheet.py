"""One piece of code draws every contact sheet: its pixels are those of the pictures, and any text fits."""

import numpy as np
import pytest

from shared.contact_sheet import CAPTION, MARGIN, Line, contact_sheet
from shared.images import decode


def picture(side: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def drawn(*arguments, **options) -> np.ndarray:
    return decode(contact_sheet(*arguments, **options), "sheet")


@pytest.mark.parametrize("side", [8, 16, 64])
def test_each_pixel_shown_is_one_of_the_picture(side):
    tiles = [picture(side, 0), picture(64, 1)]
    sheet = drawn([Line([], [("one", tiles[0]), ("two", tiles[1])])], side=64)
    top, step = MARGIN + CAPTION, 64 // side
    assert np.array_equal(sheet[top : top + 64 : step, MARGIN : MARGIN + 64 : step], tiles[0])
    assert np.array_equal(sheet[top : top + 64, 2 * MARGIN + 64 : 2 * MARGIN + 128], tiles[1])


def test_lines_follow_each_other_and_the_margins_stay_empty():
    lines = [Line(["a task", "a name"], [("HR", picture(32, n))]) for n in range(3)]
    sheet = drawn(lines, side=32, title="a title")
    found = [row for row in range(len(sheet)) if (sheet[row, MARGIN + 1] == 0xDC).all()]
    assert len(found) == 3
    for number, top in enumerate(found):
        left = sheet.shape[1] - MARGIN - 32
        assert np.array_equal(sheet[top + CAPTION : top + CAPTION + 32, left : left + 32], lines[number].tiles[0][1])
    assert (sheet[:, -MARGIN + 1 :] == 255).all()
    assert (sheet[:, : MARGIN - 2] == 255).all()
    assert (sheet[-MARGIN:] == 255).all()


@pytest.mark.parametrize("text", ["\N{SNOWMAN}\x1b[2J\n$x$", "a" * 3000, "", "\udcff"])
def test_any_text_fits(text):
    sheet = drawn([Line([text], [(text, picture(8, 0))])], side=32, title=text)
    assert (sheet[:, -MARGIN + 1 :] == 255).all()
    assert sheet.shape[1] < 1200
