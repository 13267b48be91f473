"""Drawn plans follow the tables, are keyed by their names alone, and survive JSON exactly.

Statistics: 20 000 plans of each of the paper's four tasks, fewer of the other spaces. Every check has the error rate
1e-6 / 2 000, and there are fewer than 2 000 of them: by Bonferroni, correct code fails this file with probability below
1e-6. The seed is fixed, so a check passes always or never.
"""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from shared.degradation.partition import Subspace, get_subspace, partition
from shared.degradation.plan import Blur, Noise, Plan, Resize, draw_plan
from shared.degradation.presets import get_space
from shared.degradation.validation import violations
from tests.shared.degradation.tables import ISO_ANISO, MOSTLY_DOWN, MOSTLY_KEEP, SIX_FAMILIES

ALPHA = 1e-6 / 2000
SIZES = (7, 9, 11, 13, 15, 17, 19, 21)
# A factor s is a double below 2 and at least .15, so floor(s 2^60) is s 2^60: such sizes show the factors exactly.
UNIT = 2**60
STAGES = (1, 2)


@dataclass(frozen=True)
class Table:
    """One task as the paper prints it; a pair holds stage 1 and stage 2."""

    space: str
    partition: str
    task: str
    sigma: tuple[tuple[float, float], tuple[float, float]]
    gaussian: tuple[tuple[float, float], tuple[float, float]]
    poisson: tuple[tuple[float, float], tuple[float, float]]
    families: dict[str, float]
    directions: tuple[dict[str, float], dict[str, float]]
    factor: tuple[tuple[float, float], tuple[float, float]] = ((0.15, 1.5), (0.15, 1.5))
    num_plans: int = 20_000


LOW_BLUR, HIGH_BLUR = ((1.6, 2.3), (0.8, 1.2)), ((2.3, 3.0), (1.2, 1.6))
LOW_NOISE = (((1.0, 4.5), (1.0, 4.0)), ((0.1, 0.4), (0.1, 0.35)))
HIGH_NOISE = (((4.5, 8.0), (4.0, 7.0)), ((0.4, 0.7), (0.35, 0.6)))
FOUR = {  # Tables 6, 7, 8, 9
    "mild": (LOW_BLUR, *LOW_NOISE),
    "blur": (HIGH_BLUR, *LOW_NOISE),
    "noise": (LOW_BLUR, *HIGH_NOISE),
    "severe": (HIGH_BLUR, *HIGH_NOISE),
}
THIRDS_OF_BLUR = (
    ((1.6, 2.066666666667), (0.8, 1.066666666667)),
    ((2.066666666667, 2.533333333333), (1.066666666667, 1.333333333333)),
    ((2.533333333333, 3.0), (1.333333333333, 1.6)),
)
TABLES = [
    *(Table("paper", "2x2", task, *box, ISO_ANISO, (MOSTLY_KEEP,) * 2) for task, box in FOUR.items()),
    *(
        Table("paper-realesrgan", "2x2", task, *box, SIX_FAMILIES, (MOSTLY_DOWN,) * 2, num_plans=4000)
        for task, box in FOUR.items()
    ),
    *(
        Table("paper", "3x2", f"b{b}n{n}", THIRDS_OF_BLUR[b], *noise, ISO_ANISO, (MOSTLY_KEEP,) * 2, num_plans=2000)
        for b, (n, noise) in itertools.product(range(3), enumerate((LOW_NOISE, HIGH_NOISE)))
    ),
    Table(  # Real-ESRGAN's options for x4plus
        *("realesrgan", "full", "full"),
        sigma=((0.2, 3.0), (0.2, 1.5)),
        gaussian=((1.0, 30.0), (1.0, 25.0)),
        poisson=((0.05, 3.0), (0.05, 2.5)),
        families=SIX_FAMILIES,
        directions=(MOSTLY_DOWN, {"down": 0.4, "keep": 0.3, "up": 0.3}),
        factor=((0.15, 1.5), (0.3, 1.2)),
        num_plans=10_000,
    ),
]


class Drawn:
    """Plans of one task beside the table they must follow."""

    def __init__(self, table: Table) -> None:
        self.table = table
        subspace = get_subspace(get_space(table.space), table.partition, table.task)
        size = {"height": 4 * UNIT, "width": 4 * UNIT}
        self.plans = [draw_plan(subspace, seed=0, split="train", row=row, **size) for row in range(table.num_plans)]

    def blurs(self, stage: int) -> list[Blur]:
        return [blur for plan in self.plans if (blur := getattr(plan, f"blur{stage}"))]

    def shaped(self, stage: int, ending: str) -> list[Blur]:
        """Kernels of the families whose name ends so; no sinc."""
        return [blur for blur in self.blurs(stage) if blur.family != "sinc" and blur.family.endswith(ending)]

    def resizes(self, stage: int) -> list[Resize]:
        return [getattr(plan, f"resize{stage}") for plan in self.plans]

    def noises(self, stage: int, kind: str = "") -> list[Noise]:
        noises = [getattr(plan, f"noise{stage}") for plan in self.plans]
        return [noise for noise in noises if kind in ("", noise.kind)]

    def factors(self, stage: int, direction: str) -> list[float]:
        full_size = UNIT * (4 if stage == 1 else 1)  # stage 2 is measured against the LR size
        return [resize.height / full_size for resize in self.resizes(stage) if resize.direction == direction]


