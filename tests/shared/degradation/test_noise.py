"""Noise against theory: the tables against the exact laws, the fields against their moments.

Statistical tests: each has the error rate 1e-6 / 200, and there are fewer than 200 of them, so correct code fails this
file with probability below 1e-6 (Bonferroni). Seeds are fixed, so a test passes always or never.
"""

import math

import numpy as np
import pytest
from scipy import stats

from shared.degradation.cpu import NOISE_KINDS, noise
from shared.degradation.noise import RATE_BITS, normal_table, poisson_table
from shared.degradation.plan import Noise

ALPHA = 1e-6 / 200
Z = stats.norm.isf(ALPHA / 2)  # 5.85
QUANTA = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SIDE = 128
STRIP = 4  # rows at the bottom that hold the other values of a picture
KINDS = [("gaussian", 8.0), ("poisson", 0.5)]


def flat(*levels: int) -> np.ndarray:
    """A picture of one colour, given as one or three 8-bit levels."""
    return np.broadcast_to(np.float32(levels) / np.float32(255), (SIDE, SIDE, 3)).copy()


def flat_with_values(level: int, distinct: int) -> np.ndarray:
    """A grey picture, flat except for a strip at the bottom, with exactly `distinct` values in all."""
    picture = flat(level)
    values = (level + np.arange(distinct)) % 256
    picture[-STRIP:] = (np.resize(values, (STRIP, SIDE, 1)) / 255).astype(np.float32)
    return picture


def gain(picture: np.ndarray, parameters: Noise) -> np.ndarray:
    """What the flat part gained, float64 [h, w, 3]."""
    return (noise(picture, parameters).astype(np.float64) - picture)[:-STRIP]


def samples(field: np.ndarray, grey: bool) -> np.ndarray:
    """The independent values of a field: one channel of a grey one."""
    return field[..., 0].ravel() if grey else field.ravel()


def assert_moments(values: np.ndarray, std: float, kurtosis: float, table_error: float) -> None:
    """Mean 0 and the variance, within Z standard errors and the table's own relative error."""
    n = len(values)
    assert abs(values.mean()) <= std * (Z / math.sqrt(n) + table_error)
    assert abs(values.var() / std**2 - 1) <= Z * math.sqrt((kurtosis - 1) / n) + table_error


# The table of the normal law


def test_the_normal_table_has_mean_0_and_variance_1():
    table = normal_table().astype(np.float64)
    assert table.shape == (65536,)
    assert table.mean() == pytest.approx(0, abs=1e-7)
    assert table.var() == pytest.approx(1, abs=1e-7)
    assert (table**3).mean() == pytest.approx(0, abs=1e-6)
    assert (table**4).mean() == pytest.approx(3, abs=1e-3)


def test_the_normal_table_follows_the_normal_distribution_function():
    # Half a bin is 2**-17. Widening the quantiles to variance 1 moves them, at most by as much again.
    cumulative = stats.norm.cdf(np.sort(normal_table().astype(np.float64)))
    steps = np.arange(65537) / 65536
    assert max(np.abs(cumulative - steps[:-1]).max(), np.abs(cumulative - steps[1:]).max()) <= 2**-16


def test_the_normal_table_is_symmetric_and_ends_at_4_3():
    assert np.array_equal(normal_table(), -normal_table()[::-1])
    assert normal_table().max() == pytest.approx(4.3, abs=0.05)


# The tables of the Poisson laws


