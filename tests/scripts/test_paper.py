"""The paper's numbers: the file is sound, and they stand beside the same quantities of ours."""

import pytest

from scripts.reproduce.paper import beside, paper_numbers
from train.evaluation.summaries import COLUMNS


def test_the_file_holds_numbers_of_known_measures_and_says_where_they_are_from():
    assert len(paper_numbers()) > 0
    for number in paper_numbers():
        assert number.measure in COLUMNS
        assert number.source
        assert number.values or number.span or number.note
        assert not number.testsets or number.span or len(number.values) in (0, len(number.testsets))


def test_a_difference_of_the_paper_stands_beside_ours():
    ours = {
        ("ours", "psnr_db"): {"RealSR-Nikon": 28.2, "RealSR-Canon": 29.1, "other": 1.0},
        ("plain", "psnr_db"): {"RealSR-Nikon": 28.0, "RealSR-Canon": 29.0, "other": 1.0},
    }
    lines = beside("table3", ["plain", "ours"], ours).splitlines()
    assert lines[4] == "| plain | not known here | |"
    assert lines[5] == (
        "| ours | PSNR-Y less that of plain: RealSR-Nikon +0.540, RealSR-Canon +0.480 "
        "| RealSR-Nikon +0.200, RealSR-Canon +0.100 |"
    )
    assert lines[-1].startswith("Source of what is known: ")


@pytest.mark.parametrize("found", [{}, {("ours", "psnr_db"): {"RealSR-Nikon": 28.2}}])
def test_what_was_not_measured_here_is_said(found):
    assert beside("table3", ["ours"], found).splitlines()[4].endswith("| not measured |")


def test_values_of_sets_that_are_not_named_stand_beside_all_of_ours():
    ours = {("re-sampling, 4 tasks", "lpips_vgg"): {"mild": 0.31, "blur": 0.32}}
    text = beside("table5", ["re-sampling, 4 tasks"], ours)
    assert (
        "LPIPS-VGG: 0.3559, sets not named; Table 4 gives .3580 for the same run | mild 0.3100, blur 0.3200 |" in text
    )