@pytest.fixture(scope="module", params=TABLES, ids=lambda table: f"{table.space}-{table.partition}-{table.task}")
def drawn(request) -> Drawn:
    return Drawn(request.param)


def assert_shares(values: list, probabilities: dict) -> None:
    """Only these values occur, each with its probability: two-sided exact binomial tests."""
    assert set(values) <= set(probabilities)
    for value, probability in probabilities.items():
        count = sum(found == value for found in values)
        assert stats.binomtest(count, len(values), probability).pvalue >= ALPHA, (value, count, len(values))


def assert_equally_likely(values: list[int], options: tuple[int, ...] | range) -> None:
    """Only these values occur, uniformly: chi-square test, at least 5 expected in each."""
    assert set(values) <= set(options)
    counts = [values.count(option) for option in options]
    assert len(values) >= 5 * len(options)
    assert stats.chisquare(counts).pvalue >= ALPHA, counts


def assert_uniform(values: list[float], low: float, high: float) -> None:
    """Every value lies in [low, high], and together they are uniform: Kolmogorov-Smirnov test."""
    assert low <= min(values)
    assert max(values) <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue >= ALPHA


# Fidelity to the tables


def test_the_first_blur_is_never_skipped_and_the_second_twice_in_ten(drawn):
    assert len(drawn.blurs(1)) == len(drawn.plans)
    assert_shares([plan.blur2 is None for plan in drawn.plans], {True: 0.2, False: 0.8})


@pytest.mark.parametrize("stage", STAGES)
def test_one_kernel_in_ten_is_a_sinc(drawn, stage):
    assert_shares([blur.family == "sinc" for blur in drawn.blurs(stage)], {True: 0.1, False: 0.9})


@pytest.mark.parametrize("stage", STAGES)
def test_kernel_families_have_their_probabilities(drawn, stage):
    assert_shares([blur.family for blur in drawn.shaped(stage, "")], drawn.table.families)


@pytest.mark.parametrize("stage", STAGES)
def test_kernel_sizes_are_uniform_whatever_the_family(drawn, stage):
    assert_equally_likely([blur.size for blur in drawn.shaped(stage, "")], SIZES)
    assert_equally_likely([blur.size for blur in drawn.blurs(stage) if blur.family == "sinc"], SIZES)


@pytest.mark.parametrize("stage", STAGES)
def test_sigmas_are_uniform_in_the_range_of_the_task(drawn, stage):
    low, high = drawn.table.sigma[stage - 1]
    assert_uniform([blur.sigma_x for blur in drawn.shaped(stage, "")], low, high)
    assert_uniform([blur.sigma_y for blur in drawn.shaped(stage, "aniso")], low, high)


@pytest.mark.parametrize("stage", STAGES)
def test_isotropic_kernels_have_one_sigma_and_no_angle_and_others_two_and_an_angle(drawn, stage):
    iso = [blur for blur in drawn.shaped(stage, "iso") if not blur.family.endswith("aniso")]
    aniso = drawn.shaped(stage, "aniso")
    assert all(blur.sigma_x == blur.sigma_y and blur.theta == 0 for blur in iso)
    assert all(blur.sigma_x != blur.sigma_y for blur in aniso)
    assert_uniform([blur.theta for blur in aniso], -math.pi, math.pi)
    r = np.corrcoef([blur.sigma_x for blur in aniso], [blur.sigma_y for blur in aniso])[0, 1]
    assert abs(r) < stats.norm.isf(ALPHA / 2) / math.sqrt(len(aniso))  # drawn independently


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("family", "low", "high"), [("generalized", 0.5, 4.0), ("plateau", 1.0, 2.0)])
def test_a_fair_coin_puts_beta_below_or_above_one(drawn, stage, family, low, high):
    betas = [blur.beta for blur in drawn.blurs(stage) if blur.family.startswith(family)]
    if "plateau_iso" not in drawn.table.families:
        assert betas == []
        return
    below = [beta for beta in betas if beta <= 1]  # for a plateau, beta is 1 itself
    above = [beta for beta in betas if beta > 1]
    assert_shares([beta <= 1 for beta in betas], {True: 0.5, False: 0.5})
    assert_uniform(above, 1.0, high)
    assert set(below) == {1.0} if low == 1.0 else assert_uniform(below, low, 1.0) is None


