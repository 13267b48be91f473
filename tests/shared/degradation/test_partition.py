"""A partition covers its space without overlap, and the paper's four tasks are those of Tables 6-9, to the digit."""

import itertools
import math

import numpy as np
import pytest

from shared.degradation.partition import get_subspace, partition
from shared.degradation.plan import draw_plan
from shared.degradation.presets import get_space
from shared.degradation.space import Space
from shared.errors import UsageError

AXES = ("blur1", "blur2", "gaussian1", "gaussian2", "poisson1", "poisson2")
# Tables 6, 7, 8 and 9: blur sigma 1 and 2, Gaussian sigma (of 255) 1 and 2, Poisson scale 1 and 2.
TABLES = {
    "mild": ((1.6, 2.3), (0.8, 1.2), (1.0, 4.5), (1.0, 4.0), (0.1, 0.4), (0.1, 0.35)),
    "blur": ((2.3, 3.0), (1.2, 1.6), (1.0, 4.5), (1.0, 4.0), (0.1, 0.4), (0.1, 0.35)),
    "noise": ((1.6, 2.3), (0.8, 1.2), (4.5, 8.0), (4.0, 7.0), (0.4, 0.7), (0.35, 0.6)),
    "severe": ((2.3, 3.0), (1.2, 1.6), (4.5, 8.0), (4.0, 7.0), (0.4, 0.7), (0.35, 0.6)),
}
CUTS = ("2x2", "1x2", "1x3", "1x5", "3x4", "full")
SPACES = ("paper", "paper-wide", "paper-realesrgan", "realesrgan")
STAGES_AND_KINDS = list(itertools.product((1, 2), ("gaussian", "poisson")))


def axes(space: Space) -> dict:
    """The six ranges that a partition may narrow."""
    return {
        "blur1": space.blur1.sigma,
        "blur2": space.blur2.sigma,
        "gaussian1": space.noise1.gaussian_sigma_255,
        "gaussian2": space.noise2.gaussian_sigma_255,
        "poisson1": space.noise1.poisson_scale,
        "poisson2": space.noise2.poisson_scale,
    }


def ends(space: Space) -> tuple[tuple[float, float], ...]:
    return tuple((bounds.low, bounds.high) for bounds in axes(space).values())


def boxes_with(subspaces, **point: float) -> list[str]:
    """Names of the boxes that hold the point, given by some of its coordinates."""
    return [s.name for s in subspaces if all(value in axes(s.ranges)[axis] for axis, value in point.items())]


# The four tasks of the paper


@pytest.mark.parametrize("space", ["paper", "paper-realesrgan"])
@pytest.mark.parametrize("task", TABLES)
def test_the_four_tasks_have_the_boundaries_of_tables_6_to_9(space, task):
    assert ends(get_subspace(get_space(space), "2x2", task).ranges) == TABLES[task]


def test_the_four_tasks_have_the_papers_names_in_the_papers_order():
    assert [task.name for task in partition(get_space("paper"))] == ["mild", "blur", "noise", "severe"]


@pytest.mark.parametrize(
    ("task", "blur_closed", "noise_closed"),
    [("mild", False, False), ("blur", True, False), ("noise", False, True), ("severe", True, True)],
)
def test_a_common_boundary_belongs_to_the_upper_task(task, blur_closed, noise_closed):
    bounds = axes(get_subspace(get_space("paper"), "2x2", task).ranges)
    assert {axis: bounds[axis].closed for axis in AXES} == {
        axis: blur_closed if axis.startswith("blur") else noise_closed for axis in AXES
    }


def test_only_blur_sigma_and_noise_level_differ_between_tasks():
    whole = get_space("paper")
    for task in partition(whole):
        ranges = task.ranges
        assert (ranges.name, ranges.final, ranges.default_partition) == ("paper", whole.final, "2x2")
        for operator in ("resize1", "resize2", "jpeg1", "jpeg2"):
            assert getattr(ranges, operator) == getattr(whole, operator)
        for blur, whole_blur in ((ranges.blur1, whole.blur1), (ranges.blur2, whole.blur2)):
            assert vars(blur) | {"sigma": None} == vars(whole_blur) | {"sigma": None}
        for noise, whole_noise in ((ranges.noise1, whole.noise1), (ranges.noise2, whole.noise2)):
            assert (noise.kinds, noise.grey) == (whole_noise.kinds, whole_noise.grey)


