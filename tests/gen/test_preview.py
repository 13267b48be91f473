"""`gen.preview` draws a sheet whose words say what was done to the pictures beside them."""

import math

import numpy as np
import pytest

import gen.preview
from gen.preview import draw_sheet, plan_in_words
from shared.contact_sheet import CAPTION, MARGIN
from shared.degradation.plan import Blur, Final, Noise, Plan, Resize, Sinc
from shared.errors import UsageError
from shared.images import decode
from shared.shards.reader import Dataset

PLAN = Plan(
    blur1=Blur("aniso", 13, 1.9, 1.4, math.radians(35)),
    resize1=Resize("down", "bicubic", 143, 143),
    noise1=Noise("poisson", 0.52, False, 1),
    jpeg1=61,
    blur2=Blur("sinc", 9, omega=math.pi / 2),
    resize2=Resize("up", "area", 70, 70),
    noise2=Noise("gaussian", 4.04, True, 2),
    jpeg2=88,
    final=Final("jpeg_resize_sinc", "bilinear", Sinc(21, math.pi / 4)),
)


def test_a_plan_in_words_is_its_steps_in_order():
    assert plan_in_words(PLAN) == [
        "blur: anisotropic Gaussian 13 px, sigma 1.90 x 1.40, 35 deg",
        "resize: down to 143 x 143, bicubic",
        "noise: Poisson 0.52, colour",
        "JPEG: quality 61",
        "blur: sinc 9 px, cutoff 0.50 pi",
        "resize: down to 70 x 70, area",
        "noise: Gaussian, sigma 4.0 of 255, grey",
        "JPEG: quality 88",
        "resize: to the LR size, bilinear",
        "blur: sinc 21 px, cutoff 0.25 pi",
    ]


def test_what_changes_nothing_has_no_words():
    still = Plan(
        blur1=None,
        resize1=Resize("keep", "area", 256, 256),
        noise1=Noise("gaussian", 1.0, False, 1),
        jpeg1=95,
        resize2=Resize("keep", "area", 256, 256),
        noise2=Noise("gaussian", 1.0, False, 1),
        jpeg2=95,
        final=Final("resize_sinc_jpeg", "area"),
    )
    assert [line.partition(":")[0] for line in plan_in_words(still)] == ["noise", "JPEG", "noise", "resize", "JPEG"]


def test_a_sheet_shows_hr_and_lr_of_evenly_spread_rows(rendered, tmp_path):
    assert gen.preview.main([str(rendered), "--out", str(tmp_path / "sheet.png"), "--rows", "2"]) == 0
    sheet = decode((tmp_path / "sheet.png").read_bytes(), "sheet")
    pairs = [Dataset(rendered)[row] for row in (2, 7)]
    tops = [row for row in range(len(sheet)) if (sheet[row, MARGIN + 1] == 0xDC).all()]
    assert len(tops) == 2
    side = 76 * 4  # the least multiple of the patch that is 256 or more
    for top, (hr, lr, _) in zip(tops, pairs, strict=True):
        y, x = top + CAPTION, sheet.shape[1] - MARGIN - side
        assert np.array_equal(sheet[y : y + side : 16, x : x + side : 16], lr)
        x -= side + MARGIN
        assert np.array_equal(sheet[y : y + side : 4, x : x + side : 4], hr)


def test_more_rows_than_there_are_shows_all(rendered, tmp_path):
    assert gen.preview.main([str(rendered), "--rows", "99", "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").read_bytes() == draw_sheet(Dataset(rendered), 10)


def test_no_rows_is_refused(rendered):
    with pytest.raises(UsageError, match="rows is 0: it must be at least 1"):
        gen.preview.main([str(rendered), "--rows", "0"])


@pytest.mark.parametrize("name", ["写真 \x1b[2J.png", "a" * 300 + ".png"])
def test_any_file_name_fits_the_sheet(name, render, picture, tmp_path):
    picture(tmp_path / "hr" / "p.png", 1)
    if len(name) < 200:
        (tmp_path / "hr" / "p.png").rename(tmp_path / "hr" / name)
    else:
        (tmp_path / "hr" / name[:120]).mkdir()
        (tmp_path / "hr" / "p.png").rename(tmp_path / "hr" / name[:120] / name[-120:])
    folder = render(tmp_path / "out", "--split", "val", "--hr", str(tmp_path / "hr"))
    assert decode(draw_sheet(Dataset(folder), 1), "sheet").shape[1] < 1500