@pytest.mark.parametrize("stage", STAGES)
def test_numbers_that_a_family_does_not_use_are_zero(drawn, stage):
    for blur in drawn.blurs(stage):
        if blur.family == "sinc":
            assert (blur.sigma_x, blur.sigma_y, blur.theta, blur.beta) == (0, 0, 0, 0)
        else:
            assert blur.omega == 0
            assert (blur.beta == 0) == (blur.family in ("iso", "aniso"))


@pytest.mark.parametrize("stage", STAGES)
def test_the_cutoff_of_a_sinc_starts_higher_for_sizes_below_13(drawn, stage):
    sincs = [blur for blur in drawn.blurs(stage) if blur.family == "sinc"]
    assert_uniform([blur.omega for blur in sincs if blur.size < 13], math.pi / 3, math.pi)
    assert_uniform([blur.omega for blur in sincs if blur.size >= 13], math.pi / 5, math.pi)


@pytest.mark.parametrize("stage", STAGES)
def test_resize_directions_have_their_probabilities(drawn, stage):
    assert_shares([resize.direction for resize in drawn.resizes(stage)], drawn.table.directions[stage - 1])


@pytest.mark.parametrize("stage", STAGES)
def test_resize_factors_are_uniform_on_their_side_of_one(drawn, stage):
    low, high = drawn.table.factor[stage - 1]
    assert_uniform(drawn.factors(stage, "down"), low, 1.0)
    assert_uniform(drawn.factors(stage, "up"), 1.0, high)
    assert set(drawn.factors(stage, "keep")) == {1.0}


@pytest.mark.parametrize("stage", STAGES)
def test_a_resize_keeps_the_aspect(drawn, stage):
    assert all(resize.height == resize.width for resize in drawn.resizes(stage))


@pytest.mark.parametrize("modes", ["resize1", "resize2", "final"])
def test_three_modes_are_equally_likely(drawn, modes):
    steps = [getattr(plan, modes) for plan in drawn.plans]
    found = [step.resize_mode if modes == "final" else step.mode for step in steps]
    assert_shares(found, {"area": 1 / 3, "bilinear": 1 / 3, "bicubic": 1 / 3})


@pytest.mark.parametrize("stage", STAGES)
def test_noise_is_gaussian_or_poisson_by_a_fair_coin_and_grey_four_times_in_ten(drawn, stage):
    assert_shares([noise.kind for noise in drawn.noises(stage)], {"gaussian": 0.5, "poisson": 0.5})
    for kind in ("gaussian", "poisson"):
        assert_shares([noise.grey for noise in drawn.noises(stage, kind)], {True: 0.4, False: 0.6})


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_noise_levels_are_uniform_in_the_range_of_the_task(drawn, stage, kind):
    low, high = getattr(drawn.table, kind)[stage - 1]
    assert_uniform([noise.level for noise in drawn.noises(stage, kind)], low, high)


def test_every_noise_has_its_own_seed_exact_in_any_json_reader(drawn):
    seeds = [noise.seed for stage in STAGES for noise in drawn.noises(stage)]
    assert len(set(seeds)) == len(seeds)  # by chance, two of 40 000 agree with probability 1e-7
    assert_uniform([seed / 2**53 for seed in seeds], 0.0, 1.0)


@pytest.mark.parametrize("stage", STAGES)
def test_jpeg_qualities_are_uniform_integers_from_30_to_95(drawn, stage):
    assert_equally_likely([getattr(plan, f"jpeg{stage}") for plan in drawn.plans], range(30, 96))


def test_the_last_step_has_a_fair_order_and_a_sinc_eight_times_in_ten(drawn):
    finals = [plan.final for plan in drawn.plans]
    assert_shares([final.order for final in finals], {"resize_sinc_jpeg": 0.5, "jpeg_resize_sinc": 0.5})
    assert_shares([final.sinc is not None for final in finals], {True: 0.8, False: 0.2})
    sincs = [final.sinc for final in finals if final.sinc]
    assert_equally_likely([sinc.size for sinc in sincs], SIZES)
    assert_uniform([sinc.omega for sinc in sincs], math.pi / 3, math.pi)


