"""`gen.preview` draws a sheet whose words say what was done to the pictures beside them."""

import math

import numpy as np
import pytest

import gen.preview
from gen.plan_words import plan_in_words
from gen.preview import draw_sheet, find_groups
from gen.preview_rows import OTHER_CROPS, OTHER_IMAGES, matched_rows, middle
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
    assert (tmp_path / "sheet.png").read_bytes() == draw_sheet(find_groups([str(rendered)], 10))


def test_no_rows_is_refused(rendered):
    with pytest.raises(UsageError, match="rows is 0: it must be at least 1"):
        gen.preview.main([str(rendered), "--rows", "0"])


def test_another_kind_of_file_is_refused(rendered, tmp_path):
    with pytest.raises(UsageError, match=r"sheet.pdf': its name must end in .png or .html"):
        gen.preview.main([str(rendered), "--out", str(tmp_path / "sheet.pdf")])


@pytest.mark.parametrize("name", ["写真 \x1b[2J.png", "a" * 300 + ".png"])
def test_any_file_name_fits_the_sheet(name, render, picture, tmp_path):
    picture(tmp_path / "hr" / "p.png", 1)
    if len(name) < 200:
        (tmp_path / "hr" / "p.png").rename(tmp_path / "hr" / name)
    else:
        (tmp_path / "hr" / name[:120]).mkdir()
        (tmp_path / "hr" / "p.png").rename(tmp_path / "hr" / name[:120] / name[-120:])
    folder = render(tmp_path / "out", "--split", "val", "--hr", str(tmp_path / "hr"))
    assert decode(draw_sheet(find_groups([str(folder)], 1)), "sheet").shape[1] < 1500


@pytest.fixture(scope="module")
def all_tasks(render, tmp_path_factory):
    """Datasets of all tasks, training and validation rows."""
    folder = tmp_path_factory.mktemp("shards")
    for split, count in (("train", "8"), ("val", "4")):
        render(folder, "--subspace", "all", "--split", split, "--count", count)
    return folder


def test_validation_rows_show_one_crop_in_each_task_in_the_order_of_the_partition(all_tasks):
    validation, training = find_groups([str(all_tasks)], 2)
    names = ["mild", "blur", "noise", "severe"]
    assert [task.name for task in validation.tasks] == [task.name for task in training.tasks] == names
    assert validation.note == ""
    assert training.note == OTHER_CROPS
    assert [example.title for example in validation.examples] == ["row 1", "row 3"]
    for example, row in zip(validation.examples, (1, 3), strict=True):
        assert example.is_one_crop
        for tile, name in zip(example.tiles, names, strict=True):
            pair = Dataset(all_tasks / f"{name}-val")[row]
            assert np.array_equal(tile.hr, example.tiles[0].hr)
            assert np.array_equal(tile.lr, pair.lr)
            assert tile.words == plan_in_words(Plan.from_json(pair.row.plan))
    for example in training.examples:
        assert len({tile.where.partition(",")[0] for tile in example.tiles}) == 1


def test_a_sheet_of_all_tasks_shows_hr_once_and_lr_in_each_task(all_tasks, tmp_path):
    folders = [str(all_tasks / f"{name}-val") for name in ("severe", "mild")]
    assert gen.preview.main([*folders, "--out", str(tmp_path / "sheet.png"), "--rows", "1"]) == 0
    sheet = decode((tmp_path / "sheet.png").read_bytes(), "sheet")
    mild, severe = (Dataset(all_tasks / f"{name}-val")[2] for name in ("mild", "severe"))
    side, (top,) = 76 * 4, [row for row in range(len(sheet)) if (sheet[row, MARGIN + 1] == 0xDC).all()]
    right = sheet.shape[1] - MARGIN - 3 * side - 2 * MARGIN
    for number, (image, factor) in enumerate(((mild.hr, 4), (mild.lr, 16), (severe.lr, 16))):
        y, x = top + CAPTION, right + number * (side + MARGIN)
        assert np.array_equal(sheet[y : y + side : factor, x : x + side : factor], image)


@pytest.mark.parametrize(
    ("crops", "count", "expected"),
    [
        ([[("a", 0, 0), ("b", 0, 1)], [("b", 0, 1), ("a", 0, 0)]], 9, ([(0, 1), (1, 0)], "")),
        ([[("a", 0, 0), ("a", 0, 0)], [("a", 0, 0), ("a", 0, 0)]], 9, ([(0, 0), (1, 1)], "")),
        ([[("a", 0, 0), ("b", 0, 1)], [("c", 0, 1), ("b", 9, 9)]], 9, ([(1, 1)], OTHER_CROPS)),
        ([[("a", 0, 0), ("b", 0, 1)], [("c", 0, 1)]], 9, ([(1, 0)], OTHER_IMAGES)),
        ([[("a", 0, row) for row in range(6)]], 2, ([(1,), (4,)], "")),
    ],
)
def test_rows_of_a_line_share_as_much_as_they_can(crops, count, expected):
    assert matched_rows(crops, count) == expected


def test_the_middle_of_a_whole_image_is_the_same_square_in_hr_and_lr():
    y, x = np.mgrid[:100, :140]
    lr = np.stack([y, x, y], 2).astype(np.uint8)
    hr = lr.repeat(4, 0).repeat(4, 1)
    large, small = middle(hr, lr, 4)
    assert large.shape == (256, 256, 3)
    assert np.array_equal(large[::4, ::4], small)
    assert small[0, 0].tolist() == [18, 38, 18]
    assert middle(hr[:80, :120], lr[:20, :30], 4)[0].shape == (80, 80, 3)
