"""Plans as data: their JSON survives exactly, what a task cannot have drawn is named, and steps come in their order."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from shared.degradation import cpu
from shared.degradation.partition import partition
from shared.degradation.plan import SAMPLERS, Blur, Final, Noise, Plan, Resize, Sinc, draw_plan
from shared.degradation.presets import SPACES, get_space
from shared.degradation.validation import violations

MILD, BLUR, NOISE, SEVERE = partition(get_space("paper"))
KEY = {"seed": 0, "split": "train", "row": 7, "height": 256, "width": 256}


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    """A hundred of each task of each space."""
    tasks = [task for name in SPACES for task in partition(get_space(name))]
    return [draw_plan(task, **{**KEY, "row": row}) for task in tasks for row in range(100)]


# The published form

PLAN = Plan(
    blur1=Blur("aniso", 13, sigma_x=1.75, sigma_y=0.1, theta=-3.0),
    resize1=Resize("down", "area", height=40, width=41),
    noise1=Noise("gaussian", 2.5, grey=True, seed=2**53 - 1),
    jpeg1=30,
    blur2=Blur("sinc", 7, omega=1.5),
    resize2=Resize("keep", "bicubic", height=64, width=65),
    noise2=Noise("poisson", 0.3, grey=False, seed=0),
    jpeg2=95,
    final=Final("jpeg_resize_sinc", "bilinear", Sinc(21, 2.25)),
)
PUBLISHED = {
    "version": 2,
    "blur1": {"family": "aniso", "size": 13, "sigma_x": 1.75, "sigma_y": 0.1, "theta": -3.0, "beta": 0.0, "omega": 0.0},
    "resize1": {"direction": "down", "mode": "area", "height": 40, "width": 41},
    "noise1": {"kind": "gaussian", "level": 2.5, "grey": True, "seed": 9007199254740991},
    "jpeg1": 30,
    "blur2": {"family": "sinc", "size": 7, "sigma_x": 0.0, "sigma_y": 0.0, "theta": 0.0, "beta": 0.0, "omega": 1.5},
    "resize2": {"direction": "keep", "mode": "bicubic", "height": 64, "width": 65},
    "noise2": {"kind": "poisson", "level": 0.3, "grey": False, "seed": 0},
    "jpeg2": 95,
    "final": {"order": "jpeg_resize_sinc", "sinc": {"size": 21, "omega": 2.25}, "resize_mode": "bilinear"},
}


def test_the_published_form_has_these_keys_and_values():
    assert json.loads(PLAN.to_json()) == PUBLISHED


def test_the_published_form_is_one_line_of_standard_json():
    text = PLAN.to_json()
    assert "\n" not in text
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) == PUBLISHED


def test_a_skipped_operator_is_absent():
    skipped = json.loads(replace(PLAN, blur2=None, final=replace(PLAN.final, sinc=None)).to_json())
    assert set(PUBLISHED) - set(skipped) == {"blur2"}
    assert set(PUBLISHED["final"]) - set(skipped["final"]) == {"sinc"}
    assert "null" not in json.dumps(skipped)


def test_a_plan_read_from_the_published_form_is_the_same_plan():
    assert Plan.from_json(json.dumps(PUBLISHED)) == PLAN


def test_json_round_trips_exactly(plans):
    for plan in plans:
        assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAN.jpeg1 = 40


def test_json_that_is_cut_short_is_refused():
    text = PLAN.to_json()
    for length in range(len(text)):
        with pytest.raises(ValueError, match=r".+"):
            Plan.from_json(text[:length])


@pytest.mark.parametrize("version", [0, 1, "1", None])
def test_another_version_is_refused_with_both_numbers(version):
    with pytest.raises(ValueError, match=f"plan version is {version}, this program reads 2"):
        Plan.from_json(json.dumps(PUBLISHED | {"version": version}))


@pytest.mark.parametrize("key", [key for key in PUBLISHED if key not in ("blur1", "blur2")])
def test_a_missing_part_is_refused(key):
    with pytest.raises(ValueError, match=key):
        Plan.from_json(json.dumps({name: value for name, value in PUBLISHED.items() if name != key}))


@pytest.mark.parametrize("key", ["blur1", "resize2", "noise1", "final"])
@pytest.mark.parametrize("damage", [None, 3, "text", [], {}, [1, 2]], ids=json.dumps)
def test_a_part_of_another_shape_is_refused(key, damage):
    with pytest.raises(ValueError, match=r".+"):
        Plan.from_json(json.dumps(PUBLISHED | {key: damage}))


@pytest.mark.parametrize("sinc", [{}, 0, False, "", [], {"size": 7}, {"size": 7, "omega": 1.0, "beta": 1.0}, 7])
def test_a_damaged_final_sinc_is_refused_and_not_taken_for_a_skipped_one(sinc):
    with pytest.raises(ValueError, match=r".+"):
        Plan.from_json(json.dumps(PUBLISHED | {"final": PUBLISHED["final"] | {"sinc": sinc}}))


@pytest.mark.parametrize("key", ["unknown", "blur3"])
def test_an_unknown_part_is_refused(key):
    with pytest.raises(ValueError, match=key):
        Plan.from_json(json.dumps(PUBLISHED | {key: {}}))


@pytest.mark.parametrize(
    "text",
    ["", "null", "1", '"plan"', "[]", "{}", "{'version': 1}", "[" * 100_000],
    ids=lambda text: text[:14] or "empty",
)
def test_what_is_not_a_plan_at_all_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        Plan.from_json(text)


# Violations


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda p: {"blur1": None}, ["blur1"]),
        (lambda p: {"blur1": replace(p.blur1, size=23)}, ["blur1.size"]),
        (lambda p: {"blur1": replace(p.blur1, family="plateau_iso")}, ["blur1.family", "blur1.beta"]),
        (lambda p: {"blur1": replace(p.blur1, sigma_x=2.3, sigma_y=2.3)}, ["blur1.sigma_x"]),
        (lambda p: {"blur1": replace(p.blur1, sigma_x=1.5)}, ["blur1.sigma_x", "blur1.sigma_y"]),
        (lambda p: {"blur1": replace(p.blur1, theta=0.1)}, ["blur1.theta"]),
        (lambda p: {"blur2": Blur("sinc", 11, omega=math.pi / 5)}, ["blur2.omega"]),
        (lambda p: {"blur2": Blur("sinc", 13, omega=math.pi / 5)}, []),
        (lambda p: {"blur2": None}, []),
        (lambda p: {"resize1": replace(p.resize1, direction="sideways")}, ["resize1.direction"]),
        (lambda p: {"resize2": replace(p.resize2, mode="nearest")}, ["resize2.mode"]),
        (lambda p: {"resize2": replace(p.resize2, height=0, width=2.0)}, ["resize2.height", "resize2.width"]),
        (lambda p: {"noise1": replace(p.noise1, level=4.5)}, ["noise1.level"]),
        (lambda p: {"noise1": replace(p.noise1, level="2.0")}, ["noise1.level"]),
        (lambda p: {"noise1": replace(p.noise1, level=math.nan)}, ["noise1.level"]),
        (lambda p: {"noise2": replace(p.noise2, kind="salt")}, ["noise2.kind"]),
        (lambda p: {"noise2": replace(p.noise2, grey=1, seed=2**53)}, ["noise2.grey", "noise2.seed"]),
        (lambda p: {"jpeg1": 29}, ["jpeg1"]),
        (lambda p: {"jpeg2": 96}, ["jpeg2"]),
        (lambda p: {"jpeg2": "40"}, ["jpeg2"]),
        (lambda p: {"jpeg2": True}, ["jpeg2"]),
        (lambda p: {"final": Final("jpeg_first", "nearest")}, ["final.order", "final.resize_mode"]),
        (lambda p: {"final": replace(p.final, sinc=Sinc(8, 1.0))}, ["final.sinc.size", "final.sinc.omega"]),
    ],
)
def test_what_a_task_cannot_have_drawn_is_named(change: Callable[[Plan], dict[str, Any]], names: list[str]):
    plan = Plan(
        blur1=Blur("iso", 9, 1.6, 1.6),
        resize1=Resize("up", "area", 300, 300),
        noise1=Noise("gaussian", 1.0, False, 5),
        jpeg1=30,
        blur2=Blur("aniso", 21, 0.8, 1.1, math.pi),
        resize2=Resize("keep", "area", 64, 64),
        noise2=Noise("poisson", 0.1, True, 6),
        jpeg2=95,
        final=Final("resize_sinc_jpeg", "area", Sinc(7, math.pi)),
    )
    assert violations(plan, MILD) == []
    assert violations(replace(plan, **change(plan)), MILD) == names


def test_a_plan_of_one_task_violates_another_in_what_distinguishes_the_two():
    plan = next(p for row in range(99) if (p := draw_plan(NOISE, **KEY | {"row": row})).blur1.family == "iso")
    assert violations(plan, MILD) == ["noise1.level", "noise2.level"]
    assert {"blur1.sigma_x", "noise1.level", "noise2.level"} <= set(violations(plan, BLUR))


# Steps


def names(plan: Plan) -> list[str]:
    return [operator for operator, _ in plan.steps(64, 64)]


STAGE_ONE_TO_TWO = ["blur", "resize", "noise", "jpeg", "blur", "resize", "noise"]


@pytest.mark.parametrize(
    ("order", "last"),
    [("resize_sinc_jpeg", ["resize", "blur", "jpeg"]), ("jpeg_resize_sinc", ["jpeg", "resize", "blur"])],
)
def test_the_steps_of_both_final_orders(order, last):
    assert names(replace(PLAN, final=replace(PLAN.final, order=order))) == STAGE_ONE_TO_TWO + last


@pytest.mark.parametrize(
    ("order", "last"), [("resize_sinc_jpeg", ["resize", "jpeg"]), ("jpeg_resize_sinc", ["jpeg", "resize"])]
)
def test_the_steps_without_a_final_sinc(order, last):
    assert names(replace(PLAN, final=Final(order, "area"))) == STAGE_ONE_TO_TWO + last


def test_the_steps_without_a_second_blur():
    assert names(replace(PLAN, blur2=None)) == [
        *("blur", "resize", "noise", "jpeg"),
        *("resize", "noise"),
        *("jpeg", "resize", "blur"),
    ]


def test_the_steps_carry_the_numbers_of_the_plan_and_end_at_the_lr_size():
    assert [parameters for _, parameters in PLAN.steps(63, 65)] == [
        *(PLAN.blur1, PLAN.resize1, PLAN.noise1, 30),
        *(PLAN.blur2, PLAN.resize2, PLAN.noise2, 95),
        Resize("keep", "bilinear", 63, 65),
        Blur("sinc", 21, omega=2.25),
    ]


def test_every_operator_has_one_entry_in_plan_and_in_cpu():
    assert set(SAMPLERS) == set(cpu.OPERATORS) == {"blur", "resize", "noise", "jpeg"}


def test_every_step_of_every_plan_is_an_operator_that_can_be_drawn_and_executed(plans):
    yielded = {operator for plan in plans for operator in names(plan)}
    assert yielded == set(SAMPLERS)
    assert yielded <= set(cpu.OPERATORS)


def test_every_mode_and_kind_of_noise_that_can_be_drawn_can_be_executed():
    spaces = [SimpleNamespace(**vars(get_space(name))) for name in ("paper", "paper-realesrgan", "realesrgan")]
    modes = {mode for space in spaces for part in (space.resize1, space.resize2, space.final) for mode in part.modes}
    kinds = {kind for space in spaces for part in (space.noise1, space.noise2) for kind in part.kinds}
    assert modes == set(cpu.RESIZE_MODES)
    assert kinds == set(cpu.NOISE_KINDS)
