"""The CPU backend operator by operator, each against another implementation, and whole pictures through `render`."""

import itertools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from shared.degradation import cpu
from shared.degradation.cpu import blur, from_8bit, render, resize, sharpen, to_8bit
from shared.degradation.kernels import kernel
from shared.degradation.partition import partition
from shared.degradation.plan import Blur, Final, Noise, Plan, Resize, Sinc, draw_plan
from shared.degradation.presets import SPACES, get_space
from tests.shared.degradation.pictures import picture, smooth_picture

QUIET = Plan(  # no noise, and JPEG at its best
    resize1=Resize("keep", "area", 80, 80),
    noise1=Noise("gaussian", 0.0, False, 0),
    jpeg1=95,
    resize2=Resize("keep", "area", 20, 20),
    noise2=Noise("gaussian", 0.0, False, 0),
    jpeg2=95,
    final=Final("resize_sinc_jpeg", "area"),
)


def plans(space, count, height, width):
    """`count` plans, spread over the boxes of the space's own partition."""
    boxes = itertools.cycle(partition(get_space(space)))
    return [draw_plan(next(boxes), seed=5, split="train", row=row, height=height, width=width) for row in range(count)]


# --- 8 bits -------------------------------------------------------------------------------------------------------


def test_8_bits_survive_the_journey_through_float():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert np.array_equal(to_8bit(from_8bit(levels)), levels)
    assert from_8bit(levels).dtype == np.float32
    assert (from_8bit(levels).min(), from_8bit(levels).max()) == (0, 1)


@pytest.mark.parametrize(
    ("offset", "up"),
    [
        (0.0, 0),
        (0.49, 0),
        (0.5 - 1 / 512, 0),
        (0.5 - 1 / 2048, 1),  # within 1/1024 below a tie: as the tie
        (0.5, 1),
        (0.51, 1),
        (0.99, 1),
    ],
)
def test_the_rule_of_rounding_is_the_floor_of_255_x_plus_a_half_and_1_in_1024(offset, up):
    levels = np.arange(255)
    image = ((levels + offset) / 255).astype(np.float32)
    assert np.array_equal(to_8bit(image), levels + up)


def test_what_lies_outside_is_clipped_when_it_becomes_8_bits():
    assert to_8bit(np.array([-7, -0.001, 1.001, 300], np.float32)).tolist() == [0, 0, 255, 255]


def test_to_8bit_leaves_its_input_alone():
    image = picture(8, 8)
    before = image.copy()
    to_8bit(image)
    assert np.array_equal(image, before)


# --- blur ---------------------------------------------------------------------------------------------------------


def correlate(image, weights):
    """Direct correlation in float64 with a reflect-101 border."""
    margin = len(weights) // 2
    padded = np.pad(image.astype(np.float64), ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape, axis=(0, 1))
    return np.einsum("hwcij,ij->hwc", windows, weights.astype(np.float64))


BLURS = [
    Blur("iso", 7, 0.8, 0.8),
    Blur("iso", 21, 3.0, 3.0),
    Blur("aniso", 9, 3.0, 1.6, 0.7),
    Blur("aniso", 21, 0.3, 3.0, -2.0),
    Blur("generalized_iso", 13, 2.0, 2.0, beta=0.5),
    Blur("generalized_aniso", 15, 2.0, 1.0, 1.0, 4.0),
    Blur("plateau_iso", 11, 1.2, 1.2, beta=2.0),
    Blur("plateau_aniso", 21, 3.0, 1.0, 0.4, 1.3),
    Blur("sinc", 7, omega=math.pi / 3),
    Blur("sinc", 21, omega=math.pi / 5),
    Blur("sinc", 17, omega=math.pi),
]


@pytest.mark.parametrize("parameters", BLURS, ids=lambda b: f"{b.family}-{b.size}")
@pytest.mark.parametrize(("height", "width"), [(24, 31), (11, 64)])
def test_blur_is_correlation_with_the_kernel_and_a_reflect_101_border(parameters, height, width):
    # 441 float32 products of about 1: sqrt(441) * 2**-24 = 1.3e-6 at most.
    image = picture(height, width)
    assert np.abs(blur(image, parameters) - correlate(image, kernel(parameters))).max() < 1.3e-6


def test_blur_is_correlation_and_not_convolution():
    # Every kernel of the model is symmetric through its centre, so the two agree: a point shows the kernel itself.
    parameters = Blur("aniso", 9, 3.0, 0.8, math.pi / 4)
    point = np.zeros((21, 21, 3), np.float32)
    point[10, 10] = 1
    shown = blur(point, parameters)[6:15, 6:15]
    for channel in range(3):
        assert np.abs(shown[..., channel] - kernel(parameters)).max() < 1e-7
    assert shown[6, 6, 0] > 10 * shown[6, 2, 0]  # theta = 45 degrees: from the upper left to the lower right


