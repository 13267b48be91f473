"""PSNR on Y against an independent formula."""

import math

import numpy as np
import pytest
import torch

from shared.metrics import luma, psnr_y


def numpy_psnr_y(output_HWC: np.ndarray, target_HWC: np.ndarray, border: int) -> float:
    """Section 8 of the method notes, written out for one picture."""
    y1, y2 = (65.481 * i[..., 0] + 128.553 * i[..., 1] + 24.966 * i[..., 2] + 16 for i in (output_HWC, target_HWC))
    height, width = y1.shape
    inside = (slice(border, height - border), slice(border, width - border))
    return 20 * math.log10(255 / math.sqrt(((y1[inside] - y2[inside]) ** 2).mean()))


@pytest.mark.parametrize("border", [0, 1, 4])
def test_psnr_equals_the_formula(border: int) -> None:
    rng = np.random.default_rng(border)
    output, target = rng.random((2, 3, 20, 14, 3))
    expected = [numpy_psnr_y(o, t, border) for o, t in zip(output, target, strict=True)]
    found = psnr_y(*(torch.from_numpy(i).permute(0, 3, 1, 2) for i in (output, target)), border)
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert found.dtype == torch.float64


def test_a_uniform_error_of_one_level_is_49_45_db() -> None:
    target = torch.full((1, 3, 8, 8), 100 / 255, dtype=torch.float64)
    # Y changes by 219/255 of a level: 20 log10(255 / (219 / 255)) = 49.4527
    assert psnr_y(target + 1 / 255, target, 2).item() == pytest.approx(49.4527, abs=1e-4)


@pytest.mark.parametrize(
    ("rgb", "y"),
    [((0, 0, 0), 16.0), ((1, 1, 1), 235.0), ((1, 0, 0), 81.481), ((0, 1, 0), 144.553), ((0, 0, 1), 40.966)],
)
def test_luma_of_the_corners_of_the_cube(rgb: tuple[int, int, int], y: float) -> None:
    image = torch.tensor(rgb, dtype=torch.float64).reshape(1, 3, 1, 1)
    assert luma(image).item() == pytest.approx(y)


def test_equal_pictures_are_infinitely_good() -> None:
    picture = torch.rand(2, 3, 8, 8)
    assert psnr_y(picture, picture.clone(), 4 - 1).tolist() == [math.inf, math.inf]


def test_errors_in_the_border_do_not_count() -> None:
    target = torch.rand(1, 3, 12, 12)
    output = target.clone()
    output[..., :4, :] = output[..., -4:, :] = output[..., :4] = output[..., -4:] = 0
    assert psnr_y(output, target, 4).item() == math.inf
    assert psnr_y(output, target, 3).item() < 40


def test_float32_pictures_are_compared_in_double_precision() -> None:
    target = torch.full((1, 3, 8, 8), 0.5)
    exact = psnr_y(target.double() + 1e-4, target.double(), 0).item()
    assert psnr_y((target.double() + 1e-4).float(), target, 0).item() == pytest.approx(exact, abs=0.01)
