"""Blur kernels against formulas written a second time, against moments, and against the filter they sample."""

import math

import numpy as np
import pytest
from scipy.special import gamma

from shared.degradation.kernels import SINGULAR_CUT, closed_form, kernel, separable_terms
from shared.degradation.plan import Blur

SIZES = (7, 9, 11, 13, 15, 17, 19, 21)
KERNELS = (
    Blur("iso", 21, 1.6, 1.6),
    Blur("iso", 7, 3.0, 3.0),
    Blur("aniso", 21, 3.0, 0.8, theta=0.7),
    Blur("aniso", 13, 1.6, 2.9, theta=-2.5),
    Blur("generalized_iso", 15, 2.1, 2.1, beta=0.5),
    Blur("generalized_aniso", 17, 2.9, 1.7, theta=0.4, beta=4.0),
    Blur("generalized_aniso", 19, 1.2, 0.9, theta=3.0, beta=0.8),
    Blur("plateau_iso", 11, 2.3, 2.3, beta=1.0),
    Blur("plateau_aniso", 21, 1.6, 3.0, theta=-1.1, beta=2.0),
    Blur("sinc", 7, omega=math.pi / 3),
    Blur("sinc", 21, omega=math.pi / 5),
    Blur("sinc", 13, omega=3.0),
)
each_kernel = pytest.mark.parametrize("blur", KERNELS, ids=lambda blur: f"{blur.family}-{blur.size}")


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x (columns) and y (rows) of every tap, the origin at the centre."""
    axis = np.arange(size) - (size - 1) / 2
    return np.meshgrid(axis, axis)


def covariance(weights: np.ndarray) -> np.ndarray:
    x, y = grid(len(weights))
    points = np.stack([x.ravel(), y.ravel()])
    return (points * weights.ravel()) @ points.T


def rotated(blur: Blur) -> np.ndarray:
    """R diag(sigma_x^2, sigma_y^2) R^T."""
    rotation = np.array([[math.cos(blur.theta), -math.sin(blur.theta)], [math.sin(blur.theta), math.cos(blur.theta)]])
    return rotation @ np.diag([blur.sigma_x**2, blur.sigma_y**2]) @ rotation.T


def as_published(blur: Blur) -> np.ndarray:
    """Real-ESRGAN's families by their formulas, with the inverse of the covariance matrix; sum 1."""
    inverse = np.linalg.inv(rotated(blur))
    weights = np.empty((blur.size, blur.size))
    for row in range(blur.size):
        for column in range(blur.size):
            point = np.array([column - blur.size // 2, row - blur.size // 2])
            form = point @ inverse @ point
            if blur.family.startswith("generalized"):
                weights[row, column] = math.exp(-0.5 * form**blur.beta)
            elif blur.family.startswith("plateau"):
                weights[row, column] = 1 / (form**blur.beta + 1)
            else:
                weights[row, column] = math.exp(-0.5 * form)
    return weights / weights.sum()


def low_pass(size: int, omega: float) -> np.ndarray:
    """(1/(2 pi)^2) times the integral of exp(i k x) over the disc |k| <= omega, by quadrature, not normalised.

    Gauss-Legendre in the radius and the trapezium rule in the angle; both are exact to rounding at these sizes.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    radius, radius_weights = omega * (nodes + 1) / 2, weights * omega / 2
    angle = 2 * np.pi * np.arange(256) / 256
    x, y = grid(size)
    phase = np.hypot(x, y)[..., None, None] * radius[:, None] * np.cos(angle)
    return (np.cos(phase).mean(-1) * radius * radius_weights).sum(-1) * 2 * np.pi / (2 * np.pi) ** 2


# Closed forms


@each_kernel
def test_a_kernel_sums_to_one(blur):
    assert closed_form(blur).sum() == pytest.approx(1, abs=1e-12)
    assert kernel(blur).sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)  # float32: 441 roundings of at most 2**-24


@each_kernel
def test_a_kernel_has_its_size_and_is_the_same_upside_down(blur):
    weights = closed_form(blur)
    assert weights.shape == (blur.size, blur.size)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], rtol=0, atol=1e-15)


@pytest.mark.parametrize("family", ["iso", "generalized_iso", "plateau_iso", "sinc"])
def test_an_isotropic_kernel_is_the_same_in_every_mirror(family):
    weights = closed_form(Blur(family, 15, 1.9, 1.9, beta=1.3, omega=1.4))
    for mirrored in (weights.T, weights[::-1], weights[:, ::-1]):
        np.testing.assert_allclose(mirrored, weights, rtol=0, atol=1e-15)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "shape",
    [
        ("iso", 1.6, 1.6, 0.0, 0.0),
        ("aniso", 2.9, 1.7, 0.9, 0.0),
        ("generalized_iso", 2.3, 2.3, 0.0, 0.5),
        ("generalized_aniso", 0.9, 1.5, -2.0, 3.7),
        ("plateau_iso", 0.8, 0.8, 0.0, 1.0),
        ("plateau_aniso", 3.0, 0.2, 2.9, 1.8),
    ],
    ids=lambda shape: shape[0],
)
def test_six_families_follow_the_published_formulas(size, shape):
    blur = Blur(shape[0], size, *shape[1:])
    np.testing.assert_allclose(closed_form(blur), as_published(blur), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("size", [7, 13, 21])
@pytest.mark.parametrize("omega", [math.pi / 5, math.pi / 3, 1.7, math.pi])
def test_a_sinc_kernel_is_the_ideal_circular_low_pass_filter(size, omega):
    ideal = low_pass(size, omega)
    assert ideal[size // 2, size // 2] == pytest.approx(omega**2 / (4 * math.pi), rel=1e-12)  # checks the quadrature
    np.testing.assert_allclose(closed_form(Blur("sinc", size, omega=omega)), ideal / ideal.sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("frequency", "gain"), [(0.3, 1), (0.75, 1), (2.25, 0), (2.9, 0)])
def test_a_wide_sinc_kernel_passes_what_is_below_its_cutoff_and_stops_what_is_above(frequency, gain):
    weights, (x, _) = closed_form(Blur("sinc", 201, omega=1.5)), grid(201)
    # The ripple of a filter cut off at radius r falls like (omega r)^-1/2 / r; .02 is ample at r = 100.
    assert (weights * np.cos(frequency * x)).sum() == pytest.approx(gain, abs=0.02)


@pytest.mark.parametrize("sigma", [0.8, 1.2, 1.6, 2.0])
def test_an_isotropic_gaussian_has_the_variance_it_says(sigma):
    # 21 taps reach 5 sigma or more: what is cut off holds less than 2e-5 of the variance.
    np.testing.assert_allclose(covariance(closed_form(Blur("iso", 21, sigma, sigma))), sigma**2 * np.eye(2), atol=2e-4)


@pytest.mark.parametrize("theta", [-3.0, -0.8, 0.0, 0.3, math.pi / 4, math.pi / 2])
def test_an_anisotropic_gaussian_has_the_rotated_covariance(theta):
    blur = Blur("aniso", 21, 2.0, 0.9, theta=theta)
    np.testing.assert_allclose(covariance(closed_form(blur)), rotated(blur), atol=2e-4)


def test_a_positive_angle_turns_the_long_axis_from_columns_towards_growing_rows():
    weights = closed_form(Blur("aniso", 9, 3.0, 0.8, theta=math.pi / 4))
    assert weights[6, 6] > 10 * weights[6, 2]


@pytest.mark.parametrize(("beta", "relative"), [(1.0, 2e-3), (1.5, 2e-3), (2.0, 2e-3)])
def test_a_generalized_gaussian_has_the_covariance_of_its_density(beta, relative):
    # In two dimensions E[M] = 2^(1/beta) Gamma(2/beta) / Gamma(1/beta), and the covariance is Sigma E[M] / 2.
    blur = Blur("generalized_aniso", 21, 2.0, 1.3, theta=0.5, beta=beta)
    factor = 2 ** (1 / beta) * gamma(2 / beta) / gamma(1 / beta) / 2
    np.testing.assert_allclose(covariance(closed_form(blur)), factor * rotated(blur), atol=relative * 4)


def test_with_beta_one_the_generalized_gaussian_is_the_gaussian():
    generalized = closed_form(Blur("generalized_aniso", 15, 2.0, 1.1, 0.4, beta=1.0))
    np.testing.assert_allclose(generalized, closed_form(Blur("aniso", 15, 2.0, 1.1, 0.4)), rtol=1e-12)


@pytest.mark.parametrize("size", [0, 6, 20])
def test_an_even_size_is_refused(size):
    with pytest.raises(ValueError, match=f"kernel size is {size}: it must be odd"):
        closed_form(Blur("iso", size, 1.0, 1.0))


@pytest.mark.parametrize("family", ["", "box", "sinc2"])
def test_an_unknown_family_is_refused(family):
    with pytest.raises(ValueError, match="family"):
        closed_form(Blur(family, 7, 1.0, 1.0))


# The executed kernel


@each_kernel
def test_the_executed_kernel_is_the_sum_of_its_separable_terms(blur):
    columns, rows = separable_terms(blur)
    assert columns.shape == rows.shape == (len(columns), blur.size)
    assert (columns.dtype, rows.dtype, kernel(blur).dtype) == (np.float32, np.float32, np.float32)
    total = sum(np.outer(column, row) for column, row in zip(columns, rows, strict=True))
    np.testing.assert_allclose(kernel(blur), total, rtol=0, atol=1e-6)


def test_singular_values_are_cut_at_a_ten_thousandth_or_finer():
    assert SINGULAR_CUT <= 1e-4


@each_kernel
def test_the_executed_kernel_differs_from_the_closed_form_by_no_more_than_the_cut(blur):
    # With E the part dropped and s the largest singular value, |E| <= cut s in the spectral norm, so each entry of E is
    # at most cut s, and the sum of E, which rescales the rest, is at most size cut s.
    exact = closed_form(blur)
    cut = SINGULAR_CUT * np.linalg.norm(exact, 2)
    bound = cut + np.abs(kernel(blur)).max() * blur.size * cut + 1e-7  # the last: float32
    assert np.abs(kernel(blur) - exact).max() <= bound
    assert np.abs(kernel(blur) - exact).max() <= 2e-5  # less than a hundredth of a grey level, a tap


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sigma", [0.2, 0.8, 1.6, 3.0])
def test_an_isotropic_gaussian_is_exactly_one_term_and_exact(size, sigma):
    blur = Blur("iso", size, sigma, sigma)
    assert len(separable_terms(blur)[0]) == 1
    np.testing.assert_allclose(kernel(blur), closed_form(blur), rtol=0, atol=1e-7)


@each_kernel
def test_terms_cannot_be_overwritten_by_those_who_share_them(blur):
    columns, rows = separable_terms(blur)
    assert not columns.flags.writeable
    assert not rows.flags.writeable


@each_kernel
def test_every_term_is_even_or_odd_exactly(blur):
    # The CPU backend's loops rest on it: a half is read, the other is its mirror image with a sign.
    for column, row in zip(*separable_terms(blur), strict=True):
        signs = [sign for sign in (1, -1) if np.array_equal(column, sign * column[::-1])]
        assert signs
        assert np.array_equal(row, signs[0] * row[::-1])