def test_draws_of_different_operators_and_of_neighbouring_rows_are_uncorrelated(drawn):
    columns = {
        "skip": [plan.blur2 is None for plan in drawn.plans],
        "size": [plan.blur1.size for plan in drawn.plans],
        "factor1": [plan.resize1.height / UNIT for plan in drawn.plans],
        "factor2": [plan.resize2.height / UNIT for plan in drawn.plans],
        "kind1": [plan.noise1.kind == "poisson" for plan in drawn.plans],
        "kind2": [plan.noise2.kind == "poisson" for plan in drawn.plans],
        "grey1": [plan.noise1.grey for plan in drawn.plans],
        "grey2": [plan.noise2.grey for plan in drawn.plans],
        "seed1": [plan.noise1.seed / 2**53 for plan in drawn.plans],
        "seed2": [plan.noise2.seed / 2**53 for plan in drawn.plans],
        "jpeg1": [plan.jpeg1 for plan in drawn.plans],
        "jpeg2": [plan.jpeg2 for plan in drawn.plans],
        "order": [plan.final.order == "jpeg_resize_sinc" for plan in drawn.plans],
    }
    here = np.array(list(columns.values()), dtype=float)
    k, bound = len(here), stats.norm.isf(ALPHA / 2 / len(here) ** 2) / math.sqrt(len(drawn.plans) - 1)
    assert np.abs(np.corrcoef(here) - np.eye(k)).max() < bound
    assert np.abs(np.corrcoef(here[:, :-1], here[:, 1:])[:k, k:]).max() < bound


def test_no_plan_violates_its_own_task(drawn):
    subspace = get_subspace(get_space(drawn.table.space), drawn.table.partition, drawn.table.task)
    assert [found for plan in drawn.plans[:2000] if (found := violations(plan, subspace))] == []


# Keys

MILD, BLUR, NOISE, SEVERE = partition(get_space("paper"))
KEY = {"seed": 0, "split": "train", "row": 7, "height": 256, "width": 256}


def test_the_same_key_gives_the_same_plan_in_any_order():
    forwards = [draw_plan(MILD, **KEY | {"row": row}) for row in range(50)]
    backwards = [draw_plan(MILD, **KEY | {"row": row}) for row in reversed(range(50))]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": "val"}, {"row": 8}, {"row": 7 + 2**40}])
def test_another_seed_split_or_row_gives_another_plan(other):
    assert draw_plan(MILD, **KEY | other).noise1.seed != draw_plan(MILD, **KEY).noise1.seed


def test_another_subspace_gives_another_plan():
    assert len({draw_plan(subspace, **KEY).noise1.seed for subspace in (MILD, BLUR, NOISE, SEVERE)}) == 4


def test_another_space_gives_another_plan():
    def renamed(name: str) -> Subspace:  # the same ranges under another name
        return replace(MILD, ranges=replace(MILD.ranges, name=name))

    assert draw_plan(renamed("paper"), **KEY) == draw_plan(MILD, **KEY)
    assert draw_plan(renamed("other"), **KEY).noise1.seed != draw_plan(MILD, **KEY).noise1.seed


def test_ten_thousand_rows_give_ten_thousand_plans():
    assert len({draw_plan(SEVERE, **KEY | {"row": row}) for row in range(10_000)}) == 10_000


def without_sizes(plan: Plan) -> Plan:
    sizeless = {name: replace(getattr(plan, name), height=0, width=0) for name in ("resize1", "resize2")}
    return replace(plan, **sizeless)


@pytest.mark.parametrize("size", [{"height": 74, "width": 74}, {"height": 1111, "width": 80}, {"scale": 2}])
def test_the_size_of_the_picture_changes_the_resize_sizes_and_nothing_else(size):
    for row in range(200):
        plan, resized = draw_plan(BLUR, **KEY | {"row": row}), draw_plan(BLUR, **KEY | {"row": row} | size)
        assert without_sizes(plan) == without_sizes(resized)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (74, 75), (101, 333)])
def test_resize_sizes_are_the_factor_times_the_side_rounded_down(height, width):
    for row in range(500):
        exact = draw_plan(NOISE, **KEY | {"row": row, "height": 4 * UNIT, "width": 4 * UNIT})
        plan = draw_plan(NOISE, **KEY | {"row": row, "height": height, "width": width})
        s1, s2 = exact.resize1.height / (4 * UNIT), exact.resize2.height / UNIT
        assert (plan.resize1.height, plan.resize1.width) == (math.floor(s1 * height), math.floor(s1 * width))
        lr = (height // 4, width // 4)  # stage 2 is absolute: its "keep" is the LR size
        assert (plan.resize2.height, plan.resize2.width) == (math.floor(s2 * lr[0]), math.floor(s2 * lr[1]))


def test_resize_sizes_stay_within_the_factors_bounds():
    plans = [draw_plan(MILD, **KEY | {"row": row}) for row in range(2000)]
    bounds = {"down": (0.15, 1), "keep": (1, 1), "up": (1, 1.5)}
    for resize, side in [(p.resize1, 256) for p in plans] + [(p.resize2, 64) for p in plans]:
        low, high = bounds[resize.direction]
        assert math.floor(low * side) <= resize.height == resize.width <= high * side
