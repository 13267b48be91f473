"""Every number of the built-in spaces, against Tables 6-9 of the paper and published option files."""

import dataclasses
import math

import numpy as np
import pytest

from shared.degradation.presets import SPACES, get_space
from shared.degradation.space import Range
from shared.errors import UsageError
from tests.shared.degradation.tables import ISO_ANISO, MOSTLY_DOWN, MOSTLY_KEEP, SIX_FAMILIES

BLURS, RESIZES, NOISES, JPEGS = (("blur1", "blur2"), ("resize1", "resize2"), ("noise1", "noise2"), ("jpeg1", "jpeg2"))
# Low and high end of: blur sigma 1 and 2, Gaussian sigma of 255 1 and 2, Poisson scale 1 and 2.
UNION_OF_TABLES_6_TO_9 = ((1.6, 3.0), (0.8, 1.6), (1.0, 8.0), (1.0, 7.0), (0.1, 0.7), (0.1, 0.6))
REALESRGAN_X4PLUS = ((0.2, 3.0), (0.2, 1.5), (1.0, 30.0), (1.0, 25.0), (0.05, 3.0), (0.05, 2.5))
RANGES_OF_FIG_9 = (  # stage 1 is the figure's; the others lie on the lines through the ends of the tables
    (0.4, 3.8),
    (0.8 - 1.2 * 0.8 / 1.4, 1.6 + 0.8 * 0.8 / 1.4),
    (1.0, 19.0),
    (1.0, 1 + 18 * 6 / 7),
    (0.1, 0.1 + 18 * 0.6 / 7),
    (0.1, 0.1 + 18 * 0.5 / 7),
)


def ends(bounds: Range) -> tuple[float, float]:
    return bounds.low, bounds.high


def parts(name: str, operators: tuple[str, str]) -> list:
    return [getattr(get_space(name), operator) for operator in operators]


@pytest.fixture(params=["paper", "paper-realesrgan", "realesrgan"])
def name(request) -> str:
    return request.param


def test_spaces_have_names():
    assert [*SPACES] == ["paper", "paper-wide", "paper-realesrgan", "realesrgan", "pasd", "stablesr"]
    assert [get_space(name).name for name in SPACES] == [*SPACES]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("paper", UNION_OF_TABLES_6_TO_9),
        ("paper-realesrgan", UNION_OF_TABLES_6_TO_9),
        ("realesrgan", REALESRGAN_X4PLUS),
        ("paper-wide", RANGES_OF_FIG_9),
    ],
)
def test_blur_and_noise_have_the_published_ranges_closed_at_both_ends(name, expected):
    blurs, noises = parts(name, BLURS), parts(name, NOISES)
    ranges = [blur.sigma for blur in blurs]
    ranges += [noise.gaussian_sigma_255 for noise in noises] + [noise.poisson_scale for noise in noises]
    assert np.array([ends(bounds) for bounds in ranges]) == pytest.approx(np.array(expected), abs=1e-12)
    assert all(bounds.closed for bounds in ranges)


@pytest.mark.parametrize(
    ("name", "families"), [("paper", ISO_ANISO), ("paper-realesrgan", SIX_FAMILIES), ("realesrgan", SIX_FAMILIES)]
)
def test_kernel_families_have_the_published_probabilities(name, families):
    assert [dict(blur.families) for blur in parts(name, BLURS)] == [families, families]


def test_the_six_families_have_the_papers_shares_of_iso_and_aniso():
    iso = sum(
        probability for family, probability in SIX_FAMILIES.items() if family.endswith("iso") and "an" not in family
    )
    assert iso == pytest.approx(0.69, abs=1e-12)
    assert sum(SIX_FAMILIES.values()) - iso == pytest.approx(0.31, abs=1e-12)


def test_the_first_blur_is_always_applied_and_the_second_with_probability_8_of_10(name):
    assert [blur.apply for blur in parts(name, BLURS)] == [1.0, 0.8]


def test_kernel_sizes_are_2m_plus_1_for_m_in_range_3_to_11(name):
    sizes = (7, 9, 11, 13, 15, 17, 19, 21)
    assert [blur.sizes for blur in parts(name, BLURS)] == [sizes, sizes]
    assert get_space(name).final.sizes == sizes


def test_kernel_shapes_have_real_esrgans_ranges(name):
    for blur in parts(name, BLURS):
        assert blur.sinc == 0.1
        assert ends(blur.beta_generalized) == (0.5, 4.0)
        assert ends(blur.beta_plateau) == (1.0, 2.0)
        assert ends(blur.theta) == (-math.pi, math.pi)


@pytest.mark.parametrize(
    ("name", "directions", "factors"),
    [
        ("paper", [MOSTLY_KEEP, MOSTLY_KEEP], [(0.15, 1.5), (0.15, 1.5)]),
        ("paper-realesrgan", [MOSTLY_DOWN, MOSTLY_DOWN], [(0.15, 1.5), (0.15, 1.5)]),
        ("realesrgan", [MOSTLY_DOWN, {"down": 0.4, "keep": 0.3, "up": 0.3}], [(0.15, 1.5), (0.3, 1.2)]),
    ],
)
def test_resizes_have_the_published_directions_and_factors(name, directions, factors):
    assert [dict(resize.directions) for resize in parts(name, RESIZES)] == directions
    assert [ends(resize.factor) for resize in parts(name, RESIZES)] == factors