def exact_and_table(quantum: int, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of 0, 1, 2, ... under Poisson(quantum level / 255), exact and in the table."""
    entries = poisson_table(quantum).reshape(256, 1 << RATE_BITS)[level].astype(np.float64)
    counts = (entries + level / 255) * quantum
    assert np.abs(counts - np.rint(counts)).max() < 1e-3  # every entry is a whole count
    size = quantum + 200  # 12 standard deviations above the largest rate
    found = np.bincount(np.rint(counts).astype(int), minlength=size) / (1 << RATE_BITS)
    return stats.poisson.pmf(np.arange(size), level / 255 * quantum), found


@pytest.mark.parametrize("quantum", QUANTA)
def test_the_poisson_table_is_within_a_hundredth_of_the_law_in_total_variation(quantum):
    for level in range(256):
        exact, found = exact_and_table(quantum, level)
        assert 0.5 * np.abs(exact - found).sum() < 0.01, level


@pytest.mark.parametrize("quantum", QUANTA)
def test_the_poisson_table_has_mean_0_and_the_variance_of_the_law(quantum):
    # Quantiles in 4096 steps: at most .002 of a standard deviation in the mean and 2 % in the variance, which is
    # reached where all but 60 of 4096 entries are 0.
    table = poisson_table(quantum).reshape(256, 1 << RATE_BITS).astype(np.float64)
    variance = np.arange(256) / 255 / quantum
    assert np.all(np.abs(table.mean(1)) <= 0.002 * np.sqrt(variance) + 1e-9)
    assert np.all(np.abs(table.var(1) - variance) <= 0.02 * variance + 1e-12)


def test_black_gains_nothing():
    assert not poisson_table(256)[: 1 << RATE_BITS].any()


# Gaussian noise


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("level", [51, 128, 204])
@pytest.mark.parametrize("sigma", [1.0, 8.0])
def test_gaussian_noise_has_mean_0_and_its_sigma_at_every_grey_level(grey, level, sigma):
    field = gain(flat(level), Noise("gaussian", sigma, grey, seed=level))
    assert_moments(samples(field, grey), sigma / 255, kurtosis=3, table_error=1e-6)


def test_gaussian_noise_is_normal():
    values = samples(gain(flat(128), Noise("gaussian", 8.0, False, seed=3)), grey=False)
    assert stats.kstest(values, stats.norm(0, 8 / 255).cdf).pvalue >= ALPHA


# Poisson noise


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("distinct", "quantum", "scale"), [(4, 4, 0.1), (40, 64, 0.3), (256, 256, 0.3)])
@pytest.mark.parametrize("level", [51, 128, 179])
def test_poisson_noise_has_mean_0_and_variance_v_over_q_times_the_square_of_its_scale(
    grey, distinct, quantum, scale, level
):
    field = gain(flat_with_values(level, distinct), Noise("poisson", scale, grey, seed=level))
    rate = level / 255 * quantum
    assert_moments(samples(field, grey), scale * math.sqrt(rate) / quantum, kurtosis=3 + 1 / rate, table_error=0.02)


@pytest.mark.parametrize("scale", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("distinct", [129, 200, 256])
def test_at_mid_grey_poisson_noise_has_a_standard_deviation_of_11_3_times_its_scale(scale, distinct):
    # Method notes, Section 3: sqrt(.502 / 256) * 255 = 11.29. With 47 616 values Z standard errors are 1.9 %.
    field = gain(flat_with_values(128, distinct), Noise("poisson", scale, False, seed=11))
    assert 255 * field.std() == pytest.approx(11.3 * scale, rel=0.02)


def counts(field: np.ndarray, level: int, scale: float, quantum: int) -> np.ndarray:
    """The Poisson counts behind a field: gain = (count / quantum - level / 255) scale."""
    return (field / scale + level / 255) * quantum


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    ("distinct", "quantum"),
    [
        (1, 1),
        (2, 2),
        (3, 4),
        (4, 4),
        (5, 8),
        (16, 16),
        (17, 32),
        (64, 64),
        (65, 128),
        (128, 128),
        (129, 256),
        (256, 256),
    ],
)
def test_q_is_the_number_of_distinct_values_rounded_up_to_a_power_of_two(grey, distinct, quantum):
    field = gain(flat_with_values(51, distinct), Noise("poisson", 0.1, grey, seed=5))
    found = counts(field, 51, 0.1, quantum)
    whole = np.rint(found)
    assert np.abs(found - whole).max() < 0.01  # multiples of 1 / q ...
    assert (whole % 2 == 1).any()  # ... and not of 2 / q


def test_values_are_counted_over_all_three_channels_together():
    picture = flat(51, 102, 153)
    found = counts(gain(picture, Noise("poisson", 0.1, False, seed=5))[..., 0], 51, 0.1, 4)
    assert np.abs(found - np.rint(found)).max() < 0.01
    assert (np.rint(found) % 2 == 1).any()


def test_grey_poisson_noise_has_the_rate_of_luma():
    # .2989 * 100 + .587 * 50 + .114 * 25 = 62.1; with the channels swapped it would be 48. One value, so q = 1: only
    # the offset of the counts tells which level was used.
    field = gain(flat(100, 50, 25), Noise("poisson", 0.05, True, seed=5))
    found = counts(field, 62, 0.05, 1)
    assert np.abs(found - np.rint(found)).max() < 1e-3


def test_the_rate_is_that_of_the_picture_in_8_bits():
    picture = flat(100) + np.float32(0.3 / 255)
    found = counts(noise(picture, Noise("poisson", 0.1, False, seed=5)) - picture.astype(np.float64), 100, 0.1, 1)
    assert np.abs(found - np.rint(found)).max() < 1e-3


def test_black_stays_black_under_poisson_noise():
    assert not noise(flat(0), Noise("poisson", 3.0, False, seed=1)).any()


# Channels, seeds, clipping


@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_grey_noise_is_the_same_in_three_channels_and_colour_noise_is_not(kind, level):
    grey = noise(flat_with_values(128, 256), Noise(kind, level, True, seed=2))
    assert np.array_equal(grey[..., 0], grey[..., 1])
    assert np.array_equal(grey[..., 0], grey[..., 2])
    colour = noise(flat_with_values(128, 256), Noise(kind, level, False, seed=2))
    assert not np.array_equal(colour[..., 0], colour[..., 1])


@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_grey_noise_adds_the_same_to_every_channel_of_a_coloured_picture(kind, level):
    field = gain(flat(60, 80, 100), Noise(kind, level / 5, True, seed=2))
    assert np.abs(field - field[..., :1]).max() < 2e-7  # float32 sums below 1


@pytest.mark.parametrize(("kind", "level"), KINDS)
@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (1, 2)])
def test_colour_noise_is_uncorrelated_between_channels(kind, level, one, other):
    field = gain(flat_with_values(128, 256), Noise(kind, level, False, seed=2))
    r = np.corrcoef(field[..., one].ravel(), field[..., other].ravel())[0, 1]
    assert abs(r) < Z / math.sqrt(field[..., 0].size)


@pytest.mark.parametrize(("kind", "level"), KINDS)
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (1, 1)])
def test_noise_is_uncorrelated_between_neighbouring_pixels(kind, level, grey, down, right):
    field = gain(flat_with_values(128, 256), Noise(kind, level, grey, seed=2))[..., 0]
    here = field[: len(field) - down, : SIDE - right].ravel()
    r = np.corrcoef(here, field[down:, right:].ravel())[0, 1]
    assert abs(r) < Z / math.sqrt(here.size)


@pytest.mark.parametrize(("kind", "level"), KINDS)
@pytest.mark.parametrize("grey", [False, True])
def test_the_seed_alone_names_the_field(kind, level, grey):
    picture = flat_with_values(128, 256)
    one = noise(picture, Noise(kind, level, grey, seed=7))
    assert np.array_equal(one, noise(picture, Noise(kind, level, grey, seed=7)))
    fields = [gain(picture, Noise(kind, level, grey, seed=seed))[..., 0].ravel() for seed in (7, 8)]
    assert abs(np.corrcoef(*fields)[0, 1]) < Z / math.sqrt(len(fields[0]))


@pytest.mark.parametrize(("kind", "level"), [("gaussian", 30.0), ("poisson", 3.0)])
@pytest.mark.parametrize("grey", [False, True])
def test_the_result_is_clipped_to_0_and_1_and_reaches_both(kind, level, grey):
    picture = np.random.default_rng(0).random((SIDE, SIDE, 3), dtype=np.float32)
    noisy = noise(picture, Noise(kind, level, grey, seed=4))
    assert (noisy.min(), noisy.max()) == (0, 1)


@pytest.mark.parametrize(("kind", "level"), KINDS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_picture_that_overshoots_is_accepted_clipped_and_left_as_it_was(kind, level, grey):
    picture = 1.6 * np.random.default_rng(0).random((SIDE, SIDE, 3), dtype=np.float32) - np.float32(0.3)
    before = picture.copy()
    noisy = noise(picture, Noise(kind, level, grey, seed=4))
    assert noisy.dtype == np.float32
    assert noisy.shape == picture.shape
    assert 0 <= noisy.min() < noisy.max() <= 1
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_level_0_is_no_noise(kind):
    picture = flat_with_values(128, 256)
    assert np.array_equal(noise(picture, Noise(kind, 0.0, False, seed=4)), picture)


def test_there_are_two_kinds_of_noise():
    assert set(NOISE_KINDS) == {"gaussian", "poisson"}