def test_blur_does_not_clip():
    step = np.zeros((16, 32, 3), np.float32)
    step[:, 16:] = 1
    ringing = blur(step, Blur("sinc", 21, omega=math.pi / 3))
    assert ringing.min() < -0.05
    assert ringing.max() > 1.05


@pytest.mark.parametrize("parameters", BLURS, ids=lambda b: f"{b.family}-{b.size}")
def test_blur_leaves_a_flat_picture_flat(parameters):
    flat = np.full((16, 24, 3), 0.6, np.float32)
    assert np.abs(blur(flat, parameters) - 0.6).max() < 1e-6


# --- resize -------------------------------------------------------------------------------------------------------

SIZES = [  # in, out
    ((64, 48), (96, 72)),
    ((64, 48), (9, 7)),
    ((37, 53), (61, 89)),
    ((74, 75), (11, 11)),  # the smallest factor, .15
    ((128, 96), (19, 143)),
    ((33, 17), (5, 3)),
    ((64, 64), (64, 33)),
    ((16, 16), (32, 64)),
    ((75, 61), (75, 92)),
    ((20, 20), (1, 1)),
]


@pytest.mark.parametrize(("size_in", "size_out"), SIZES)
@pytest.mark.parametrize(("mode", "tolerance"), [("area", 1e-6), ("bilinear", 1e-5), ("bicubic", 1e-5)])
def test_resize_is_torchs_to_a_given_size(mode, tolerance, size_in, size_out):
    # area: sums of float32. The others: positions in float32, about 128 * 2**-24 = 8e-6 of a pixel.
    image = picture(*size_in)
    align = {} if mode == "area" else {"align_corners": False}
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    theirs = torch.nn.functional.interpolate(tensor, size=size_out, mode=mode, **align)[0].numpy().transpose(1, 2, 0)
    ours = resize(image, Resize("up", mode, *size_out))
    assert ours.shape == (*size_out, 3)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < tolerance


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
def test_keep_returns_the_picture_itself(mode):
    image = picture(19, 23)
    assert resize(image, Resize("keep", mode, 19, 23)) is image


def test_bicubic_overshoots_and_is_not_clipped():
    step = np.zeros((8, 16, 3), np.float32)
    step[:, 8:] = 1
    larger = resize(step, Resize("up", "bicubic", 12, 24))
    assert larger.min() < -0.02
    assert larger.max() > 1.02


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
def test_resize_leaves_a_flat_picture_flat(mode):
    flat = np.full((31, 17, 3), 0.3, np.float32)
    assert np.abs(resize(flat, Resize("down", mode, 13, 25)) - 0.3).max() < 1e-6


def test_every_mode_of_every_space_is_registered():
    modes = {mode for space in SPACES.values() for part in (space.resize1, space.resize2) for mode in part.modes}
    assert set(cpu.RESIZE_MODES) == modes


# --- sharpening ---------------------------------------------------------------------------------------------------


def usm(hr):
    """Real-ESRGAN's USMSharp (weight .5, radius 50 made odd, threshold 10) in float64."""
    line = cv2.getGaussianKernel(51, 0)  # sigma = .3 * ((51 - 1) * .5 - 1) + .8 = 8
    weights = line @ line.T
    image = hr / 255.0
    residual = image - correlate(image, weights)
    soft_mask = correlate((np.abs(residual) * 255 > 10).astype(np.float64), weights)
    sharp = np.clip(image + 0.5 * residual, 0, 1)
    return soft_mask * sharp + (1 - soft_mask) * image


@pytest.mark.parametrize(("height", "width"), [(80, 96), (74, 75)])
def test_sharpening_is_the_unsharp_mask_of_real_esrgan(height, width):
    # A pixel whose residual is within rounding of the threshold may fall on the other side; here none does.
    hr = smooth_picture(height, width, seed=3)
    ours = sharpen(hr)
    assert ours.dtype == np.float32
    assert np.abs(ours - usm(hr)).max() < 2e-6
    assert np.abs(ours - from_8bit(hr)).max() > 0.02  # it did something


