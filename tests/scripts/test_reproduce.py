"""Experiments run from end to end at a size of seconds, and go on after an interruption."""

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import yaml

from scripts.reproduce import fig1, fig7
from scripts.reproduce.__main__ import main
from scripts.reproduce.comparison import REBALANCE, UNIFORM, Arm, main_arm, num_steps, run_arms, train_arm
from scripts.reproduce.experiments import EXPERIMENTS
from scripts.reproduce.fine_tunes import checkpoints
from scripts.reproduce.lab import SAME_PHOTOGRAPHS, Lab, boundaries
from scripts.reproduce.linearity import fit
from scripts.reproduce.scales import SCALES
from scripts.reproduce.settings import LabSettings
from shared.config import parse
from shared.errors import RunError, UsageError
from train.settings import TrainSettings


@pytest.fixture
def lab(tiny):
    options, _ = tiny
    return Lab(parse(LabSettings, [*options, "--seeds", "1"], "", ""), "table4")


# ---- the command


def test_called_bare_it_lists_the_experiments(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [*EXPERIMENTS]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_its_cost_and_stops_on_a_dry_run(name, tiny, capsys):
    options, folder = tiny
    assert main([name, *options, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{name}, scale tiny, space paper: needs photographs")
    assert "training steps" in said
    assert not folder.exists()


@pytest.mark.parametrize("argv", [["table6"], ["fig1", "--seeds", "2"], ["table1", "--networks", "hat"]])
def test_wrong_usage_is_refused(argv):
    with pytest.raises(UsageError):
        main(argv)


@pytest.mark.parametrize("experiment", sorted({e.module for e in EXPERIMENTS.values()}))
def test_every_module_says_its_steps_and_runs(experiment):
    module = import_module(f"scripts.reproduce.{experiment}")
    assert callable(module.steps)
    assert callable(module.run)


# ---- the lab


@pytest.mark.parametrize("name", SCALES)
def test_recipes_are_settings_of_a_run_and_divide_into_intervals(name):
    scale = SCALES[name]
    settings = parse(TrainSettings, ["--config", str(scale.recipe), *scale.pretrain], "", "")
    assert settings.network.name == scale.network
    assert set(scale.table3) <= {scale.network, *scale.other_networks}


def test_figures_are_of_stage_psnr(lab, monkeypatch):
    assert lab.psnr == ()
    monkeypatch.setattr(lab, "scale", SCALES["paper"])
    assert lab.psnr == ("--stage", "psnr")
    assert fig7.plain(lab).flags == main_arm(lab).reference_flags == ("--stage", "psnr")


def test_another_space_has_datasets_networks_and_results_of_its_own(tiny, monkeypatch):
    options, folder = tiny
    rendered, trained = [], []
    monkeypatch.setattr("gen.render.main", lambda argv: rendered.append(argv) or 0)
    monkeypatch.setattr(Lab, "_train", lambda lab, run, *rest: trained.append(run))
    lab = Lab(parse(LabSettings, [*options, "--space", "paper-realesrgan"], "", ""), "table4")
    assert lab.shards() == folder / "shards" / "paper-realesrgan-2x2-rowsall"
    assert all(argv[argv.index("--space") + 1] == "paper-realesrgan" for argv in rendered)
    train_arm(lab, UNIFORM, 0)
    assert trained == [folder / "study" / "paper-realesrgan-uniform" / "seed0"]
    assert lab.folder == folder / "paper-realesrgan-table4"


def test_comparisons_share_their_networks(lab, monkeypatch):
    trained = []
    monkeypatch.setattr(Lab, "_render", lambda *arguments, **options: None)
    monkeypatch.setattr(Lab, "_train", lambda lab, run, *rest: trained.append(run))
    for experiment in ("table4", "fig5b"):
        train_arm(Lab(lab.settings, experiment), UNIFORM, 0)
    assert trained == [lab.shared / "study" / "uniform" / "seed0"] * 2


def test_steps_are_counted_with_references_and_searches(lab):
    assert num_steps(lab, [UNIFORM]) == 4
    three = Lab(replace(lab.settings, seeds=3), "table4")
    assert num_steps(three, [UNIFORM, REBALANCE]) == 4 * 3 * (2 + 4)
    assert num_steps(lab, [replace(UNIFORM, network="rrdbnet")]) == 4 + 2
    assert num_steps(lab, [Arm("tgsr", "tgsr")]) == 4 + 2 * (4 + 2)  # 40 % of 4 go on
    assert num_steps(three, [main_arm(three)], seeds=1) == 4 * 5


def test_what_an_experiment_needs_is_said_before_it_starts(lab, capsys):
    lab.announce(4)
    said = capsys.readouterr().out
    assert "needs photographs" in said
    assert "at most 6 training steps" in said  # and the two of the network that all start from


def test_given_weights_belong_to_a_network(tiny):
    options, _ = tiny
    lab = Lab(parse(LabSettings, [*options, "--init", "a.pth", "rrdbnet=b=c.pth"], "", ""), "table3")
    assert (lab.initial(), lab.initial("rrdbnet")) == ("a.pth", "b=c.pth")
    with pytest.raises(UsageError, match="unknown network 'hat': scale tiny has msrresnet, rrdbnet"):
        lab.initial("hat")


def test_the_papers_scale_asks_for_the_weights_it_starts_from(tmp_path):
    with pytest.raises(RunError, match="name them with --init rrdbnet=FILE"):
        main(["table4", "--scale", "paper", "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("test_hr", [None, "other"])
def test_tables_say_when_they_speak_of_the_photographs_that_set_the_weights(tmp_path, test_hr):
    assert Lab(LabSettings(out=str(tmp_path), test_hr=test_hr), "table4").tested_on == (
        "" if test_hr else SAME_PHOTOGRAPHS
    )


def test_whole_test_sets_need_photographs_that_are_not_trained_on(tmp_path):
    with pytest.raises(UsageError, match="give --test-hr or --val-hr"):
        Lab(LabSettings(hr=str(tmp_path), out=str(tmp_path)), "table2").whole_images("DIV2K4Level")


# ---- what figures say


def test_photographs_add_to_a_variance_over_configurations_what_they_do_to_each_alone():
    """600 studies of 10 configurations that do not differ: both means are known to 2 %."""
    rng, photographs = np.random.default_rng(0), [f"{k % 7}" for k in range(48)]
    which, seen, said = np.arange(48) % 7, [], []
    for _ in range(600):
        alike = rng.normal(0, 0.3, 7)[which] + rng.normal(0, 0.1, 48)  # what photographs and crops do to all alike
        gains_db = alike + rng.normal(0, 0.05, (10, 7))[:, which] + rng.normal(0, 0.03, (10, 48))
        seen.append(gains_db.mean(axis=1).var(ddof=1))
        said.append(fig1.error_variance(gains_db, photographs))
    assert np.mean(said) == pytest.approx(np.mean(seen), rel=0.1)


def test_a_line_is_fitted_within_the_range_and_residuals_are_told_apart():
    values = [0.0, 1.0, 2.0, 3.0, 4.0]
    gaps = np.array([9.0, 1.0, 2.0, 3.0, 5.0])
    trend = fit("noise", 6, values, gaps, np.zeros(5), (1, 3))
    assert (trend.slope, trend.intercept, trend.residual_db) == pytest.approx((1, 0, 0), abs=1e-12)
    assert trend.residual_outside_db == pytest.approx(((9**2 + 1**2) / 2) ** 0.5)
    assert fit("noise", 6, values, gaps, np.zeros(5), (0, 4)).residual_outside_db is None


def test_checkpoints_are_evenly_spaced_up_to_the_last(tmp_path):
    for step in (0, *range(5, 405, 5)):
        (tmp_path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    assert [int(folder.name[5:]) for folder in checkpoints(tmp_path, 6)] == [70, 135, 200, 270, 335, 400]
    assert len(checkpoints(tmp_path, 100)) == 80


# ---- from end to end


def test_a_table_is_measured_and_is_the_same_when_its_command_is_given_again(tiny, pairs, capsys, monkeypatch):
    options, folder = tiny
    smaller = Arm("rebalance, 2 tasks", "rebalance", cut="1x2")  # one arm of five: its references are two networks
    monkeypatch.setattr("scripts.reproduce.tables.FIVE", {"re-sampling, 2 tasks": smaller})
    command = ["table5", *options, "--seeds", "2", "--testset", f"RealSR-Nikon={pairs}", "--lpips", "none"]
    assert main(command) == 0
    first = (folder / "table5" / "table5.md").read_text()
    assert first in capsys.readouterr().out
    for words in (
        "re-sampling, 5 tasks",
        "/ 26.14 |",
        "not given /",
        "*beyond the paper*",
        "| plain |",
        SAME_PHOTOGRAPHS.strip(),
    ):
        assert words in first
    numbers = json.loads((folder / "table5" / "table5.json").read_text())
    assert list(numbers["testsets"]) == ["mild", "blur", "noise", "severe", "RealSR-Nikon"]
    assert len(numbers["means"]["plain"]["RealSR-Nikon"]["psnr_db"]) == 2
    log = (folder / "study" / "uniform" / "seed0" / "metrics.jsonl").read_bytes()
    assert main(command) == 0
    assert (folder / "table5" / "table5.md").read_text() == first
    assert (folder / "study" / "uniform" / "seed0" / "metrics.jsonl").read_bytes() == log


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "table5", "fig4", "study"])
def test_comparisons_end_with_a_page(name, tiny, capsys):
    options, folder = tiny
    test_hr = ["--val-hr", "photos"] if name == "none" else []
    assert main([name, *options, "--seeds", "1", *test_hr]) == 0
    assert len((folder / name / f"{name}.md").read_text()) > 100


@pytest.mark.slow
def test_weights_have_a_line_for_every_boundary(tiny):
    options, folder = tiny
    assert main(["fig5b", *options, "--seeds", "2"]) == 0
    numbers = json.loads((folder / "fig5b" / "fig5b.json").read_text())
    assert numbers["steps"] == [0, 2, 4]
    assert [[len(boundary) for boundary in seed] for seed in numbers["weights"]] == [[4, 4, 4]] * 2
    assert numbers["weights"][0][0] == [0.25] * 4  # equal networks
    assert (folder / "fig5b" / "fig5b.png").stat().st_size > 1000


@pytest.mark.slow
def test_single_task_networks_stand_beside_the_shared_ones(tiny):
    options, folder = tiny
    assert main(["fig7", *options, "--seeds", "1"]) == 0
    numbers = json.loads((folder / "fig7" / "fig7.json").read_text())
    assert {name: len(values[0]) for name, values in numbers.items()} == {"single": 4, "plain": 4, "ours": 4}
    text = (folder / "fig7" / "fig7.md").read_text()
    assert f"| single | {numbers['single'][0][0]:.3f} |" in text
    assert "| the paper: ours - single | comparable | comparable | +0.08 | +0.07 |" in text


@pytest.mark.slow
def test_fig_1_compares_four_operators_and_goes_on(tiny):
    options, folder = tiny
    assert main(["fig1", *options]) == 0
    numbers = json.loads((folder / "fig1" / "fig1.json").read_text())
    assert [one["operator"] for one in numbers["operators"]] == ["noise", "blur", "down-sampling", "JPEG"]
    assert [len(one["gains_db"]) for one in numbers["operators"]] == [2] * 4
    assert len(numbers["pattern_gaps_db"]) == 2
    first = (folder / "fig1" / "fig1.md").read_text()
    assert main(["fig1", *options]) == 0
    assert (folder / "fig1" / "fig1.md").read_text() == first


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ends"), [("fig8", (1.0, 8.0)), ("fig9", (1.0, 19.0))])
def test_linearity_has_a_line_for_every_checkpoint(name, ends, tiny):
    options, folder = tiny
    assert main([name, *options]) == 0
    trends = json.loads((folder / name / f"{name}.json").read_text())
    assert [(t["operator"], t["step"], len(t["gaps_db"])) for t in trends] == [
        (operator, step, 6) for operator in ("noise", "blur") for step in (2, 4)
    ]
    assert tuple(trends[0]["fitted"]) == ends
    assert (trends[0]["residual_outside_db"] is None) == (name == "fig8")


@pytest.mark.slow
def test_random_tasks_are_grouped_at_two_checkpoints(tiny):
    options, folder = tiny
    assert main(["fig5a", *options]) == 0
    numbers = json.loads((folder / "fig5a" / "fig5a.json").read_text())
    assert numbers["steps"] == [2, 4]
    assert numbers["tasks"] == len(numbers["first_db"]) == len(numbers["second_db"]) == 4
    assert numbers["first_db"] != numbers["second_db"]


@pytest.mark.slow
def test_arms_on_groups_share_one_search(tiny):
    options, folder = tiny
    lab = Lab(parse(LabSettings, [*options, "--seeds", "2"], "test", ""), "test")
    means = run_arms(lab, [UNIFORM, Arm("tgsr", "tgsr")], lab.crop_testsets())
    assert means["tgsr"].shape == (2, 4)
    assert len(list(folder.glob("groups/*/*/groups.json"))) == 1
    assert [len(boundaries(folder / "study" / "tgsr" / f"seed{seed}")[0]["trained"]) for seed in (0, 1)] == [4 + 2] * 2


def test_the_paper_scale_is_the_papers_recipe():
    recipe = yaml.safe_load(SCALES["paper"].recipe.read_text())
    assert (recipe["policy"], recipe["stage"], recipe["iterations"]) == ("rebalance", "gan", 400_000)
