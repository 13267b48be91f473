"""PSNR and SSIM against independent formulas, other people's code and check values."""

import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from shared.images import decode
from shared.metrics import luma, psnr_rgb, psnr_y, ssim_rgb, ssim_y

REALSR_CROP128 = Path(
    os.environ.get("REALSR_CROP128", Path(__file__).parents[3] / "shared/data/testsets/realsr_crop128")
)
"""100 camera pairs, {HR,LR}/same-name.png."""


def pictures(size: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth picture and a noisy one, [2, 3, size, size], 8-bit values."""
    generator = torch.Generator().manual_seed(size)
    coarse = torch.rand(2, 3, 4, 4, generator=generator)
    target = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    output = target + noise * torch.randn(2, 3, size, size, generator=generator)
    return output.clamp(0, 1).mul(255).round().div(255), target.mul(255).round().div(255)


def to_numpy(image_CHW: torch.Tensor) -> np.ndarray:
    return image_CHW.double().permute(1, 2, 0).numpy() * 255


def numpy_psnr_y(output_HWC: np.ndarray, target_HWC: np.ndarray, border: int) -> float:
    """The formulas of both conventions (docs/results.md), written out for one picture."""
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


def test_rgb_values_equal_scikit_image():
    output, target = pictures(32)
    for index in range(2):
        a, b = to_numpy(output[index]), to_numpy(target[index])
        expected = peak_signal_noise_ratio(b, a, data_range=255)
        assert psnr_rgb(output, target, 0)[index].item() == pytest.approx(expected, abs=1e-5)
        expected = structural_similarity(
            a, b, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert ssim_rgb(output, target, 0)[index].item() == pytest.approx(expected, abs=1e-9)


def test_ssim_on_y_equals_a_loop_over_the_windows():
    output, target = pictures(14)
    x, y = (luma(image.double())[0].numpy() for image in (output, target))
    axis = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    values, cut = [], []
    for i in range(4):
        for j in range(4):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb, vab = ((window * p * q).sum() - m for p, q, m in ((a, a, ma**2), (b, b, mb**2), (a, b, ma * mb)))
            contrast = (2 * vab + 58.5225) / (va + vb + 58.5225)
            luminance = (2 * ma * mb + 6.5025) / (ma**2 + mb**2 + 6.5025)
            values.append(luminance * contrast)
            cut.append(luminance * max(contrast, 0))
    assert ssim_y(output, target, 0)[0].item() == pytest.approx(np.mean(values), rel=1e-9)
    assert min(values) < max(values)
    assert np.mean(cut) >= np.mean(values)


def test_rounding_is_that_of_whole_levels_and_cuts_negative_contrast():
    output, target = pictures(16)
    whole = [torch.round(luma(image.double())) for image in (output, target)]
    mse = (whole[0] - whole[1]).square().mean(dim=(1, 2))
    expected = (10 * torch.log10(255**2 / mse)).tolist()
    assert psnr_y(output, target, 0, rounded=True).tolist() == pytest.approx(expected, rel=1e-12)
    assert psnr_y(output, target, 0).tolist() != pytest.approx(expected, rel=1e-9)
    opposite = 1 - target  # its structure is the target's with the other sign
    assert (ssim_rgb(opposite, target, 0) < 0).any()
    assert (ssim_rgb(opposite, target, 0, rounded=True) >= 0).all()


@pytest.mark.parametrize("metric", [ssim_y, ssim_rgb])
def test_ssim_of_equal_pictures_is_one_and_the_border_does_not_count(metric):
    output, target = pictures(24)
    assert metric(target, target.clone(), 0).tolist() == [1, 1]
    mended = target.clone()
    mended[..., :4, :] = output[..., :4, :]
    assert metric(mended, target, 4).tolist() == pytest.approx([1, 1], abs=1e-12)
    assert (metric(mended, target, 3) < 1).all()


@pytest.mark.parametrize("rows", [1, 7, 64])
@pytest.mark.parametrize("metric", [ssim_y, ssim_rgb])
def test_ssim_in_strips_is_that_of_the_whole_picture(metric, rows, monkeypatch):
    output, target = pictures(40)
    monkeypatch.setattr("shared.metrics.MIN_STRIP_ROWS", 40)
    whole = metric(output, target, 4).tolist()
    monkeypatch.setattr("shared.metrics.MIN_STRIP_ROWS", rows)
    monkeypatch.setattr("shared.metrics.STRIP_VALUES", 1)
    assert metric(output, target, 4).tolist() == pytest.approx(whole, rel=1e-13)


def test_ssim_of_a_picture_smaller_than_its_window_is_refused():
    with pytest.raises(ValueError, match=r"images of \(10, 10\) pixels: SSIM's window needs 11"):
        ssim_y(*pictures(18), 4)


@pytest.mark.skipif(not REALSR_CROP128.is_dir(), reason="no RealSR crops: set REALSR_CROP128 to their folder")
def test_bicubic_on_the_realsr_crops_has_the_known_values():
    values = []
    for path in sorted((REALSR_CROP128 / "LR").glob("*.png")):
        lr, hr = (decode((REALSR_CROP128 / kind / path.name).read_bytes(), path.name) for kind in ("LR", "HR"))
        large = cv2.resize(lr, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        output, target = (torch.from_numpy(i).permute(2, 0, 1)[None].double() / 255 for i in (large, hr))
        values.append([psnr_y(output, target, 0), psnr_y(output, target, 4), ssim_y(output, target, 0)])
    assert len(values) == 100
    means = torch.tensor(values, dtype=torch.float64).mean(dim=0).tolist()
    assert means[:2] == pytest.approx([27.1519, 27.1536], abs=5e-5)
    assert means[2] == pytest.approx(0.7582, abs=5e-5)
