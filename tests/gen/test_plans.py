"""`violations`: every drawn plan passes in its own subspace, and each number that leaves it is named."""

import math
from dataclasses import replace

import pytest

from shared.degradation.partition import get_subspace, partition
from shared.degradation.plan import Blur, Final, Noise, Plan, Resize, Sinc, draw_plan
from shared.degradation.presets import SPACES, get_space
from shared.degradation.validation import violations

NOISE = get_subspace(get_space("paper"), None, "noise")
INSIDE = Plan(
    blur1=Blur("iso", 7, 1.6, 1.6),
    resize1=Resize("keep", "area", 256, 256),
    noise1=Noise("gaussian", 4.5, False, 0),
    jpeg1=30,
    blur2=None,
    resize2=Resize("up", "bicubic", 70, 70),
    noise2=Noise("poisson", 0.6, True, 2**53 - 1),
    jpeg2=95,
    final=Final("jpeg_resize_sinc", "area", Sinc(21, math.pi)),
)


def plans(subspace, count=300):
    return [draw_plan(subspace, seed=0, split="train", row=row, height=256, width=256) for row in range(count)]


@pytest.mark.parametrize("space", sorted(SPACES))
@pytest.mark.parametrize("cut", ["2x2", "full", "3x2"])
def test_drawn_plans_violate_nothing(space, cut):
    for subspace in partition(get_space(space), cut):
        assert not any(violations(plan, subspace) for plan in plans(subspace))


def test_drawn_plans_of_another_task_violate_its_ranges_alone():
    for plan in plans(get_subspace(get_space("paper"), None, "mild")):
        assert set(violations(plan, NOISE)) == {"noise1.level", "noise2.level"}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, []),
        ({"blur1": None}, ["blur1"]),
        ({"blur1": Blur("iso", 7, 2.3, 2.3)}, ["blur1.sigma_x"]),
        ({"blur1": Blur("aniso", 7, 2.3, 2.3)}, ["blur1.sigma_x", "blur1.sigma_y"]),
        ({"blur1": Blur("iso", 7, math.nextafter(2.3, 0), math.nextafter(2.3, 0))}, []),
        ({"blur1": Blur("iso", 7, 1.6, 1.7)}, ["blur1.sigma_y"]),
        ({"blur1": Blur("iso", 8, 1.6, 1.6)}, ["blur1.size"]),
        ({"blur1": Blur("iso", 7.0, 1.6, 1.6)}, ["blur1.size"]),
        ({"blur1": Blur("iso", 7, 1.6, 1.6, theta=0.1)}, ["blur1.theta"]),
        ({"blur1": Blur("aniso", 7, 1.6, 2.2, theta=-4.0)}, ["blur1.theta"]),
        ({"blur1": Blur("plateau_iso", 7, 1.6, 1.6, beta=1.5)}, ["blur1.family"]),
        ({"blur1": Blur("sinc", 11, omega=math.pi / 4)}, ["blur1.omega"]),
        ({"blur1": Blur("sinc", 13, omega=math.pi / 4)}, []),
        ({"blur1": Blur("sinc", 13, 1.0, omega=math.pi / 4)}, ["blur1.sigma_x"]),
        ({"blur1": Blur("iso", 7, float("nan"), float("nan"))}, ["blur1.sigma_x", "blur1.sigma_y"]),
        ({"blur1": Blur("iso", 7, "1.6", "1.6")}, ["blur1.sigma_x"]),
        ({"resize1": Resize("sideways", "area", 256, 256)}, ["resize1.direction"]),
        ({"resize1": Resize("keep", "lanczos", 256, 256.0)}, ["resize1.mode", "resize1.width"]),
        ({"noise1": Noise("gaussian", 8.0, False, 0)}, []),
        ({"noise1": Noise("gaussian", 8.1, False, 0)}, ["noise1.level"]),
        ({"noise1": Noise("poisson", 4.5, False, 0)}, ["noise1.level"]),
        ({"noise1": Noise("speckle", 0.5, 1, 2**53)}, ["noise1.kind", "noise1.grey", "noise1.seed"]),
        ({"jpeg1": 29, "jpeg2": 96}, ["jpeg1", "jpeg2"]),
        ({"jpeg1": True}, ["jpeg1"]),
        ({"final": Final("jpeg_resize_sinc", "area")}, []),
        ({"final": Final("sinc_first", "nearest", Sinc(6, 0.1))},
         ["final.order", "final.resize_mode", "final.sinc.size", "final.sinc.omega"]),
    ],
)  # fmt: skip
def test_each_number_outside_is_named(change, names):
    assert violations(replace(INSIDE, **change), NOISE) == names


def test_generalized_kernels_are_held_to_their_betas():
    subspace = get_subspace(get_space("realesrgan"), None, "full")
    inside = replace(INSIDE, noise1=Noise("gaussian", 5.0, False, 0))
    for family, beta, names in [
        ("generalized_iso", 4.0, []),
        ("generalized_iso", 4.1, ["blur1.beta"]),
        ("plateau_aniso", 2.0, []),
        ("plateau_aniso", 0.9, ["blur1.beta"]),
        ("iso", 1.0, ["blur1.beta"]),
    ]:
        plan = replace(inside, blur1=Blur(family, 7, 1.6, 1.6, beta=beta))
        assert violations(plan, subspace) == names