# Cuts along the noise axis (Table 5) and in general


@pytest.mark.parametrize(
    ("cut", "axis", "edges"),
    [
        ("1x2", "gaussian1", [1, 4.5, 8]),
        ("1x2", "poisson2", [0.1, 0.35, 0.6]),
        ("1x3", "gaussian2", [1, 3, 5, 7]),
        ("1x3", "poisson1", [0.1, 0.3, 0.5, 0.7]),
        ("1x5", "gaussian1", [1, 2.4, 3.8, 5.2, 6.6, 8]),
        ("1x5", "gaussian2", [1, 2.2, 3.4, 4.6, 5.8, 7]),
        ("1x5", "poisson1", [0.1, 0.22, 0.34, 0.46, 0.58, 0.7]),
        ("1x5", "poisson2", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        ("1x5", "blur1", [1.6, 3]),
        ("3x4", "gaussian1", [1, 2.75, 4.5, 6.25, 8]),
        ("3x4", "blur2", [0.8, 1.066666666667, 1.333333333333, 1.6]),
        ("4x1", "blur1", [1.6, 1.95, 2.3, 2.65, 3]),
        ("4x1", "gaussian1", [1, 8]),
    ],
)
def test_an_axis_is_cut_uniformly_at_these_numbers(cut, axis, edges):
    bounds = {axes(subspace.ranges)[axis] for subspace in partition(get_space("paper"), cut)}
    assert sorted({b.low for b in bounds} | {b.high for b in bounds}) == edges
    assert sorted((b.low, b.high) for b in bounds) == list(itertools.pairwise(edges))


@pytest.mark.parametrize(
    ("cut", "names"),
    [
        ("full", ["full"]),
        ("1x1", ["b0n0"]),
        ("1x3", ["b0n0", "b0n1", "b0n2"]),
        ("2x2", ["mild", "blur", "noise", "severe"]),
        ("3x2", ["b0n0", "b0n1", "b1n0", "b1n1", "b2n0", "b2n1"]),
    ],
)
def test_boxes_are_named_by_their_place(cut, names):
    assert [subspace.name for subspace in partition(get_space("paper"), cut)] == names


def test_the_first_index_is_blur_and_the_second_is_noise():
    corner = get_subspace(get_space("paper"), "3x2", "b2n0").ranges
    assert axes(corner)["blur1"].high == 3.0
    assert axes(corner)["gaussian1"].low == 1.0


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("stage", "kind"), STAGES_AND_KINDS)
def test_every_point_of_a_stage_lies_in_exactly_one_box(space, cut, stage, kind):
    blur_axis, noise_axis = f"blur{stage}", f"{kind}{stage}"
    subspaces, whole = partition(get_space(space), cut), axes(get_space(space))
    random = np.random.default_rng(stage)
    for sigma, level in zip(
        random.uniform(whole[blur_axis].low, whole[blur_axis].high, 300),
        random.uniform(whole[noise_axis].low, whole[noise_axis].high, 300),
        strict=True,
    ):
        assert len(boxes_with(subspaces, **{blur_axis: sigma, noise_axis: level})) == 1


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("stage", "kind"), STAGES_AND_KINDS)
def test_every_exact_edge_and_its_neighbours_lie_in_exactly_one_box(space, cut, stage, kind):
    blur_axis, noise_axis = f"blur{stage}", f"{kind}{stage}"
    subspaces, whole = partition(get_space(space), cut), axes(get_space(space))

    def values(axis: str) -> list[float]:
        edges = {end for s in subspaces for end in (axes(s.ranges)[axis].low, axes(s.ranges)[axis].high)}
        near = [math.nextafter(edge, toward) for edge in edges for toward in (-math.inf, math.inf)]
        return [value for value in (*edges, *near) if value in whole[axis]]

    for sigma, level in itertools.product(values(blur_axis), values(noise_axis)):
        assert len(boxes_with(subspaces, **{blur_axis: sigma, noise_axis: level})) == 1