def test_resizes_use_three_modes(name):
    modes = ("area", "bilinear", "bicubic")
    assert [set(resize.modes) for resize in parts(name, RESIZES)] == [set(modes), set(modes)]
    assert set(get_space(name).final.modes) == set(modes)


def test_noise_is_gaussian_or_poisson_by_a_fair_coin_and_grey_4_times_in_10(name):
    for noise in parts(name, NOISES):
        assert dict(noise.kinds) == {"gaussian": 0.5, "poisson": 0.5}
        assert noise.grey == 0.4


def test_jpeg_quality_is_30_to_95(name):
    assert [(jpeg.low, jpeg.high) for jpeg in parts(name, JPEGS)] == [(30, 95), (30, 95)]


def test_the_last_step_has_two_orders_and_a_sinc_filter_8_times_in_10(name):
    final = get_space(name).final
    assert set(final.orders) == {"resize_sinc_jpeg", "jpeg_resize_sinc"}
    assert final.sinc == 0.8
    assert ends(final.omega) == (math.pi / 3, math.pi)


def test_all_probabilities_sum_to_one(name):
    blurs, resizes, noises = parts(name, BLURS), parts(name, RESIZES), parts(name, NOISES)
    tables = [b.families for b in blurs] + [r.directions for r in resizes] + [n.kinds for n in noises]
    assert [sum(table.values()) for table in tables] == pytest.approx([1.0] * 6, abs=1e-12)


@pytest.mark.parametrize(("name", "partition"), [("paper", "2x2"), ("paper-realesrgan", "2x2"), ("realesrgan", "full")])
def test_a_space_names_its_own_partition(name, partition):
    assert get_space(name).default_partition == partition


def test_a_space_cannot_be_changed_by_accident(name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_space(name).name = "other"


def test_an_unknown_space_is_refused_with_the_names_there_are():
    with pytest.raises(
        UsageError,
        match=r"unknown space 'papr': choose one of paper, paper-wide, paper-realesrgan, realesrgan, pasd, stablesr",
    ):
        get_space("papr")


# Ranges


@pytest.mark.parametrize(
    ("value", "in_closed", "in_half_open"),
    [(0.9999999, False, False), (1.0, True, True), (1.5, True, True), (2.0, True, False), (2.0000001, False, False)],
)
def test_a_range_holds_its_low_end_and_when_closed_its_high_end(value, in_closed, in_half_open):
    assert (value in Range(1.0, 2.0)) is in_closed
    assert (value in Range(1.0, 2.0, closed=False)) is in_half_open


def test_nothing_that_is_not_a_number_lies_in_a_range():
    assert math.nan not in Range(1.0, 2.0)


def test_a_range_is_cut_into_equal_half_open_parts_of_which_the_last_keeps_the_end():
    parts_of_three = [Range(1.0, 4.0).cut(index, 3) for index in range(3)]
    assert parts_of_three == [Range(1.0, 2.0, closed=False), Range(2.0, 3.0, closed=False), Range(3.0, 4.0)]
    assert Range(1.0, 4.0, closed=False).cut(2, 3) == Range(3.0, 4.0, closed=False)
    assert Range(1.0, 4.0).cut(0, 1) == Range(1.0, 4.0)


# Smallest patches


@pytest.mark.parametrize(("scale", "least"), [(1, 74), (2, 74), (3, 75), (4, 76), (8, 88)])
def test_the_least_patch_leaves_a_kernel_of_21_pixels_a_border_after_resize_1_and_at_lr_size(name, scale, least):
    assert get_space(name).least_patch(scale) == least
    assert least % scale == 0
    assert math.floor(0.15 * least) >= 11
    assert least // scale >= 11


def test_a_space_of_smaller_factors_has_a_larger_least_patch():
    space = get_space("realesrgan")
    smaller = dataclasses.replace(space, resize1=dataclasses.replace(space.resize1, factor=Range(0.1, 1.5)))
    assert smaller.least_patch(4) == 112
    for factor in np.linspace(0.02, 0.2, 200):
        resize = dataclasses.replace(space.resize1, factor=Range(float(factor), 1.5))
        assert math.floor(factor * dataclasses.replace(space, resize1=resize).least_patch(4)) >= 11


def test_a_part_of_the_factors_without_any_that_can_be_drawn_is_refused():
    resize = dataclasses.replace(get_space("realesrgan").resize1, directions={"keep": 1.0})
    assert resize.cut(1, 2).directions == {"keep": 1.0}
    with pytest.raises(UsageError, match=r"part 0 of 2 of the resize factors, 0.15 .. 0.825, holds none"):
        resize.cut(0, 2)
