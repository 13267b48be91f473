"""Frozen plans in which one number moves."""

from dataclasses import asdict

import numpy as np
import pytest

from scripts.reproduce.frozen import OPERATORS, evenly_spaced, mid_plan, moved, span
from shared.degradation import cpu
from shared.degradation.presets import SPACES
from shared.degradation.space import Range

PAPER = SPACES["paper"]
MOVES = {
    "noise": {"noise1.level", "noise2.level"},
    "blur": {"blur1.sigma_x", "blur1.sigma_y", "blur2.sigma_x", "blur2.sigma_y"},
    "down-sampling": {"resize1.direction", "resize1.height", "resize1.width"},
    "JPEG": {"jpeg1", "jpeg2"},
}


def flat(plan):
    fields = {}
    for name, value in asdict(plan).items():
        fields |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return fields


def test_the_mid_range_plan_is_in_the_middle_of_the_tables():
    plan = mid_plan(PAPER, 256)
    assert (plan.blur1.sigma_x, plan.blur2.sigma_y) == (2.3, 1.2)
    assert (plan.noise1.level, plan.noise2.level) == (4.5, 4.0)
    assert (plan.resize1.height, plan.resize2.width) == (256, 64)
    assert (plan.jpeg1, plan.jpeg2) == (62, 62)


@pytest.mark.parametrize("operator", OPERATORS)
def test_only_the_operators_own_number_moves(operator):
    low, high = span(PAPER, operator).low, span(PAPER, operator).high
    first, last = (flat(moved(PAPER, operator, value, 256)) for value in (low, high))
    assert {name for name in first if first[name] != last[name]} == MOVES[operator]


def test_stage_2_moves_in_proportion_to_stage_1():
    noise, blur = moved(PAPER, "noise", 8.0, 256), moved(PAPER, "blur", 1.6, 256)
    assert (noise.noise1.level, noise.noise2.level) == (8.0, 7.0)
    assert (blur.blur1.sigma_x, blur.blur2.sigma_x) == (1.6, 0.8)


def test_down_sampling_is_the_factor_of_stage_1_alone_down_to_the_smallest():
    assert span(PAPER, "down-sampling") == Range(0.15, 1.0)
    plan = moved(PAPER, "down-sampling", 0.5, 256)
    assert (plan.resize1.direction, plan.resize1.height, plan.resize2) == ("down", 128, mid_plan(PAPER, 256).resize2)


@pytest.mark.parametrize(("operator", "value"), [("noise", 30.0), ("noise", 0.5), ("blur", 5.0), ("blur", 0.2)])
def test_values_beyond_the_tables_can_be_rendered(operator, value):
    hr = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    assert cpu.render(hr, moved(PAPER, operator, value, 80)).shape == (20, 20, 3)


def test_values_are_evenly_spaced_from_end_to_end():
    assert evenly_spaced(Range(1.0, 8.0), 8) == [1, 2, 3, 4, 5, 6, 7, 8]