@pytest.mark.parametrize("cut", CUTS)
def test_no_box_reaches_beyond_the_space(cut):
    subspaces, whole = partition(get_space("paper"), cut), axes(get_space("paper"))
    for axis in AXES:
        below, above = math.nextafter(whole[axis].low, -math.inf), math.nextafter(whole[axis].high, math.inf)
        assert boxes_with(subspaces, **{axis: below}) == []
        assert boxes_with(subspaces, **{axis: above}) == []


@pytest.mark.parametrize("cut", CUTS)
def test_both_stages_and_both_noises_are_cut_in_the_same_proportion(cut):
    subspaces, whole = partition(get_space("paper"), cut), axes(get_space("paper"))
    random = np.random.default_rng(0)
    for blur_share, noise_share in random.uniform(0, 1, (200, 2)):
        point = {
            axis: bounds.low + (blur_share if axis.startswith("blur") else noise_share) * (bounds.high - bounds.low)
            for axis, bounds in whole.items()
        }
        assert len(boxes_with(subspaces, **point)) == 1


def test_the_full_partition_is_the_space_itself():
    (whole,) = partition(get_space("realesrgan"))
    assert (whole.name, whole.space, whole.partition) == ("full", "realesrgan", "full")
    assert whole.ranges == get_space("realesrgan")


# One operator alone (Figs. 1, 8, 9)


@pytest.mark.parametrize(("axis", "grid"), [("blur", "7x1"), ("noise", "1x7")])
def test_along_blur_or_noise_the_boxes_are_those_of_the_grid(axis, grid):
    along, cells = (partition(get_space("paper"), cut) for cut in (f"{axis}:7", grid))
    assert [box.name for box in along] == [f"{axis}{i}" for i in range(7)]
    assert [box.ranges for box in along] == [box.ranges for box in cells]


@pytest.mark.parametrize("parts", [1, 10, 50, 66])
def test_every_jpeg_quality_lies_in_exactly_one_box(parts):
    boxes = [box.ranges for box in partition(get_space("paper"), f"jpeg:{parts}")]
    assert [q for box in boxes for q in range(box.jpeg1.low, box.jpeg1.high + 1)] == [*range(30, 96)]
    assert all(box.jpeg1 == box.jpeg2 for box in boxes)


def test_more_boxes_than_jpeg_qualities_are_refused():
    with pytest.raises(UsageError, match=r"67 parts of the 66 JPEG qualities 30 \.\. 95: ask for fewer"):
        partition(get_space("paper"), "jpeg:67")


def test_resize_boxes_hold_only_directions_that_have_factors_in_them():
    boxes = [box.ranges.resize1 for box in partition(get_space("paper"), "resize:9")]  # parts of .15
    assert [sorted(box.directions) for box in boxes] == [["down"]] * 5 + [["down", "keep", "up"]] + [["up"]] * 3
    assert all(sum(box.directions.values()) == pytest.approx(1) for box in boxes)
    assert boxes[0].factors("down") == (0.15, 0.3)
    assert (boxes[5].factors("down"), boxes[5].factors("up")) == ((0.9, 1.0), (1.0, 1.05))
    assert boxes[8].factors("up") == (1.35, 1.5)


def test_a_plan_keeps_to_the_resize_factors_of_its_box():
    subspace = get_subspace(get_space("paper"), "resize:9", "resize2")
    for row in range(200):
        plan = draw_plan(subspace, seed=0, split="train", row=row, height=1000, width=1000)
        assert 450 <= plan.resize1.height <= 600


# Errors


@pytest.mark.parametrize(
    "name", ["2by2", "0x2", "2x0", "x2", "2x", "-1x2", "2x2x2", " 2x2", "1x100", "FULL", "hue:3", "blur:0", "blur:"]
)
def test_an_unknown_partition_is_refused_with_the_forms_there_are(name):
    with pytest.raises(
        UsageError, match=r"unknown partition .* choose 2x2, full, BxN such as 1x3, or one axis as blur:N"
    ):
        partition(get_space("paper"), name)


def test_an_unknown_box_is_refused_with_the_names_there_are():
    with pytest.raises(UsageError, match=r"unknown subspace 'nose' .* choose one of mild, blur, noise, severe or all"):
        get_subspace(get_space("paper"), "2x2", "nose")