def test_sharpening_stays_in_the_range_of_pictures():
    hr = (np.indices((80, 80)).sum(0)[..., None] // 20 % 2 * np.array([255, 255, 255])).astype(np.uint8)
    assert sharpen(hr).min() >= 0
    assert sharpen(hr).max() <= 1 + 1e-6


@pytest.mark.parametrize("level", [0, 1, 127, 255])
def test_sharpening_leaves_a_flat_picture_unchanged(level):
    hr = np.full((74, 80, 3), level, np.uint8)
    assert np.abs(sharpen(hr) - from_8bit(hr)).max() < 1e-6
    assert np.array_equal(to_8bit(sharpen(hr)), hr)


# --- render -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES)
def test_every_plan_renders_the_smallest_picture_and_again_the_same(space):
    hr = smooth_picture(74, 74)
    for plan in plans(space, 200, 74, 74):
        lr = render(hr, plan)
        assert lr.shape == (18, 18, 3)
        assert lr.dtype == np.uint8
        assert np.array_equal(lr, render(hr, plan))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((80, 80), np.uint8), r"hr is uint8 \[80, 80\]: it must be uint8 or float32 \[H, W, 3\], RGB"),
        (np.zeros((80, 80, 4), np.uint8), r"hr is uint8 \[80, 80, 4\]"),
        (np.zeros((80, 80, 3), np.uint16), r"hr is uint16 \[80, 80, 3\]"),
        (np.zeros((80, 73, 3), np.uint8), "sides of at least 74 pixels"),
        (np.full((80, 80, 3), 255, np.float32), r"values from 255.0 to 255.0: float32 images must lie in \[0, 1\]"),
        (np.full((80, 80, 3), np.nan, np.float32), "values from nan to nan"),
    ],
)
def test_other_arrays_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        render(image, QUIET)


def test_rendering_leaves_the_picture_alone():
    hr = smooth_picture(80, 80)
    hr.flags.writeable = False
    sharp = sharpen(hr)
    sharp.flags.writeable = False
    for plan in plans("paper", 20, 80, 80):
        render(hr, plan)
        render(sharp, plan)


@pytest.mark.parametrize(("height", "width"), [(74, 130), (81, 79), (128, 75)])
def test_the_lr_image_is_a_quarter_of_the_hr_image_rounded_down(height, width):
    hr = smooth_picture(height, width)
    for plan in plans("paper-realesrgan", 20, height, width):
        assert render(hr, plan).shape == (height // 4, width // 4, 3)


def test_a_float_picture_renders_as_the_8_bit_picture_it_equals():
    hr = smooth_picture(80, 80)
    for plan in plans("paper", 20, 80, 80):
        assert np.array_equal(render(from_8bit(hr), plan), render(hr, plan))


def test_a_plan_renders_the_same_after_a_journey_through_json():
    hr = smooth_picture(80, 80)
    for plan in plans("realesrgan", 20, 80, 80):
        assert np.array_equal(render(hr, Plan.from_json(plan.to_json())), render(hr, plan))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_red_picture_stays_red_a_green_one_green_and_a_blue_one_blue(space, channel):
    # 152 distinct levels, as in a photograph: with few of them the Poisson noise of the model swamps every colour.
    rng = np.random.default_rng(6)
    hr = rng.integers(20, 91, (74, 74, 3), dtype=np.uint8)
    hr[..., channel] = rng.integers(160, 241, (74, 74), dtype=np.uint8)
    for plan in plans(space, 60, 74, 74):
        means = render(hr, plan).reshape(-1, 3).mean(0)
        assert means[channel] > np.delete(means, channel).max() + 75  # of 145 in the HR picture


def test_without_noise_the_lr_image_is_the_quarter_of_the_picture():
    # The two JPEG at quality 95 quantise by 1 to 12 levels: a smooth grey picture comes back within 4.
    hr = np.repeat(smooth_picture(80, 80)[..., :1], 3, axis=2)
    expected = resize(from_8bit(hr), Resize("down", "area", 20, 20))
    assert np.abs(from_8bit(render(hr, QUIET)) - expected).max() < 4 / 255


@pytest.mark.parametrize("part", ["blur1", "blur2", "noise1", "noise2", "jpeg1", "jpeg2", "resize1", "resize2", "sinc"])
def test_every_part_of_a_plan_changes_the_picture(part):
    hr = to_8bit(picture(80, 80))
    change = {
        "blur1": {"blur1": Blur("iso", 7, 1.6, 1.6)},
        "blur2": {"blur2": Blur("iso", 7, 0.8, 0.8)},
        "noise1": {"noise1": Noise("gaussian", 8.0, False, 1)},
        "noise2": {"noise2": Noise("poisson", 0.6, True, 1)},
        "jpeg1": {"jpeg1": 30},
        "jpeg2": {"jpeg2": 30},
        "resize1": {"resize1": Resize("down", "bicubic", 50, 50)},
        "resize2": {"resize2": Resize("up", "bilinear", 30, 30)},
        "sinc": {"final": replace(QUIET.final, sinc=Sinc(7, 1.5))},
    }[part]
    assert not np.array_equal(render(hr, replace(QUIET, **change)), render(hr, QUIET))


def test_the_operators_run_in_the_order_of_the_plan(monkeypatch):
    ran = []

    def recorded(name, operator):
        def run(image, parameters):
            ran.append((name, parameters))
            return operator(image, parameters)

        return run

    monkeypatch.setattr(cpu, "OPERATORS", {name: recorded(name, run) for name, run in cpu.OPERATORS.items()})
    plan = plans("paper", 1, 80, 84)[0]
    render(smooth_picture(80, 84), plan)
    assert ran == list(plan.steps(20, 21))
