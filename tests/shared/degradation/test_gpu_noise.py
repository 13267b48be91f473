"""Noise of the torch backend: its words, and that it is the CPU backend's, bit for bit and in distribution."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scripts.bench.parity import crops, plans, quiet
from shared.degradation import cpu, gpu
from shared.degradation.gpu_canvas import repeat_edges
from shared.degradation.gpu_noise import words16
from shared.degradation.plan import Noise
from shared.degradation.presets import SPACES
from tests.shared.degradation.gpu_pictures import (
    Z_MAX,
    canvas_of,
    noise_pictures,
    pictures_of,
    to_images,
    to_tensor,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_words_are_uniform_and_independent_between_places_channels_and_seeds(device):
    canvas = canvas_of([np.zeros((96, 80, 3), np.float32)] * 4, device)
    words = words16(canvas, [0, 1, 2, 2**53 - 1]).cpu().numpy().astype(np.uint16).astype(int)
    for bits in (words >> 8, words & 255):
        expected = words.size / 256
        chi_square = np.square(np.bincount(bits.ravel(), minlength=256) - expected).sum() / expected
        assert abs(chi_square - 255) < Z_MAX * (2 * 255) ** 0.5
    unit = (words - 32767.5) / 65536 * 12**0.5  # variance 1
    neighbours = (unit[..., 1:] * unit[..., :-1], unit[:, :, 1:] * unit[:, :, :-1], unit[:, 1:] * unit[:, :-1])
    for products in (*neighbours, unit[1:] * unit[:-1], unit):
        assert abs(products.mean()) < Z_MAX / products.size**0.5


def test_a_field_does_not_depend_on_the_canvas(device):
    small, large = (
        canvas_of([np.zeros((h, 40, 3), np.float32) for h in heights], device) for heights in ([30], [30, 96])
    )
    words = words16(large, [7, 8])
    assert torch.equal(words16(small, [7])[0, :, :30, :40], words[0, :, :30, :40])
    assert torch.equal(words.float(), repeat_edges(words.float(), large.sizes))


def test_noise_of_level_0_is_a_clip(device):
    images = [1.5 * image - 0.25 for image in noise_pictures()]
    parameters = [Noise(kind, 0.0, grey, 3) for kind, grey in [("gaussian", True), ("poisson", False)] * 2][:4]
    noisy = gpu.OPERATORS["noise"](canvas_of(images[:4], device), parameters)
    for sample, picture in pictures_of(noisy).items():
        assert np.array_equal(picture, np.clip(images[sample], 0, 1))


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("kind", "level"), [("gaussian", 25.0), ("poisson", 2.0)])
def test_a_noise_operator_gives_the_noise_of_the_cpu_backend_exactly(kind, level, grey, device):
    images = [cpu.from_8bit(crop) for crop in crops(3, 64)] + [cpu.from_8bit(crops(1, 90)[0])[:41, :67].copy()]
    parameters = [Noise(kind, level, grey, 2**53 - 1 - seed) for seed in range(4)]
    noisy = pictures_of(gpu.OPERATORS["noise"](canvas_of(images, device), parameters))
    for sample, image in enumerate(images):
        assert np.array_equal(noisy[sample], cpu.noise(image, parameters[sample]))


def statistics(residual):
    """Mean, variance, and correlations between channels and between neighbours of an error image [h, w, 3]."""
    centred = residual - residual.mean((0, 1))
    red, green, blue = np.moveaxis(centred, 2, 0)

    def correlation(a, b):
        return (a * b).mean() / (a.std() * b.std() + 1e-9)

    return {
        "mean": residual.mean(),
        "variance": centred.var(),
        "red and green": correlation(red, green),
        "green and blue": correlation(green, blue),
        "right neighbour": correlation(centred[:, 1:], centred[:, :-1]),
        "lower neighbour": correlation(centred[1:], centred[:-1]),
    }


def welch(a, b):
    """The difference of two means in standard errors."""
    return (np.mean(a) - np.mean(b)) / np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / len(a))


KINDS = [("gaussian", 8.0), ("gaussian", 25.0), ("poisson", 0.4), ("poisson", 2.0)]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("kind", "level"), KINDS)
def test_a_noise_operator_agrees_with_the_cpu_backend_in_distribution(kind, level, grey, device):
    # 6 statistics of 32 + 32 fields: t of 62 degrees passes 5 once in 200 000.
    images = [cpu.from_8bit(crops(1, 64)[0]) * np.float32(0.6) + np.float32(0.2)] * 32
    parameters = [Noise(kind, level, grey, 100 + seed) for seed in range(32)]
    noisy = pictures_of(gpu.OPERATORS["noise"](canvas_of(images, device), parameters))
    ours = [statistics(noisy[sample] - images[0]) for sample in range(32)]
    theirs = [statistics(cpu.noise(images[0], p) - images[0]) for p in parameters]
    for name in ours[0]:
        assert abs(welch([s[name] for s in ours], [s[name] for s in theirs])) < Z_MAX, name


@pytest.mark.parametrize("distinct", [1, 2, 3, 16, 17, 255])
def test_the_poisson_rate_follows_the_number_of_distinct_values(distinct, device):
    levels = np.resize(np.arange(distinct, dtype=np.uint8), (48, 48)) + np.uint8(
        255 - distinct if distinct < 255 else 0
    )
    image = cpu.from_8bit(np.repeat(levels[..., None], 3, 2)) * np.float32(1)
    parameters = [Noise("poisson", 0.01, False, seed) for seed in range(16)]
    noisy = pictures_of(gpu.OPERATORS["noise"](canvas_of([image] * 16, device), parameters))
    ours = [np.square(noisy[sample] - image).mean() for sample in range(16)]
    theirs = [np.square(cpu.noise(image, p) - image).mean() for p in parameters]
    assert abs(welch(ours, theirs)) < Z_MAX


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_noisy_plans_agree_with_the_cpu_backend_in_distribution(kind, grey, device):
    # What the noise of both stages leaves in the LR image after blur, resize and JPEG.
    hr = crops(1, 80)[0]
    level1, level2 = (8.0, 6.0) if kind == "gaussian" else (0.6, 0.5)
    base = replace(plans("paper", [3], 80)[0], jpeg1=90, jpeg2=90)
    clean = cpu.render(hr, quiet(base)).astype(float)
    chosen = [
        replace(base, noise1=Noise(kind, level1, grey, 2 * seed), noise2=Noise(kind, level2, grey, 2 * seed + 1))
        for seed in range(32)
    ]
    lr = to_images(gpu.render(to_tensor([hr] * 32, device), chosen))
    ours = [statistics(image - clean) for image in lr]
    theirs = [statistics(cpu.render(hr, plan) - clean) for plan in chosen]
    for name in ours[0]:
        assert abs(welch([s[name] for s in ours], [s[name] for s in theirs])) < Z_MAX, name


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_red_picture_stays_red_a_green_one_green_and_a_blue_one_blue(channel, device):
    rng = np.random.default_rng(6)
    hr = rng.integers(20, 91, (74, 74, 3), dtype=np.uint8)
    hr[..., channel] = rng.integers(160, 241, (74, 74), dtype=np.uint8)
    chosen = [plan for space in SPACES for plan in plans(space, range(8), 74)]
    for lr in to_images(gpu.render(to_tensor([hr] * len(chosen), device), chosen)):
        means = lr.reshape(-1, 3).mean(0)
        assert means[channel] > np.delete(means, channel).max() + 75  # of 145 in the HR picture
